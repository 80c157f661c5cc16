// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"path"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// fileRenamedTo returns where the new base has a file that it no longer has at its path: where its package says, or else the only
// new file beside it, or in its package, that has the very same content. It returns "" for none, or more than one.
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

// telling is from how many bytes on a content is taken for that of one file: fewer may well be in another one by chance.
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
		Verdict: report.Relocate, Rule: "J16", Reason: "renamed to " + tree.Shown(to) + " by the base; the user's changes follow",
		Result: sides.Nothing(),
	})
}
