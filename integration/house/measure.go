// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// module begins the import paths of the packages of this repository.
const module = "github.com/molt-snapshotter/molt-snapshotter/"

// rooms are the folders whose code is looked at.
var rooms = []string{"cmd", "dag", "integration", "servicing", "snapshotter"}

// house is the code of a repository, without its tests and generated files.
type house struct {
	packages map[string]*pack // by folder
}

// pack is a package: the files of a folder.
type pack struct {
	folder string
	set    *token.FileSet
	files  []*file
}

// file is a source file.
type file struct {
	name   string // within the repository
	syntax *ast.File
	set    *token.FileSet
	lines  []string
}

// figure is a number about something of the house.
type figure struct {
	what  string
	value int
}

// open reads the code below a directory.
func open(root string) (*house, error) {
	h := &house{packages: make(map[string]*pack)}
	for _, room := range rooms {
		err := filepath.WalkDir(filepath.Join(root, room), func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && (d.Name() == "testdata" || d.Name() == "blocklog"): // blocklog is a module of its own
				return fs.SkipDir
			case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
				return nil
			}
			return h.read(root, name)
		})
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", room, err)
		}
	}
	return h, nil
}

func (h *house) read(root, name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	within, err := filepath.Rel(root, name)
	if err != nil {
		return err
	}
	folder := path.Dir(within)
	p := h.packages[folder]
	if p == nil {
		p = &pack{folder: folder, set: token.NewFileSet()}
	}
	syntax, err := parser.ParseFile(p.set, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil || ast.IsGenerated(syntax) {
		return err
	}
	h.packages[folder] = p
	p.files = append(p.files, &file{name: within, syntax: syntax, set: p.set, lines: strings.Split(string(text), "\n")})
	return nil
}

// all returns all files.
func (h *house) all() (files []*file) {
	for _, p := range h.packages {
		files = append(files, p.files...)
	}
	return files
}

// files counts the files of each package that is no command: a command has a file for each noun.
func (h *house) files() (out []figure) {
	for _, p := range h.packages {
		if !strings.HasPrefix(p.folder, "cmd/") {
			out = append(out, figure{p.folder, len(p.files)})
		}
	}
	return out
}

// lengths counts the lines of each file.
func (h *house) lengths() (out []figure) {
	for _, f := range h.all() {
		out = append(out, figure{f.name, len(f.lines)})
	}
	return out
}

// functions counts the lines of each function.
func (h *house) functions() (out []figure) {
	for _, f := range h.all() {
		for _, d := range f.syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				lines := f.set.Position(fn.End()).Line - f.set.Position(fn.Pos()).Line + 1
				out = append(out, figure{f.name + " " + fn.Name.Name, lines})
			}
		}
	}
	return out
}

// wide returns the lines that are wider than a number of columns. A tab takes four.
func (h *house) wide(columns int) (out []figure) {
	for _, f := range h.all() {
		for i, line := range f.lines {
			if n := len([]rune(strings.ReplaceAll(line, "\t", "    "))); n > columns {
				out = append(out, figure{f.name + ":" + strconv.Itoa(i+1), n})
			}
		}
	}
	return out
}

// switches returns the places where behaviour hangs on a name: a switch over a field or method called name.
func (h *house) switches() (out []string) {
	for _, f := range h.all() {
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if s, ok := n.(*ast.SwitchStmt); ok && isName(s.Tag) {
				out = append(out, fmt.Sprintf("%s:%d", f.name, f.set.Position(s.Pos()).Line))
			}
			return true
		})
	}
	slices.Sort(out)
	return out
}

func isName(e ast.Expr) bool {
	if call, ok := e.(*ast.CallExpr); ok {
		e = call.Fun
	}
	s, ok := e.(*ast.SelectorExpr)
	return ok && s.Sel.Name == "name"
}
