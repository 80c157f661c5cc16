// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dpkg is Debian's package manager: its databases on all sides, and how they, and the files of packages, are
// merged.
package dpkg

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/dpkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/shared"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// driverName is what the driver is called in reports.
const driverName = "dpkg"

// What the driver does besides having a name.
var (
	_ plan.Finisher = (*driver)(nil)
	_ plan.Claimer  = (*driver)(nil)
)

// driver merges the database of dpkg, and makes packages units: the database and the files of each are one side's.
type driver struct {
	plan  plan.Plan
	books *books
}

// New makes the driver of a plan.
func New(p plan.Plan) plan.Driver { return &driver{p, pkg.Find[*books](p.Packages())} }

// Name returns what the driver is called.
func (dr *driver) Name() string { return driverName }

// Takes takes no path: the driver decides when the walk is over.
func (dr *driver) Takes(string) bool { return false }

// Claims claims the database of dpkg: the status, and what the info directory has about packages.
func (dr *driver) Claims(name string) bool {
	b := dr.books
	return !b.abandoned && (name == statusPath || b.infoChoice(name) != nil)
}

// Finish makes packages units: the database and the files of each are one side's.
func (dr *driver) Finish(context.Context) error {
	b := dr.books
	if err := dr.holdInterrupted(); err != nil {
		return err
	}
	if _, err := dr.plan.Packages().OwnerOf(sides.Three{}); err != nil { // reads all lists
		return err
	}
	if b.unreadable && b.changed {
		dr.plan.Hold(report.HoldPackageDatabase, statusPath,
			"the package database cannot be read: /"+path.Dir(statusPath))
	}
	if len(b.choices) == 0 || b.abandoned {
		return nil
	}
	if err := dr.mergeStatus(); err != nil {
		return err
	}
	if err := dr.mergeInfo(); err != nil {
		return err
	}
	if err := shared.SettlePackages(dr.plan, dr.Name(), b.choices); err != nil {
		return err
	}
	if !b.changed {
		return nil // whatever is wrong, this update has no part in it
	}
	if slices.ContainsFunc(b.choices, func(c unit.Choice) bool { return c.Differs() }) {
		shared.HoldBroken(dr.plan, b.broken()(unit.Effective(b.choices)), b.choices, b.refused)
	}
	if err := dr.holdClashes(); err != nil {
		return err
	}
	return dr.holdDamaged()
}

// mergeStatus merges the status file.
func (dr *driver) mergeStatus() error {
	t, err := dr.plan.Look(statusPath)
	if err != nil {
		return err
	}
	same, err := sides.Compare(t)
	if err != nil {
		return err
	}
	if same.ON && !unit.ReplacesAny(dr.books.choices) || same.OU || t.U.Absent() {
		return dr.plan.ByRules(t)
	}
	if t.N.Absent() {
		dr.plan.Hold(report.HoldPackageDatabase, t.Path,
			"the new base has no package database, the storage's was changed")
		return dr.plan.Decide(t, plan.Decision{
			Verdict: report.Hold, Rule: "D6", Driver: driverName, Reason: "the new base has no package database",
			Result: sides.Shows(t.U),
		})
	}
	b := dr.books
	content := dpkg.Status(b.choices, b.bases[sides.New], b.bases[sides.User])
	return dr.plan.Decide(t, plan.Decision{
		Verdict: report.Merge, Rule: "D1", Driver: driverName, Reason: "merged by package",
		Result: sides.Makes(t, content),
	})
}

// mergeInfo makes what the info directory has about a package that of its side.
func (dr *driver) mergeInfo() error {
	names := make(map[string]bool)
	for _, side := range dr.plan.Views().Sides() {
		list, err := sides.ReadDir(side, infoDir)
		if err != nil {
			return err
		}
		for _, name := range list {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		full := path.Join(infoDir, name)
		c := dr.books.infoChoice(full)
		if c == nil {
			continue // decided on by the walk
		}
		if err := dr.followPackage(full, c); err != nil {
			return err
		}
	}
	return nil
}

// followPackage makes a file about a package that of the package's side.
func (dr *driver) followPackage(name string, c *unit.Choice) error {
	t, err := dr.plan.Views().Three(name)
	if err != nil {
		return err
	}
	shown, err := sides.Lookup(dr.plan.Views().Plain, name)
	if err != nil {
		return err
	}
	d := plan.Decision{
		Verdict: report.Take, Rule: "D1", Driver: driverName, Reason: "follows its package", Result: sides.Shows(t.N),
		Quiet: true,
	}
	if c.Differs() {
		d.Verdict, d.Result = report.Keep, sides.Shows(t.U)
	}
	if sides.SameBacking(shown, d.Result.Node) {
		return nil
	}
	return dr.plan.DecideAlways(t, d)
}

// holdDamaged holds a storage whose package database lacks packages that are there: their lists are, and dpkg removes
// those.
func (dr *driver) holdDamaged() error {
	for _, c := range dr.books.choices {
		if !c.Differs() || c.User != nil || c.Old == nil {
			continue
		}
		for _, name := range dpkg.InfoNames(c.Old) {
			n, err := sides.Lookup(dr.plan.Views().User, path.Join(infoDir, name+".list"))
			if err != nil {
				return err
			}
			if !n.Absent() {
				dr.plan.Hold(
					report.HoldPackageDatabase, statusPath,
					"the package database is damaged: it does not have "+c.Key+", whose files are there",
				)
			}
		}
	}
	return nil
}

// holdInterrupted holds a storage whose package manager was interrupted, whatever the update is about: nobody can
// tell which files are half written.
func (dr *driver) holdInterrupted() error {
	b := dr.books
	known := make(map[string]bool)
	for _, pkg := range b.bases[sides.Old].Unfinished() {
		known[pkg.Record] = true
	}
	for _, pkg := range b.bases[sides.User].Unfinished() {
		if known[pkg.Record] {
			continue
		}
		state, flag := dpkg.Condition(pkg)
		dr.plan.HoldFor(report.Reason{
			Code: report.HoldInterrupted, Package: pkg.Name, Version: pkg.Version,
			Message: fmt.Sprintf("%s %s is %s (%s): finish with dpkg --configure --pending", pkg.Name, pkg.Version,
				state, flag),
		})
	}
	names, err := sides.ReadDir(dr.plan.Views().User, updatesDir)
	if err != nil {
		return err
	}
	for _, name := range names {
		t, err := dr.plan.Views().Three(path.Join(updatesDir, name))
		if err != nil {
			return err
		}
		journal := strings.Trim(name, "0123456789") == ""
		if same, err := sides.SameContent(t.O, t.U); err != nil || same || !journal {
			if err != nil {
				return err
			}
			continue
		}
		dr.plan.Hold(report.HoldInterrupted, t.Path, "dpkg did not finish writing its database: /"+t.Path)
	}
	return nil
}
