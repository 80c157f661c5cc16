// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package runtime leaves alone what is mounted over in a running container.
package runtime

import (
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// runtimePaths are mounted over by whoever runs the container; what is below is an empty stub.
var runtimePaths = sides.PathTable{
	"etc/hosts", "etc/hostname", "etc/resolv.conf", "dev/", "proc/", "sys/", ".dockerenv",
}

// driverName is what the driver is called in reports.
const driverName = "runtime"

// What the driver does besides having a name.
var _ plan.Decider = driver{}

// driver leaves alone what is mounted over in a running container.
type driver struct{}

// New makes the driver of a plan.
func New(plan.Plan) plan.Driver { return driver{} }

// Name returns what the driver is called.
func (driver) Name() string { return driverName }

// Takes takes what is mounted over.
func (driver) Takes(path string) bool { return runtimePaths.Has(path) }

// First keeps what is mounted over in a running container. An empty stub that the runtime left is nobody's change.
func (driver) First(t sides.Three) (plan.Decision, bool, error) {
	if t.U.Dir() || t.U.Absent() {
		return plan.Decision{}, false, nil
	}
	d := plan.Decision{
		Verdict: report.Keep, Rule: "F9", Reason: "mounted by the runtime", Result: sides.Shows(t.U), Quiet: true,
	}
	stub := t.U.Is(tree.Regular) && t.U.Size == 0 && (t.O.Absent() || t.O.Is(tree.Regular) && t.O.Size == 0)
	if stub && t.N.File() {
		d = plan.Decision{Verdict: report.Take, Rule: "F9", Reason: "an empty stub of the runtime",
			Result: sides.Shows(t.N)}
	}
	return d, true, nil
}
