// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"go/ast"
	"go/types"
	"maps"
	"path"
	"path/filepath"
	"slices"
)

// arrows are what the files of a package use of each other: by file, the files that it uses.
type arrows map[string]map[string]bool

// nothing is an importer without packages: what a file uses of its own package shows without them.
type nothing struct{}

// Import implements types.Importer.
func (nothing) Import(string) (*types.Package, error) { return nil, errors.New("not needed") }

// arrowsOf returns the arrows of a package: from each file to those that declare the types, functions, methods,
// variables and constants that it uses.
func arrowsOf(p *pack) arrows {
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	// That imports are missing are errors, which say nothing here.
	conf := types.Config{Importer: nothing{}, Error: func(error) {}, FakeImportC: true}
	files := make([]*ast.File, 0, len(p.files))
	for _, f := range p.files {
		files = append(files, f.syntax)
	}
	_, _ = conf.Check(p.folder, p.set, files, info)
	uses := arrows{}
	for _, f := range p.files {
		uses[f.name] = map[string]bool{}
	}
	for name, object := range info.Uses {
		v, isVariable := object.(*types.Var)
		if isVariable && (v.IsField() || v.Parent() == nil || v.Parent().Parent() != types.Universe) {
			continue // fields, and what is local to a function
		}
		if _, isPackage := object.(*types.PkgName); isPackage || object.Pkg() == nil || !object.Pos().IsValid() {
			continue
		}
		from, to := p.set.Position(name.Pos()).Filename, p.set.Position(object.Pos()).Filename
		if from != to {
			uses[p.within(from)][p.within(to)] = true
		}
	}
	return uses
}

// within returns the name of a file within the repository.
func (p *pack) within(name string) string { return path.Join(p.folder, filepath.Base(name)) }

// count returns how many arrows there are.
func (a arrows) count() (n int) {
	for _, to := range a {
		n += len(to)
	}
	return n
}

// up returns how many arrows run up when the files are put on floors so that few do: a file that uses nothing of those
// left goes to the bottom, one that none of those left uses to the top, and else the one to the top that uses the most
// more than it is used.
func (a arrows) up() int {
	floor := map[string]int{}
	left := slices.Sorted(maps.Keys(a))
	bottom, top := 0, len(left)
	place := func(name string, at int) {
		floor[name] = at
		left = slices.DeleteFunc(left, func(other string) bool { return other == name })
	}
	for len(left) > 0 {
		in, out := a.among(left)
		if i := slices.IndexFunc(left, func(name string) bool { return out[name] == 0 }); i >= 0 {
			place(left[i], bottom)
			bottom++
			continue
		}
		name := slices.MaxFunc(left, func(x, y string) int { return cmp.Compare(out[x]-in[x], out[y]-in[y]) })
		if i := slices.IndexFunc(left, func(name string) bool { return in[name] == 0 }); i >= 0 {
			name = left[i]
		}
		place(name, top)
		top--
	}
	n := 0
	for from, all := range a {
		for to := range all {
			if floor[to] > floor[from] {
				n++
			}
		}
	}
	return n
}

// among counts the arrows among some files: those that lead to each, and from it.
func (a arrows) among(files []string) (in, out map[string]int) {
	in, out = map[string]int{}, map[string]int{}
	for _, from := range files {
		for to := range a[from] {
			if slices.Contains(files, to) {
				in[to]++
				out[from]++
			}
		}
	}
	return in, out
}

// arrows counts, for each package of several files, the arrows and those that run up.
func (h *house) arrows() (all, up []figure) {
	for _, folder := range slices.Sorted(maps.Keys(h.packages)) {
		a := arrowsOf(h.packages[folder])
		if a.count() > 0 {
			all, up = append(all, figure{folder, a.count()}), append(up, figure{folder, a.up()})
		}
	}
	return all, up
}
