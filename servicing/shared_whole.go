// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"iter"
	"maps"
	"path"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// again decides on a path once more.
func again(p plan, t sides.Three, d decision) error {
	p.Reopen(t.Path)
	return p.Decide(t, d)
}

// showLink makes a path a symbolic link, or nothing, as the result of a decision. Something else than a link in its place is
// left alone.
func showLink(p plan, t sides.Three, target string, d decision) error {
	if t.U.File() && !t.U.Is(tree.Symlink) || t.U.Dir() || t.N.Dir() || !sides.PossiblePath(t.Path) || !sides.PossibleTarget(target) {
		return nil
	}
	if target != "" {
		like := t.U
		if like.Absent() {
			like = t.N
		}
		d.result = sides.Outcome{Node: sides.Node{View: p.Views().User, Entry: tree.Entry{Path: t.Path, Kind: tree.Symlink, Link: target, Size: int64(len(target)), Meta: like.Meta}}}
		d.result.Mode = 0o777
	}
	if t.U.Link == target && t.N.Link == target || target == "" && t.U.Absent() && t.N.Absent() {
		return nil // so on both sides
	}
	return again(p, t, d)
}

// below returns what any side has below a directory and is no directory.
func below(p plan, dir string) ([]sides.Three, error) {
	names := make(map[string]bool)
	for _, view := range p.Views().Sides() {
		list, err := sides.ReadDir(view, dir)
		if err != nil {
			return nil, err
		}
		for _, name := range list {
			names[name] = true
		}
	}
	var out []sides.Three
	for name := range sorted(names) {
		t, err := p.Look(path.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if t.O.File() || t.N.File() || t.U.File() {
			out = append(out, t)
		}
		if t.O.Dir() || t.N.Dir() || t.U.Dir() {
			inside, err := below(p, t.Path)
			if err != nil {
				return nil, err
			}
			out = append(out, inside...)
		}
	}
	return out, nil
}

// showUnit shows one side's of files that are one unit.
func showUnit(p plan, all []sides.Three, side int, d decision) error {
	for _, t := range all {
		d.result = sides.Nothing()
		if n := [3]sides.Node{t.O, t.N, t.U}[side]; n.File() {
			d.result = sides.Shows(n)
		}
		shown, err := p.Seen(t.Path)
		if err != nil {
			return err
		}
		if shown.Dir() || d.result.Absent() && shown.Absent() || sides.SameBacking(shown, d.result.Node) {
			continue
		}
		p.Reopen(t.Path)
		if err := p.DecideAlways(t, d); err != nil {
			return err
		}
	}
	return nil
}

// sorted returns the members of a set in order.
func sorted(set map[string]bool) iter.Seq[string] {
	return slices.Values(slices.Sorted(maps.Keys(set)))
}
