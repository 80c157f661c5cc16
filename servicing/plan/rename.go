// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
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

// renames finds directories of the old base that have another name in the new one.
type renames struct {
	views   *sides.Views
	arrived map[string][]string // by directory, the directories in it that are new in the base
}

// renamedTo returns where the new base has a directory that it does not have any longer at its path: beside it under
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

// fileRenamedTo returns where the new base has a file that it no longer has at its path: where its package says, or
// else the only new file beside it, or in its package, that has the very same content. It returns "" for none, or
// more than one.
func (w *walk) fileRenamedTo(t sides.Three) (string, error) {
	if t.Was != t.Path || !t.O.Is(tree.Regular) || !t.N.Absent() || !t.U.Is(tree.Regular) {
		return "", nil
	}
	changed, err := w.edited(t)
	if err != nil || !changed {
		return "", err
	}
	declared, err := w.paths.packages.Renamed(t.Path)
	if err != nil {
		return "", err
	}
	if declared != "" {
		free, err := w.arrives(declared)
		if err != nil || free {
			return declared, err
		}
	}
	candidates, err := sides.ReadDir(w.views.New, path.Dir(t.Path))
	if err != nil {
		return "", err
	}
	for i, name := range candidates {
		candidates[i] = path.Join(path.Dir(t.Path), name)
	}
	if c := t.Own[sides.Old]; c != nil && c.New.Installed() {
		list, err := w.paths.packages.List(c, sides.New)
		if err != nil {
			return "", err
		}
		candidates = append(candidates, list...)
	}
	return w.onlyOneAs(t, candidates)
}

// edited reports whether the user changed a file: its content, or its mode, owner or attributes.
func (w *walk) edited(t sides.Three) (bool, error) {
	same, err := sides.SameContent(t.O, t.U)
	return err == nil && !(same && sides.SameMeta(t.U.Kind, t.O.Meta, t.U.Meta)), err
}

// telling is from how many bytes on a content is taken for that of one file: fewer may well be in another one by
// chance.
const telling = 8

// onlyOneAs returns the only path that is new in the base and has the content of a file of the old one.
func (w *walk) onlyOneAs(t sides.Three, candidates []string) (found string, err error) {
	if t.O.Size < telling || len(candidates) > maxRenamed {
		return "", nil
	}
	for _, candidate := range candidates {
		n, err := sides.Lookup(w.views.New, candidate)
		if err != nil {
			return "", err
		}
		if candidate == found || !n.Is(tree.Regular) || n.Size != t.O.Size {
			continue
		}
		if arrives, err := w.arrives(candidate); err != nil || !arrives {
			if err != nil {
				return "", err
			}
			continue
		}
		same, err := sides.SameContent(t.O, n)
		switch {
		case err != nil:
			return "", err
		case same && found != "":
			return "", nil
		case same:
			found = candidate
		}
	}
	return found, nil
}

// arrives reports whether a path is a file that is new in the base, and of which the storage says nothing.
func (w *walk) arrives(p string) (bool, error) {
	t, err := w.views.Three(p)
	if err != nil {
		return false, err
	}
	said, err := sides.Lookup(w.views.Said, p)
	return err == nil && t.O.Absent() && t.N.Is(tree.Regular) && said.Absent(), err
}

// followFile reconciles what the user made of a file with what the base has of it at another path.
func (w *walk) followFile(t sides.Three, to string) error {
	moved, err := w.views.Moved(t.Was, to)
	if err != nil {
		return err
	}
	if err := w.paths.own(&moved); err != nil {
		return err
	}
	d, err := w.rules.threeWay(moved)
	if err != nil {
		return err
	}
	d.Rule, d.Reason, d.Quiet = "J16", "renamed by the base from "+tree.Shown(t.Path)+": "+d.Reason, false
	if d.Verdict == report.Keep || d.Verdict == report.Take {
		d.Verdict = report.Relocate
	}
	if err := w.result.Decide(moved, d); err != nil {
		return err
	}
	return w.result.Decide(t, Decision{
		Verdict: report.Relocate, Rule: "J16", Result: sides.Nothing(),
		Reason: "renamed to " + tree.Shown(to) + " by the base; the user's changes follow",
	})
}
