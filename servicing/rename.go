// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"fmt"
	"path"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// maxRenamed bounds how many entries are compared to find out whether a directory was renamed.
const maxRenamed = 10_000

// homes are where directories of programs and their data stand: one that was moved is looked for there, under its name.
var homes = []string{"etc", "opt", "srv", "usr/lib", "usr/libexec", "usr/local", "usr/share", "var/lib", "var/opt"}

// renamedTo returns where the new base has a directory that it does not have any more at its path: beside it under another
// name, or under its name elsewhere, with the very same in it. "" when there is none, or more than one.
func (p *planner) renamedTo(t sides.Three) (string, error) {
	if t.Was != t.Path {
		return "", nil
	}
	parent := path.Dir(t.Path)
	candidates, err := p.newIn(parent)
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
		is, err := p.isRenamed(t.Path, candidate)
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
	names, err := sides.ReadDir(p.New, parent)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		full := path.Join(parent, name)
		n, err := sides.Lookup(p.New, full)
		if err != nil {
			return nil, err
		}
		o, err := sides.Lookup(p.Old, full)
		if err != nil {
			return nil, err
		}
		if n.Dir() && o.Absent() {
			out = append(out, full)
		}
	}
	p.arrived[parent] = out
	return slices.Clone(out), nil
}

// isRenamed tells whether the new base has a directory, new there, that is the same as one of the old base.
func (p *planner) isRenamed(from, to string) (bool, error) {
	before, err := sides.Lookup(p.Old, to)
	if err != nil || !before.Absent() || sides.Within(to, from) || sides.Within(from, to) {
		return false, err
	}
	seen, err := sides.Lookup(p.Said, to)
	if err != nil || !seen.Absent() && !seen.Dir() {
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
	o, err := sides.Lookup(p.Old, from)
	if err != nil {
		return false, err
	}
	n, err := sides.Lookup(p.New, to)
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
	ofOld, err := sides.ReadDir(p.Old, from)
	if err != nil {
		return false, err
	}
	ofNew, err := sides.ReadDir(p.New, to)
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
func (p *planner) beginRename(c tree.Change, t sides.Three, to string) error {
	p.detours = append(p.detours, &detour{from: t.Was, to: to, follow: true})
	if err := p.apply(t, decision{
		verdict: report.Take, rule: "C2", reason: fmt.Sprintf("renamed to %s in the base; what the user has in it follows", tree.Shown(to)), result: sides.Nothing(),
	}); err != nil {
		return err
	}
	moved, err := p.Moved(t.Was, to)
	if err != nil {
		return err
	}
	return p.visitAt(c, moved)
}
