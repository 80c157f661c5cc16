// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package text merges texts by lines.
package text

import (
	"github.com/molt-snapshotter/molt-snapshotter/servicing/diff3"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// driverName is what the driver is called in reports.
const driverName = "text"

// What the driver does besides having a name.
var (
	_ plan.Resolver  = driver{}
	_ plan.Explainer = driver{}
)

// driver merges texts by lines.
type driver struct{}

// New makes the driver of a plan.
func New(plan.Plan) plan.Driver { return driver{} }

// Name returns what the driver is called.
func (driver) Name() string { return driverName }

// Takes takes everything but data.
func (driver) Takes(p string) bool { return !sides.DataPaths.Has(p) }

// Explains reports whether a path is a text now.
func (driver) Explains(t sides.Three) (bool, error) {
	binary, err := sides.IsBinary(t.U)
	return !binary && t.U.Is(tree.Regular), err
}

// Resolve merges texts by lines.
func (driver) Resolve(t sides.Three) (plan.Decision, bool, error) {
	if !t.O.Is(tree.Regular) {
		return plan.Decision{}, false, nil
	}
	contents, err := sides.ReadThree(t, diff3.MaxSize)
	if err != nil || contents == nil {
		return plan.Decision{}, false, err
	}
	content, err := diff3.Merge(contents[0], contents[1], contents[2])
	if err != nil {
		return plan.Decision{}, false, nil //nolint:nilerr // why it cannot is all the same: the user's stays
	}
	return plan.Decision{
		Verdict: report.Merge, Rule: "A4", Reason: "the changes of both sides are apart",
		Result: sides.Makes(t, content),
	}, true, nil
}
