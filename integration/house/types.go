// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"go/ast"
	"strings"
)

// kind is a type of the house, by the folder and the name of it.
type kind struct {
	methods  int
	fields   int
	embedded []string // types of the house that a struct embeds
}

// kinds returns all types that are declared.
func (h *house) kinds() map[string]*kind {
	all := make(map[string]*kind)
	of := func(name string) *kind {
		if all[name] == nil {
			all[name] = &kind{}
		}
		return all[name]
	}
	for _, p := range h.packages {
		for _, f := range p.files {
			for _, d := range f.syntax.Decls {
				switch d := d.(type) {
				case *ast.FuncDecl:
					if d.Recv != nil {
						of(p.folder+"."+typeName(d.Recv.List[0].Type)).methods++
					}
				case *ast.GenDecl:
					for _, spec := range d.Specs {
						if t, ok := spec.(*ast.TypeSpec); ok {
							f.fieldsOf(p, t, of(p.folder+"."+t.Name.Name))
						}
					}
				}
			}
		}
	}
	return all
}

// fieldsOf counts the fields of a struct.
func (f *file) fieldsOf(p *pack, t *ast.TypeSpec, k *kind) {
	s, ok := t.Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, field := range s.Fields.List {
		k.fields += max(1, len(field.Names))
		if len(field.Names) > 0 {
			continue
		}
		name := typeName(field.Type)
		folder := p.folder
		if from, own, imported := strings.Cut(name, "."); imported {
			folder, name = f.folderOf(from), own
		}
		k.embedded = append(k.embedded, folder+"."+name)
	}
}

// folderOf returns the folder of a package that a file imports by a name; empty for one that is not of the house.
func (f *file) folderOf(name string) string {
	for _, i := range f.syntax.Imports {
		folder, own := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), module)
		if own && (i.Name != nil && i.Name.Name == name || folder[strings.LastIndex(folder, "/")+1:] == name) {
			return folder
		}
	}
	return ""
}

// typeName returns the name of a type without pointers and parameters, with its package where it is of another one.
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.IndexExpr:
		return typeName(e.X)
	case *ast.IndexListExpr:
		return typeName(e.X)
	case *ast.SelectorExpr:
		return typeName(e.X) + "." + e.Sel.Name
	case *ast.Ident:
		return e.Name
	}
	return "?"
}

// methods counts the methods of each type, with those that it gets from the structs that it embeds.
func (h *house) methods() (out []figure) {
	kinds := h.kinds()
	for name := range kinds {
		out = append(out, figure{name, promoted(kinds, name, map[string]bool{})})
	}
	return out
}

func promoted(kinds map[string]*kind, name string, seen map[string]bool) (n int) {
	k := kinds[name]
	if k == nil || seen[name] {
		return 0
	}
	seen[name] = true
	n = k.methods
	for _, other := range k.embedded {
		n += promoted(kinds, other, seen)
	}
	return n
}

// behaves is from how many methods on a struct is more than a record, so that its fields count.
const behaves = 4

// fields counts the fields of each type that behaves.
func (h *house) fields() (out []figure) {
	for name, k := range h.kinds() {
		if k.methods >= behaves {
			out = append(out, figure{name, k.fields})
		}
	}
	return out
}
