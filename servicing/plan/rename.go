// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"path"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// maxRenamed bounds how many entries are compared to find out whether a directory was renamed.
const maxRenamed = 10_000

// homes are where directories of programs and their data stand: one that was moved is looked for there, under its name.
var homes = []string{"etc", "opt", "srv", "usr/lib", "usr/libexec", "usr/local", "usr/share", "var/lib", "var/opt"}

// renames finds directories of the old base that have another name in the new one.
type renames struct {
	views   *sides.Views
	arrived map[string][]string // by directory, the directories in it that are new in the base
}

// renamedTo returns where the new base has a directory that it does not have any more at its path: beside it under
// another name, or under its name elsewhere, with the very same in it. "" when there is none, or more than one.
func (r *renames) renamedTo(t sides.Three) (string, error) {
	if t.Was != t.Path {
		return "", nil
	}
	parent := path.Dir(t.Path)
	candidates, err := r.newIn(parent)
	if err != nil {
		return "", err
	}
	found := ""
	for _, home := range homes {
		if home != parent {
			candidates = append(candidates, path.Join(home, path.Base(t.Path)))
		}
	}
	for _, candidate := range candidates {
		is, err := r.isRenamed(t.Path, candidate)
		if err != nil {
			return "", err
		}
		if is && found != "" {
			return "", nil
		}
		if is {
			found = candidate
		}
	}
	return found, nil
}

// newIn returns the directories in a directory that are new in the base.
func (r *renames) newIn(parent string) ([]string, error) {
	if known, ok := r.arrived[parent]; ok {
		return slices.Clone(known), nil
	}
	names, err := sides.ReadDir(r.views.New, parent)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		full := path.Join(parent, name)
		n, err := sides.Lookup(r.views.New, full)
		if err != nil {
			return nil, err
		}
		o, err := sides.Lookup(r.views.Old, full)
		if err != nil {
			return nil, err
		}
		if n.Dir() && o.Absent() {
			out = append(out, full)
		}
	}
	r.arrived[parent] = out
	return slices.Clone(out), nil
}

// isRenamed reports whether the new base has a directory, new there, that is the same as one of the old base.
func (r *renames) isRenamed(from, to string) (bool, error) {
	before, err := sides.Lookup(r.views.Old, to)
	if err != nil || !before.Absent() || sides.Within(to, from) || sides.Within(from, to) {
		return false, err
	}
	seen, err := sides.Lookup(r.views.Said, to)
	if err != nil || !seen.Absent() && !seen.Dir() {
		return false, err
	}
	c := renaming{left: maxRenamed}
	same, err := c.same(r.views, from, to)
	return same && c.files > 0, err
}

// renaming compares trees.
type renaming struct {
	left  int // entries that may still be compared
	files int // regular files that are not empty
}

// same reports whether a path of the old base is the same as another one of the new base, with all that is below.
func (c *renaming) same(v *sides.Views, from, to string) (bool, error) {
	o, err := sides.Lookup(v.Old, from)
	if err != nil {
		return false, err
	}
	n, err := sides.Lookup(v.New, to)
	if err != nil {
		return false, err
	}
	if c.left--; c.left < 0 || o.Kind != n.Kind || o.Size != n.Size {
		return false, nil
	}
	if !o.Dir() {
		if o.Is(tree.Regular) && o.Size > 0 {
			c.files++
		}
		return sides.SameContent(o, n)
	}
	ofOld, err := sides.ReadDir(v.Old, from)
	if err != nil {
		return false, err
	}
	ofNew, err := sides.ReadDir(v.New, to)
	if err != nil || len(ofOld) != len(ofNew) {
		return false, err
	}
	for i, name := range ofOld {
		if ofNew[i] != name {
			return false, nil
		}
		if same, err := c.same(v, path.Join(from, name), path.Join(to, name)); err != nil || !same {
			return false, err
		}
	}
	return true, nil
}
