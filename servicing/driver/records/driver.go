// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package records merges lists of records of the package managers.
package records

import (
	"context"
	"errors"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/dpkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/shared"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// extendedStates is where apt notes which packages were installed as dependencies.
const extendedStates = "var/lib/apt/extended_states"

// driverName is what the driver is called in reports.
const driverName = "records"

// What the driver does besides having a name.
var (
	_ plan.Resolver = (*driver)(nil)
	_ plan.Finisher = (*driver)(nil)
)

// driver merges lists of records of the package managers.
type driver struct{ plan plan.Plan }

// New makes the driver of a plan.
func New(p plan.Plan) plan.Driver { return &driver{p} }

// Name returns what the driver is called.
func (*driver) Name() string { return driverName }

// Takes takes the files that are lists of records.
func (*driver) Takes(p string) bool {
	_, ok := dpkg.MergeRecords(p, nil, nil, nil)
	return ok || p == extendedStates
}

// Resolve merges lists of records of the package managers.
func (*driver) Resolve(t sides.Three) (plan.Decision, bool, error) {
	contents, err := sides.ReadThree(t, pkg.MaxDatabase)
	if err != nil || contents == nil {
		return plan.Decision{}, false, err
	}
	o, n, u := contents[0], contents[1], contents[2]
	var content []byte
	ok := true
	if t.Path == extendedStates {
		content = dpkg.MergeStanzas(o, n, u, "Package", "Architecture")
	} else {
		content, ok = dpkg.MergeRecords(t.Path, o, n, u)
	}
	return plan.Decision{
		Verdict: report.Merge, Rule: "D8", Reason: "merged by record", Result: sides.Makes(t, content),
	}, ok, nil
}

// Finish keeps what the user installed by hand marked so, where the new base brings the same package for something
// else.
func (dr *driver) Finish(context.Context) error {
	t, err := dr.plan.Look(extendedStates)
	if err != nil || dr.plan.Settled(t) {
		return err
	}
	manual, err := dr.byHand(t)
	if err != nil || len(manual) == 0 {
		return err
	}
	content, err := dr.plan.SoFar().Read(extendedStates, pkg.MaxDatabase)
	if err != nil || content == nil {
		return err
	}
	marked, changed := dpkg.MarkManual(content, manual)
	if !changed {
		return nil
	}
	made := t
	if made.U.Absent() {
		made.U = t.N
	}
	return shared.Again(dr.plan, t, plan.Decision{
		Verdict: report.Merge, Rule: "J14", Driver: driverName,
		Reason: "what was installed by hand on one side stays marked so",
		Result: sides.Makes(made, marked),
	})
}

// byHand returns the packages that are new on both sides, and that one of them has installed by hand; none where the
// marks are larger than any that apt writes.
func (dr *driver) byHand(t sides.Three) (map[string]bool, error) {
	var automatic [3]map[string]bool
	for side, n := range [3]sides.Node{t.O, t.N, t.U} {
		content, err := sides.Read(n, pkg.MaxDatabase)
		if errors.Is(err, tree.ErrTooLarge) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		automatic[side] = dpkg.AutomaticPackages(content)
	}
	out := make(map[string]bool)
	for _, c := range dr.plan.Packages().All() {
		if c.Old.Installed() || !c.New.Installed() || !c.User.Installed() {
			continue
		}
		if name := c.New.Name; !automatic[sides.User][name] || !automatic[sides.New][name] {
			out[name] = true
		}
	}
	return out, nil
}
