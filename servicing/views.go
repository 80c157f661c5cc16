// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// views are the ways to look at the input.
type views struct {
	old   *tree.View // the old base
	new   *tree.View // the new base
	user  *tree.View // what the user saw: the storage over the old base
	plain *tree.View // what would be seen without side effects: the storage over the new base
	said  *tree.View // the storage alone

	before map[string]report.Withheld // by path, what an earlier servicing withheld
	marks  map[unit.Mark]bool         // the packages that an earlier servicing kept

	sameBase bool // the new base is the old one
	live     bool // the storage may be in use

	shift *numbering // that new is read in; nil for its own
}

func openViews(in Input) (*views, error) {
	v := &views{sameBase: slices.Equal(in.Old, in.New), live: in.Live, before: make(map[string]report.Withheld), marks: marks(in.Waiting)}
	for _, w := range in.Withheld {
		v.before[w.At()] = w
	}
	for _, open := range []struct {
		view  **tree.View
		stack tree.Stack
	}{
		{&v.old, in.Old},
		{&v.new, in.New},
		{&v.user, slices.Concat(in.User, in.Old)},
		{&v.plain, slices.Concat(in.User, in.New)},
		{&v.said, in.User},
	} {
		view, err := tree.Tolerance{LongLists: true, Changes: in.Live}.Open(open.stack)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open the stacks: %w", err), v.close())
		}
		*open.view = view
	}
	return v, nil
}

func (v *views) close() error {
	var errs []error
	for _, view := range []*tree.View{v.old, v.new, v.user, v.plain, v.said} {
		if view != nil {
			errs = append(errs, view.Close())
		}
	}
	return errors.Join(errs...)
}

// sides returns the views of the three sides, by side.
func (v *views) sides() [3]*tree.View { return [3]*tree.View{v.old, v.new, v.user} }

// useNumbering makes the new base be read in the numbering of the result.
func (v *views) useNumbering(n *numbering) {
	v.shift = nil
	v.new.Amend(nil)
	if n.moves() {
		v.shift = n
		v.new.Amend(n.amend)
	}
}

// node is what a view shows at a path: an entry, or nothing (then view is nil).
type node struct {
	view *tree.View
	tree.Entry
}

// lookup returns what a view shows at a path. Nothing stands at what cannot be a path, or has too long a name: databases and
// links of a user hold anything.
func lookup(view *tree.View, path string) (node, error) {
	e, err := view.Lookup(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) || errors.Is(err, unix.ENAMETOOLONG) {
		return node{}, nil
	}
	if err != nil {
		return node{}, err
	}
	return node{view, e}, nil
}

func (n node) absent() bool { return n.view == nil }
func (n node) is(k tree.Kind) bool {
	return n.view != nil && n.Kind == k
}
func (n node) dir() bool { return n.is(tree.Directory) }

// file tells that there is something which is not a directory.
func (n node) file() bool { return n.view != nil && n.Kind != tree.Directory }

// sameContent tells whether two nodes have the same content. Nothing has the same content as nothing.
func sameContent(a, b node) (bool, error) {
	if a.absent() || b.absent() {
		return a.absent() && b.absent(), nil
	}
	return tree.SameContent(a.view, a.Entry, b.view, b.Entry)
}

// readDir returns the names that a view shows in a directory; none when there is no directory.
func readDir(view *tree.View, dir string) ([]string, error) {
	n, err := lookup(view, dir)
	if err != nil || !n.dir() {
		return nil, err
	}
	return view.ReadDir(dir)
}

// read returns the content of a regular file; nil when there is none. Larger ones than limit give tree.ErrTooLarge.
func read(n node, limit int64) ([]byte, error) {
	if !n.is(tree.Regular) {
		return nil, nil
	}
	content, err := n.view.ReadFile(n.Path, limit)
	if err == nil && content == nil {
		content = []byte{}
	}
	return content, err
}

// three is one path in the three stacks.
type three struct {
	path    string     // in the new base and the result
	was     string     // in the old base and the storage; differs when it is relocated
	o, n, u node       // the old base, the new base, and what the user saw
	own     owner      // the packages that have it
	shift   *numbering // that the new base is read in; nil for its own
}

// three looks up a path.
func (v *views) three(p string) (three, error) { return v.moved(p, p) }

// moved looks up a path that was another one before.
func (v *views) moved(was, p string) (three, error) {
	t := three{path: p, was: was, shift: v.shift}
	var errs [3]error
	t.o, errs[0] = lookup(v.old, was)
	t.n, errs[1] = lookup(v.new, p)
	t.u, errs[2] = lookup(v.user, was)
	if err := errors.Join(errs[:]...); err != nil {
		return t, err
	}
	err := v.asBefore(&t)
	return t, err
}

// resolve follows symbolic links, as a process with this root would, and returns what a path leads to.
func resolve(look func(string) (node, error), p string) (node, error) {
	_, n, err := resolveAt(look, p)
	return n, err
}

// resolveAt is resolve; it returns also where that is.
func resolveAt(look func(string) (node, error), p string) (where string, at node, err error) {
	const maxLinks = 40 // as the kernel's
	at, err = look(".")
	rest, where := p, "."
	for links := 0; err == nil && rest != "" && rest != "."; {
		if !at.dir() {
			return "", node{}, nil
		}
		first, remaining, _ := cut(rest)
		next := path.Join(where, first) // the root is its own parent: this never begins with ".."
		if first == ".." {
			next = path.Dir(where)
		}
		var n node
		if n, err = look(next); err != nil || n.absent() {
			return "", node{}, err
		}
		if !n.is(tree.Symlink) {
			at, where, rest = n, next, remaining
			continue
		}
		if links++; links > maxLinks {
			return "", node{}, nil
		}
		if path.IsAbs(n.Link) {
			where = "."
			at, err = look(where)
		}
		rest = path.Join(trimRoot(n.Link), remaining)
	}
	return where, at, err
}

// in looks paths up in a view.
func in(view *tree.View) func(string) (node, error) {
	return func(p string) (node, error) { return lookup(view, p) }
}

// resolveDir returns the directory that a path leads to in a view; it reports false when it leads to none.
func resolveDir(view *tree.View, p string) (string, bool, error) {
	n, err := resolve(in(view), p)
	return n.Path, n.dir(), err
}
