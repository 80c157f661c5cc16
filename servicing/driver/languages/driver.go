// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package languages makes packages of programming languages units: where the user and the new base both changed one,
// all of it is one side's.
package languages

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/shared"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// driverName is what the driver is called in reports.
const driverName = "languages"

// byteCode is the suffix of what Python compiled: whoever runs a module makes it, so it is no change of a package.
const byteCode = ".pyc"

// What the driver does besides having a name.
var (
	_ plan.Deferrer  = (*driver)(nil)
	_ plan.Finisher  = (*driver)(nil)
	_ plan.Explainer = (*driver)(nil)
)

// driver makes packages of programming languages units.
type driver struct {
	plan    plan.Plan
	stores  *shared.Stores
	found   map[place]*root   // by where to look; nil for no root
	touched map[root][]string // by root, the paths below it that the storage touches and that are no directories
}

// New makes the driver of a plan.
func New(p plan.Plan) plan.Driver {
	return &driver{
		plan: p, stores: shared.NewStores(p), found: make(map[place]*root), touched: make(map[root][]string),
	}
}

// Name returns what the driver is called.
func (dr *driver) Name() string { return driverName }

// Takes takes every path but byte code: where packages are shows in the directories.
func (dr *driver) Takes(name string) bool { return !strings.HasSuffix(name, byteCode) }

// Explains reports whether a path may belong to a package.
func (dr *driver) Explains(t sides.Three) (bool, error) {
	r, err := dr.rootOf(t.Path)
	return r != nil && dr.defers(t), err
}

// Defers puts off what is among packages until all is known that the storage touches there.
func (dr *driver) Defers(t sides.Three) (bool, error) {
	if t.Was != t.Path {
		return false, nil
	}
	if t.U.Dir() || t.U.Absent() && (t.O.Dir() || t.N.Dir()) {
		return false, dr.noteDirectory(t)
	}
	r, err := dr.rootOf(t.Path)
	if err != nil || r == nil {
		return false, err
	}
	dr.touched[*r] = append(dr.touched[*r], t.Path)
	return dr.defers(t), nil
}

// noteDirectory notes a directory of packages that the storage has, or that is deleted with what is in it.
func (dr *driver) noteDirectory(t sides.Three) error {
	r, err := dr.rootOf(path.Join(t.Path, "any"))
	if err != nil {
		return err
	}
	deleted := t.U.Absent()
	switch {
	case r != nil && deleted:
		dr.touched[*r] = append(dr.touched[*r], t.Path)
	case r != nil && r.dir == t.Path:
		dr.touched[*r] = slices.Clip(dr.touched[*r])
	case deleted && t.N.Dir():
		return dr.noteBelow(t.Path)
	}
	return nil
}

// noteBelow notes the directories of packages of the new base below a directory that the user deleted.
func (dr *driver) noteBelow(dir string) error {
	names, err := sides.ReadDir(dr.plan.Views().New, dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		t, err := dr.plan.Views().Three(path.Join(dir, name))
		if err != nil {
			return err
		}
		if t.N.Dir() {
			if err := dr.noteDirectory(t); err != nil {
				return err
			}
		}
	}
	return nil
}

// defers reports whether to decide on a path later: one that only the user has needs no decision unless its package
// goes, and what the user changed with a package manager of the system is that one's.
func (dr *driver) defers(t sides.Three) bool {
	own := slices.ContainsFunc(t.Own[:], changedBySystem)
	return !own && !t.U.Dir() && (t.O.File() || t.N.File())
}

// Finish compares the packages that the storage touches, and shows one side's where both changed one.
func (dr *driver) Finish(ctx context.Context) error {
	for _, r := range slices.SortedFunc(keys(dr.touched), root.compare) {
		if err := dr.settle(ctx, r, dr.touched[r]); err != nil {
			return err
		}
	}
	return nil
}

// settle decides on the packages in a root, and on what is in no package that it decided on as on any other path.
func (dr *driver) settle(ctx context.Context, r root, touched []string) error {
	units, err := kinds[r.kind].units(&reader{plan: dr.plan, ctx: ctx}, r, touched)
	if errors.Is(err, errTooMuch) {
		dr.plan.Hold(report.HoldConflict, r.dir, fmt.Sprintf(
			"the packages in %s were changed and are %s; remove what is not needed, or exclude the directory",
			tree.Shown(r.dir), err,
		))
		err = nil
	}
	if err != nil {
		return err
	}
	settled := make(map[string]bool)
	for _, u := range units {
		u.where = r
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := dr.settleUnit(ctx, u, settled); err != nil {
			return err
		}
	}
	for _, name := range touched {
		if _, decided := dr.plan.At(name); decided || settled[name] {
			continue
		}
		t, err := dr.plan.Look(name)
		if err != nil {
			return err
		}
		if dr.defers(t) {
			if err := dr.plan.ByRules(t); err != nil {
				return err
			}
		}
	}
	return nil
}

// parents calls a function with the directories that a path is in, the innermost first, below another one.
func parents(name, below string, do func(dir string)) {
	for dir := path.Dir(name); dir != below && dir != "."; dir = path.Dir(dir) {
		do(dir)
	}
}
