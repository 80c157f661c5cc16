// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// walk goes through what the storage says, and decides on each path.
type walk struct {
	views  *sides.Views
	policy policy.Policy
	pins   *Pins
	paths  *paths
	result *result
	rules  *rules
	links  *links
	owners *ownership

	touched bool            // the storage says something
	detours []*detour       // what the walk is inside of, the innermost last
	orphans []sides.Three   // directories of the storage that the new base does not have any longer
	hidden  map[string]bool // directories of the storage with whiteouts
	renames *renames
}

func newWalk(p *Planner) *walk {
	return &walk{
		views: p.views, policy: p.policy, pins: p.pins, paths: p.paths, result: p.result, rules: p.rules,
		links:  p.links,
		owners: p.owners,
		hidden: make(map[string]bool), renames: &renames{views: p.views, arrived: make(map[string][]string)},
	}
}

// settled reports whether there is nothing to decide about a path: it is pinned or excluded.
func (w *walk) settled(t sides.Three) bool {
	return w.result.isFixed(t.Path) || w.pins.excludes(t.Was) || w.pins.excludes(t.Path)
}

// visit decides on one path that the storage says something about. A look passes over what changes under its eyes.
func (w *walk) visit(c tree.Change) error {
	err := w.decide(c)
	if errors.Is(err, fs.SkipDir) {
		return err
	}
	err = w.pins.passed.Over(w.views.Live, c.Path, err)
	if err == nil && c.Kind == tree.Directory && w.pins.passed.Has(c.Path) {
		return fs.SkipDir
	}
	return err
}

func (w *walk) decide(c tree.Change) error {
	if w.pins.excludes(c.Path) {
		if c.Kind == tree.Directory {
			return fs.SkipDir
		}
		return nil
	}
	if sides.InBeside(c.Path) { // molt's own
		w.note(c, sides.Three{Path: c.Path, Was: c.Path})
		return nil
	}
	if c.Deleted && c.Covered {
		w.hidden[path.Dir(c.Path)] = true
		return nil // the opaque directory says the same
	}
	for len(w.detours) > 0 && !sides.Within(c.Path, w.detours[len(w.detours)-1].from) {
		w.detours = w.detours[:len(w.detours)-1]
	}
	if len(w.detours) > 0 {
		return w.visitDetour(c, w.detours[len(w.detours)-1])
	}
	t, err := w.views.Three(c.Path)
	if err != nil {
		return err
	}
	if !c.Deleted && !t.U.Is(c.Kind) {
		return &tree.UnreadableError{Path: c.Path, Why: tree.Changing}
	}
	return w.visitAt(c, t)
}

// visitAt decides on a change at a path, which may be another one than that of the change.
func (w *walk) visitAt(c tree.Change, t sides.Three) error {
	if c.Unread != nil {
		w.result.holdUnread(c.Path, c.Unread)
	}
	w.touched = w.touched || c.Path != "."
	w.note(c, t)
	if w.settled(t) {
		return nil
	}
	if err := w.paths.own(&t); err != nil {
		return err
	}
	if done, err := w.byDriver(t); done || err != nil {
		return err
	}
	switch {
	case c.Deleted:
		return w.deleted(t)
	case c.Kind == tree.Directory:
		return w.directory(c, t)
	default:
		return w.file(t)
	}
}

// byDriver lets the first driver decide that takes a path before contents are compared. It reports whether one does,
// now or when the walk is over.
func (w *walk) byDriver(t sides.Three) (bool, error) {
	for _, d := range w.rules.drivers {
		if c, ok := d.(Claimer); ok && c.Claims(t.Path) {
			return true, nil
		}
		if f, ok := d.(Deferrer); ok && d.Takes(t.Path) {
			if deferred, err := f.Defers(t); deferred || err != nil {
				return deferred, err
			}
		}
		first, ok := d.(Decider)
		if !ok || !d.Takes(t.Path) {
			continue
		}
		decided, ok, err := first.First(t)
		if err != nil {
			return false, fmt.Errorf("driver %s: %w", d.Name(), err)
		}
		if ok {
			decided.Driver = d.Name()
			return true, w.result.Decide(t, decided)
		}
	}
	return false, nil
}

// byRules decides on a path that the walk passed over as on any other.
func (w *walk) byRules(t sides.Three) error {
	plain, err := sides.Lookup(w.views.Plain, t.Path)
	if err != nil || sides.SameBacking(plain, t.N) {
		return err // the storage says nothing about it
	}
	switch {
	case t.U.Absent():
		return w.deleted(t)
	case t.U.Dir():
		return w.directory(tree.Change{Entry: t.U.Entry}, t)
	default:
		return w.file(t)
	}
}

// note remembers what is needed when the walk is over.
func (w *walk) note(c tree.Change, t sides.Three) {
	if c.Deleted {
		w.hidden[path.Dir(c.Path)] = true
		return
	}
	if c.Path != "." { // the root of a storage is there whoever wrote in it
		w.owners.found.Add(c.Meta, 1)
	}
	if c.Kind != tree.Directory && c.Nlink > 1 && !sides.InBeside(c.Path) {
		id := fileID{c.Dev, c.Ino}
		w.links.groups[id] = append(w.links.groups[id], link{t.Was, t.Path, t.O.Absent() && t.N.Absent()})
	}
}

// file decides on a path where the storage has something that is not a directory.
func (w *walk) file(t sides.Three) error {
	if t.U.Is(tree.Socket) {
		return w.result.Decide(t, Decision{
			Verdict: report.Drop, Rule: "C11", Reason: "a socket without a process", Result: sides.Shows(t.U),
		})
	}
	if t.O.Absent() && t.N.Absent() {
		return w.ownFile(t)
	}
	if t.Own.UsersVersion(t.Was) {
		return w.result.Decide(t, w.rules.keepPackaged(t))
	}
	if t.N.Dir() {
		return w.directoryOverFile(t)
	}
	if to, err := w.fileRenamedTo(t); err != nil || to != "" {
		if err != nil {
			return err
		}
		return w.followFile(t, to)
	}
	d, err := w.rules.threeWay(t)
	if err != nil {
		return err
	}
	return w.result.Decide(t, d)
}

// ownFile keeps what neither base has, unless it is of a version of a package that is not in the result.
func (w *walk) ownFile(t sides.Three) error {
	shipped, err := w.paths.packages.Shipped(t)
	if err != nil {
		return err
	}
	if shipped {
		return w.result.Decide(t, w.rules.unchanged(t, false))
	}
	if _, _, earlier := sides.BesideEarlier(t.Path); earlier {
		w.result.beside.earlier = append(w.result.beside.earlier, t.Path)
	}
	return w.result.Decide(t, Decision{
		Verdict: report.Keep, Rule: "A2", Reason: "the user's own", Result: sides.Shows(t.U), Quiet: true,
	})
}
