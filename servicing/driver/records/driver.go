// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package records merges lists of records of the package managers.
package records

import (
	"github.com/molt-snapshotter/molt-snapshotter/servicing/dpkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// extendedStates is where apt notes which packages were installed as dependencies.
const extendedStates = "var/lib/apt/extended_states"

// driverName is what the driver is called in reports.
const driverName = "records"

// What the driver does besides having a name.
var _ plan.Resolver = driver{}

// driver merges lists of records of the package managers.
type driver struct{}

// New makes the driver of a plan.
func New(plan.Plan) plan.Driver { return driver{} }

// Name returns what the driver is called.
func (driver) Name() string { return driverName }

// Takes takes the files that are lists of records.
func (driver) Takes(p string) bool {
	_, ok := dpkg.MergeRecords(p, nil, nil, nil)
	return ok || p == extendedStates
}

// Resolve merges lists of records of the package managers.
func (driver) Resolve(t sides.Three) (plan.Decision, bool, error) {
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
