// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package sides

import (
	"path"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Resolve follows symbolic links, as a process with this root would, and returns what a path leads to.
func Resolve(look func(string) (Node, error), p string) (Node, error) {
	_, n, err := resolveAt(look, p)
	return n, err
}

// resolveAt is resolve; it returns also where that is.
func resolveAt(look func(string) (Node, error), p string) (where string, at Node, err error) {
	const maxLinks = 40 // as the kernel's
	at, err = look(".")
	rest, where := p, "."
	for links := 0; err == nil && rest != "" && rest != "."; {
		if !at.Dir() {
			return "", Node{}, nil
		}
		first, remaining, _ := Cut(rest)
		next := path.Join(where, first) // the root is its own parent: this never begins with ".."
		if first == ".." {
			next = path.Dir(where)
		}
		var n Node
		if n, err = look(next); err != nil || n.Absent() {
			return "", Node{}, err
		}
		if !n.Is(tree.Symlink) {
			at, where, rest = n, next, remaining
			continue
		}
		if links++; links > maxLinks {
			return "", Node{}, nil
		}
		if path.IsAbs(n.Link) {
			where = "."
			at, err = look(where)
		}
		rest = path.Join(TrimRoot(n.Link), remaining)
	}
	return where, at, err
}

// In looks paths up in a view.
func In(view *tree.View) func(string) (Node, error) {
	return func(p string) (Node, error) { return Lookup(view, p) }
}

// ResolveDir returns the directory that a path leads to in a view; it reports false when it leads to none.
func ResolveDir(view *tree.View, p string) (string, bool, error) {
	n, err := Resolve(In(view), p)
	return n.Path, n.Dir(), err
}
