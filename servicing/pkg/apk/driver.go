// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package apk is Alpine's package manager: its databases on all sides, and how they, and the files of packages, are
// merged.
package apk

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/apk"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/shared"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

const apkRule = "D10"

// driverName is what the driver is called in reports.
const driverName = "apk"

// What the driver does besides having a name.
var (
	_ plan.Resolver = (*driver)(nil)
	_ plan.Finisher = (*driver)(nil)
	_ plan.Claimer  = (*driver)(nil)
)

// driver merges the database of apk, and makes Alpine's packages units.
type driver struct {
	plan  plan.Plan
	books *books
}

// New makes the driver of a plan.
func New(p plan.Plan) plan.Driver { return &driver{p, pkg.Find[*books](p.Packages())} }

// Name returns what the driver is called.
func (dr *driver) Name() string { return driverName }

// Takes takes the paths of this driver.
func (dr *driver) Takes(name string) bool { return name == apkWorld }

// Claims claims the database of apk.
func (dr *driver) Claims(name string) bool {
	b := dr.books
	return len(b.choices) > 0 && !b.abandoned && b.has(name)
}

// Resolve merges what both sides ask for.
func (dr *driver) Resolve(t sides.Three) (plan.Decision, bool, error) {
	contents, err := sides.ReadThree(t, pkg.MaxDatabase)
	if err != nil || contents == nil {
		return plan.Decision{}, false, err
	}
	content := apk.MergeWorld(contents[sides.Old], contents[sides.New], contents[sides.User])
	return plan.Decision{
		Verdict: report.Merge, Rule: apkRule, Reason: "merged by name", Result: sides.Makes(t, content),
	}, true, nil
}

// Finish makes Alpine's packages units: the records, the scripts and the files of each are one side's.
func (dr *driver) Finish(context.Context) error {
	b := dr.books
	if b.unreadable && b.changed {
		dr.plan.Hold(report.HoldPackageDatabase, path.Join(apkDirs[0], apkInstalled),
			"the package database cannot be read")
	}
	if err := dr.holdApkInterrupted(); err != nil {
		return err
	}
	if len(b.choices) == 0 || b.abandoned {
		return nil
	}
	installed := func([]byte, []byte) ([]byte, bool) {
		return apk.Render(b.choices, b.bases[sides.New], b.bases[sides.User]), true
	}
	triggers := func(base, user []byte) ([]byte, bool) { return apk.MergeTriggers(b.choices, base, user), true }
	scripts := func(base, user []byte) ([]byte, bool) { return apk.MergeScripts(b.choices, base, user) }
	if err := dr.mergeApkFile(apkInstalled, apkInstalled, installed); err != nil {
		return err
	}
	if err := dr.mergeScripts(scripts); err != nil {
		return err
	}
	if err := dr.mergeApkFile(apkTriggers, apkTriggers, triggers); err != nil {
		return err
	}
	if err := shared.SettlePackages(dr.plan, dr.Name(), b.choices); err != nil || !b.changed {
		return err // if it did not change: whatever is wrong, this update has no part in it
	}
	return dr.holdApkBroken()
}

// mergeScripts merges the archives of scripts, in the form of the new base's. One in another form is not left behind.
func (dr *driver) mergeScripts(merge func(base, user []byte) ([]byte, bool)) error {
	before, err := dr.books.scripts(sides.User)
	if err != nil {
		return err
	}
	after, err := dr.books.scripts(sides.New)
	if err != nil {
		return err
	}
	if err := dr.mergeApkFile(before, after, merge); err != nil || before == after {
		return err
	}
	t, err := dr.plan.Look(path.Join(dr.books.dirs[sides.User], before))
	if err != nil || t.U.Absent() || !t.N.Absent() {
		return err
	}
	return dr.plan.Decide(t, plan.Decision{
		Verdict: report.Take, Rule: apkRule, Driver: driverName, Reason: "its scripts are in " + after + " now",
		Result: sides.Nothing(),
	})
}

