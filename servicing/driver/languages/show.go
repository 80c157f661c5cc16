// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package languages

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

const rule = "J2"

// settleUnit decides on a package, and notes the paths that it decided on.
func (dr *driver) settleUnit(ctx context.Context, u *pack, settled map[string]bool) error {
	system, err := dr.lookUp(ctx, u)
	if err != nil || system {
		return err
	}
	c, decided, err := u.choose(ctx)
	if err != nil || !decided {
		return err
	}
	if u.unread != "" {
		dr.plan.Hold(report.HoldConflict, u.unread, fmt.Sprintf(
			"%s was changed on both sides, and its record %s cannot be read; remove it or install it again in the "+
				"container",
			u.called(), tree.Shown(u.unread)))
		return nil
	}
	if slices.ContainsFunc(u.threes, func(t sides.Three) bool { return dr.plan.Settled(t) }) {
		c = u.users("a path in it is pinned or excluded: " + u.both())
	}
	if t, mixed := mixedKinds(u.threes); mixed {
		dr.plan.Hold(report.HoldConflict, t.Path, fmt.Sprintf(
			"%s was changed on both sides, and %s is a directory on one side only; remove it or install it again in "+
				"the container",
			u.called(), tree.Shown(t.Path)))
		return nil
	}
	return dr.show(u, c, settled)
}

// lookUp looks up the paths of a package. It reports whether it is to be left to a package manager of the system, which
// has it: unless the user brought it to another version with the package manager of the language.
func (dr *driver) lookUp(ctx context.Context, u *pack) (bool, error) {
	has, brought := false, !maps.Equal(u.has[sides.Old], u.has[sides.User])
	for _, name := range u.records {
		t, err := dr.plan.Look(name)
		if err != nil {
			return false, err
		}
		has = has || slices.ContainsFunc(t.Own[:], ofSystem)
		brought = brought && !slices.ContainsFunc(t.Own[:], changedBySystem)
	}
	if has && !brought {
		return true, nil
	}
	for _, name := range slices.Sorted(keys(u.paths)) {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		t, err := dr.plan.Look(name)
		if err != nil {
			return false, err
		}
		own := !has && slices.ContainsFunc(t.Own[:], ofSystem)
		if !own && (t.O.File() || t.N.File() || t.U.File()) {
			u.threes = append(u.threes, t)
		}
	}
	return false, nil
}

// mixedKinds returns a path where one side has a directory and another one a file.
func mixedKinds(all []sides.Three) (sides.Three, bool) {
	for _, t := range all {
		if t.N.Dir() && t.U.File() || t.U.Dir() && t.N.File() {
			return t, true
		}
	}
	return sides.Three{}, false
}

// show shows one side of a package, and tells of it once.
func (dr *driver) show(u *pack, c choice, settled map[string]bool) error {
	d := plan.Decision{Verdict: report.Keep, Rule: rule, Driver: driverName, Reason: c.reason}
	if c.side == sides.New {
		d.Verdict = report.Take
	}
	told := u.told(c.side)
	for _, t := range u.threes {
		settled[t.Path] = true
		d.Result, d.Quiet = sides.Nothing(), t.Path != told
		if n := [3]sides.Node{t.O, t.N, t.U}[c.side]; n.File() {
			d.Result = sides.Shows(n)
			if c.side == sides.New && t.U.File() && t.O.File() {
				d.Result = sides.Shows(sides.Merged(t, n))
			}
		}
		shown, err := dr.plan.Seen(t.Path)
		if err != nil {
			return err
		}
		same := d.Result.Absent() && shown.Absent() || sides.SameBacking(shown, d.Result.Node)
		if d.Quiet && same {
			continue
		}
		dr.plan.Reopen(t.Path)
		if err := dr.plan.DecideAlways(t, d); err != nil {
			return err
		}
	}
	return dr.hideEmpty(u, c.side)
}

// told returns the path that a decision is told about: the record of the side that is shown, or else any file.
func (u *pack) told(side int) string {
	first := ""
	for _, want := range []int{side, sides.New, sides.Old, sides.User} {
		for _, t := range u.threes {
			if n := [3]sides.Node{t.O, t.N, t.U}[want]; n.File() {
				if slices.Contains(u.records, t.Path) {
					return t.Path
				}
				if first == "" {
					first = t.Path
				}
			}
		}
	}
	return first
}

// hideEmpty hides the directories of a package in which nothing is left and which the side that is shown does not have.
func (dr *driver) hideEmpty(u *pack, side int) error {
	dirs := make(map[string]bool)
	for _, t := range u.threes {
		parents(t.Path, path.Dir(u.where.dir), func(dir string) {
			if sides.Within(dir, u.where.dir) {
				dirs[dir] = true
			}
		})
	}
	inner := slices.SortedFunc(keys(dirs), func(a, b string) int { return strings.Compare(b, a) }) // children first
	scene, hidden := dr.plan.SoFar(), make(map[string]bool)
	for _, dir := range inner {
		has, err := sides.Lookup(dr.plan.Views().Sides()[side], dir)
		if err != nil {
			return err
		}
		there, err := scene.At(dir)
		if err != nil {
			return err
		}
		if has.Dir() || !there.Dir() {
			continue
		}
		names, err := scene.Names(dir)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(names, func(name string) bool { return !hidden[path.Join(dir, name)] }) {
			hidden[dir] = true
			dr.plan.Hide(dir)
		}
	}
	return nil
}
