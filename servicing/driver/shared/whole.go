// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package shared is what several drivers and package managers do alike.
package shared

import (
	"iter"
	"maps"
	"path"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Again decides on a path once more.
func Again(p plan.Plan, t sides.Three, d plan.Decision) error {
	p.Reopen(t.Path)
	return p.Decide(t, d)
}

// ShowLink makes a path a symbolic link, or nothing, as the result of a decision. Something else than a link in its
// place is left alone.
func ShowLink(p plan.Plan, t sides.Three, target string, d plan.Decision) error {
	if t.U.File() && !t.U.Is(tree.Symlink) || t.U.Dir() || t.N.Dir() {
		return nil
	}
	if !sides.PossiblePath(t.Path) || !sides.PossibleTarget(target) {
		return nil
	}
	if target != "" {
		like := t.U
		if like.Absent() {
			like = t.N
		}
		d.Result = sides.Outcome{Node: sides.Node{
			View: p.Views().User,
			Entry: tree.Entry{Path: t.Path, Kind: tree.Symlink, Link: target, Size: int64(len(target)),
				Meta: like.Meta},
		}}
		d.Result.Mode = 0o777
	}
	if t.U.Link == target && t.N.Link == target || target == "" && t.U.Absent() && t.N.Absent() {
		return nil // so on both sides
	}
	return Again(p, t, d)
}

// Below returns what any side has below a directory and is no directory.
func Below(p plan.Plan, dir string) ([]sides.Three, error) {
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
	for name := range Sorted(names) {
		t, err := p.Look(path.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if t.O.File() || t.N.File() || t.U.File() {
			out = append(out, t)
		}
		if t.O.Dir() || t.N.Dir() || t.U.Dir() {
			inside, err := Below(p, t.Path)
			if err != nil {
				return nil, err
			}
			out = append(out, inside...)
		}
	}
	return out, nil
}

// ShowUnit shows one side's of files that are one unit.
func ShowUnit(p plan.Plan, all []sides.Three, side int, d plan.Decision) error {
	for _, t := range all {
		d.Result = sides.Nothing()
		if n := [3]sides.Node{t.O, t.N, t.U}[side]; n.File() {
			d.Result = sides.Shows(n)
		}
		shown, err := p.Seen(t.Path)
		if err != nil {
			return err
		}
		if shown.Dir() || d.Result.Absent() && shown.Absent() || sides.SameBacking(shown, d.Result.Node) {
			continue
		}
		p.Reopen(t.Path)
		if err := p.DecideAlways(t, d); err != nil {
			return err
		}
	}
	return nil
}

// Sorted returns the members of a set in order.
func Sorted(set map[string]bool) iter.Seq[string] {
	return slices.Values(slices.Sorted(maps.Keys(set)))
}