// mergeApkFile merges one file of the database, which may have another name in the new base, unless only one side
// changed it.
func (dr *driver) mergeApkFile(before, after string, merge func(base, user []byte) ([]byte, bool)) error {
	b := dr.books
	was := path.Join(b.dirs[sides.User], before)
	now := path.Join(b.dirs[sides.New], after)
	if b.dirs[sides.New] == "" {
		now = was
	}
	if b.dirs[sides.User] == "" {
		was = now
	}
	t, err := dr.plan.Views().Moved(was, now)
	if err != nil {
		return err
	}
	same, err := sides.Compare(t)
	if err != nil {
		return err
	}
	mixed := slices.ContainsFunc(b.choices, func(c unit.Choice) bool { return c.Differs() })
	if was == now && (same.ON && !unit.ReplacesAny(b.choices) || same.NU || same.OU && !mixed || t.U.Absent()) {
		return dr.plan.ByRules(t)
	}
	contents, err := sides.ReadThree(t, pkg.MaxDatabase)
	if err != nil {
		return err
	}
	kept := plan.Decision{
		Verdict: report.Hold, Rule: apkRule, Driver: driverName, Reason: "cannot be merged", Result: sides.Shows(t.U),
	}
	if contents == nil {
		if before == apkInstalled || !t.N.Absent() {
			dr.plan.Hold(
				report.HoldPackageDatabase, t.Path,
				"/"+t.Path+": the package database was changed, and the new base has none that can be merged with it",
			)
		}
		return dr.plan.Decide(t, kept)
	}
	content, ok := merge(contents[sides.New], contents[sides.User])
	if !ok {
		dr.plan.Hold(report.HoldPackageDatabase, t.Path, "/"+t.Path+": not understood")
		return dr.plan.Decide(t, kept)
	}
	return dr.plan.Decide(t, plan.Decision{
		Verdict: report.Merge, Rule: apkRule, Driver: driverName, Reason: "merged by package",
		Result: sides.Makes(t, content),
	})
}

// holdApkBroken holds a storage in which a dependency or what was asked for would not hold any longer.
func (dr *driver) holdApkBroken() error {
	b := dr.books
	t, err := dr.plan.Look(apkWorld)
	if err != nil {
		return err
	}
	world, err := dr.resultContent(t)
	if err != nil {
		return err
	}
	shared.HoldBroken(dr.plan, b.broken(world)(unit.Effective(b.choices)), b.choices, b.refused)
	return nil
}

// resultContent returns the content that a regular file will have.
func (dr *driver) resultContent(t sides.Three) ([]byte, error) {
	if o, decided := dr.plan.At(t.Path); decided && o.Made {
		return o.Content, nil
	}
	n, err := dr.plan.Seen(t.Path)
	if err != nil {
		return nil, err
	}
	return sides.Read(n, pkg.MaxDatabase)
}

// holdApkInterrupted holds a storage whose package manager was interrupted, or left a package broken, whatever the
// update is about: nobody can tell which files are half written.
func (dr *driver) holdApkInterrupted() error {
	b := dr.books
	known := make(map[string]bool)
	for _, pkg := range b.bases[sides.Old].Packages {
		known[pkg.Record] = true
	}
	for _, pkg := range b.bases[sides.User].Packages {
		if why := apk.Broken(pkg); why != "" && !known[pkg.Record] {
			dr.plan.HoldFor(report.Reason{
				Code: report.HoldInterrupted, Package: pkg.Name, Version: pkg.Version,
				Message: fmt.Sprintf("%s %s is broken (%s): finish with apk fix", pkg.Name, pkg.Version, why),
			})
		}
	}
	if b.dirs[sides.User] == "" {
		return nil
	}
	names, err := sides.ReadDir(dr.plan.Views().Said, b.dirs[sides.User])
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == apkInstalled+".new" || strings.HasPrefix(name, apkInstalled+".tmp") {
			t := path.Join(b.dirs[sides.User], name)
			dr.plan.Hold(report.HoldInterrupted, t, "apk did not finish writing its database: /"+t)
		}
	}
	return nil
}
