// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package data keeps databases and other stores whole that are a directory each.
package data

import (
	"context"
	"fmt"
	"path"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/shared"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// driverName is what the driver is called in reports.
const driverName = "data"

// What the driver does besides having a name.
var (
	_ plan.Decider   = (*driver)(nil)
	_ plan.Finisher  = (*driver)(nil)
	_ plan.Explainer = (*driver)(nil)
)

// driver keeps stores whole that are a directory each.
type driver struct {
	plan    plan.Plan
	stores  *shared.Stores
	changed map[string]bool // directories of stores whose data the user changed
}

// New makes the driver of a plan.
func New(p plan.Plan) plan.Driver {
	return &driver{plan: p, stores: shared.NewStores(p), changed: make(map[string]bool)}
}

// Name returns what the driver is called.
func (dr *driver) Name() string { return driverName }

// Takes takes every path: what a file is does not show in its name.
func (dr *driver) Takes(string) bool { return true }

// Explains reports whether a path belongs to the data of a database.
func (dr *driver) Explains(t sides.Three) (bool, error) {
	root, err := dr.stores.Root(path.Dir(t.Path))
	return root != "", err
}

// First keeps what the user changed in the data of a database, and remembers to keep all that belongs to it.
func (dr *driver) First(t sides.Three) (plan.Decision, bool, error) {
	if t.U.Dir() || t.N.Dir() || t.Was != t.Path {
		return plan.Decision{}, false, nil
	}
	root, err := dr.stores.Root(path.Dir(t.Path))
	if err != nil || root == "" {
		return plan.Decision{}, false, err
	}
	if same, err := sides.SameContent(t.O, t.U); err != nil || same {
		return plan.Decision{}, false, err
	}
	dr.changed[root] = true
	return plan.Decision{
		Verdict: report.Keep, Rule: "G1", Reason: dr.reason(root), Result: sides.Shows(t.U),
		Quiet: t.O.Absent() && t.N.Absent(),
	}, true, nil
}

// reason says why a path is kept.
func (dr *driver) reason(root string) string {
	return fmt.Sprintf("belongs to the store in %s (%s), which stays as the user left it", tree.Shown(root),
		dr.stores.Kind(root))
}

// maxCopy is how much of the old base is copied to keep a store whole.
const maxCopy = 1 << 30

// tooLarge holds the storage when too much of the old base would have to be copied, and reports whether it does.
func (dr *driver) tooLarge(root string, all []sides.Three) bool {
	var bytes int64
	for _, t := range all {
		if t.U.Is(tree.Regular) && sides.SameBacking(t.O, t.U) && !sides.SameBacking(t.N, t.U) {
			bytes += t.U.Size
		}
	}
	if bytes <= maxCopy {
		return false
	}
	dr.plan.Hold(report.HoldConflict, root,
		fmt.Sprintf("the store in %s (%s) was changed on both sides, and %d MiB of the old base belong to it: "+
			"that is too much to copy; move it out of the image, or pin it", tree.Shown(root), dr.stores.Kind(root),
			bytes>>20))
	return true
}

// Finish keeps the stores whose data the user changed, whole.
func (dr *driver) Finish(context.Context) error {
	for root := range shared.Sorted(dr.changed) {
		all, err := shared.Below(dr.plan, root)
		if err != nil {
			return err
		}
		if dr.tooLarge(root, all) {
			continue
		}
		d := plan.Decision{Verdict: report.Keep, Rule: "G1", Driver: driverName, Reason: dr.reason(root)}
		if err := shared.ShowUnit(dr.plan, all, sides.User, d); err != nil {
			return err
		}
	}
	return nil
}
