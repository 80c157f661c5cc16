// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"fmt"
	"path"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// maxRenamed bounds how many entries are compared to find out whether a directory was renamed.
const maxRenamed = 10_000

// homes are where directories of programs and their data stand: one that was moved is looked for there, under its name.
var homes = []string{"etc", "opt", "srv", "usr/lib", "usr/libexec", "usr/local", "usr/share", "var/lib", "var/opt"}

// renamedTo returns where the new base has a directory that it does not have any more at its path: beside it under another
// name, or under its name elsewhere, with the very same in it. "" when there is none, or more than one.
func (p *planner) renamedTo(t three) (string, error) {
	if t.was != t.path {
		return "", nil
	}
	parent := path.Dir(t.path)
	candidates, err := p.newIn(parent)
	if err != nil {
		return "", err
	}
	found := ""
	for _, home := range homes {
		if home != parent {
			candidates = append(candidates, path.Join(home, path.Base(t.path)))
		}
	}
	for _, candidate := range candidates {
		is, err := p.isRenamed(t.path, candidate)
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
func (p *planner) newIn(parent string) ([]string, error) {
	if known, ok := p.arrived[parent]; ok {
		return slices.Clone(known), nil
	}
	names, err := readDir(p.new, parent)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		full := path.Join(parent, name)
		n, err := lookup(p.new, full)
		if err != nil {
			return nil, err
		}
		o, err := lookup(p.old, full)
		if err != nil {
			return nil, err
		}
		if n.dir() && o.absent() {
			out = append(out, full)
		}
	}
	p.arrived[parent] = out
	return slices.Clone(out), nil
}

// isRenamed tells whether the new base has a directory, new there, that is the same as one of the old base.
func (p *planner) isRenamed(from, to string) (bool, error) {
	before, err := lookup(p.old, to)
	if err != nil || !before.absent() || within(to, from) || within(from, to) {
		return false, err
	}
	seen, err := lookup(p.said, to)
	if err != nil || !seen.absent() && !seen.dir() {
		return false, err
	}
	c := renaming{left: maxRenamed}
	same, err := c.same(p, from, to)
	return same && c.files > 0, err
}

// renaming compares trees.
type renaming struct {
	left  int // entries that may still be compared
	files int // regular files that are not empty
}

// same tells whether a path of the old base is the same as another one of the new base, with all that is below.
func (c *renaming) same(p *planner, from, to string) (bool, error) {
	o, err := lookup(p.old, from)
	if err != nil {
		return false, err
	}
	n, err := lookup(p.new, to)
	if err != nil {
		return false, err
	}
	if c.left--; c.left < 0 || o.Kind != n.Kind || o.Size != n.Size {
		return false, nil
	}
	if !o.dir() {
		if o.is(tree.Regular) && o.Size > 0 {
			c.files++
		}
		return sameContent(o, n)
	}
	ofOld, err := readDir(p.old, from)
	if err != nil {
		return false, err
	}
	ofNew, err := readDir(p.new, to)
	if err != nil || len(ofOld) != len(ofNew) {
		return false, err
	}
	for i, name := range ofOld {
		if ofNew[i] != name {
			return false, nil
		}
		if same, err := c.same(p, path.Join(from, name), path.Join(to, name)); err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

// beginRename lets what the user has in a directory follow to where the new base has it now.
func (p *planner) beginRename(c tree.Change, t three, to string) error {
	p.detours = append(p.detours, &detour{from: t.was, to: to, follow: true})
	if err := p.apply(t, decision{
		verdict: report.Take, rule: "C2", reason: fmt.Sprintf("renamed to %s in the base; what the user has in it follows", tree.Shown(to)), result: nothing(),
	}); err != nil {
		return err
	}
	moved, err := p.moved(t.was, to)
	if err != nil {
		return err
	}
	return p.visitAt(c, moved)
}
