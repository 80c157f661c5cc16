// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// runtimePaths are mounted over by whoever runs the container; what is below is an empty stub.
var runtimePaths = sides.PathTable{"etc/hosts", "etc/hostname", "etc/resolv.conf", "dev/", "proc/", "sys/", ".dockerenv"}

// runtimeDriver leaves alone what is mounted over in a running container.
type runtimeDriver struct{}

func newRuntime(plan) driver { return runtimeDriver{} }

// Name implements the driver.
func (runtimeDriver) Name() string { return "runtime" }

// Takes takes what is mounted over.
func (runtimeDriver) Takes(path string) bool { return runtimePaths.Has(path) }

// First keeps what is mounted over in a running container. An empty stub that the runtime left is nobody's change.
func (runtimeDriver) First(t sides.Three) (decision, bool, error) {
	if t.U.Dir() || t.U.Absent() {
		return decision{}, false, nil
	}
	d := decision{verdict: report.Keep, rule: "F9", reason: "mounted by the runtime", result: sides.Shows(t.U), quiet: true}
	stub := t.U.Is(tree.Regular) && t.U.Size == 0 && (t.O.Absent() || t.O.Is(tree.Regular) && t.O.Size == 0)
	if stub && t.N.File() {
		d = decision{verdict: report.Take, rule: "F9", reason: "an empty stub of the runtime", result: sides.Shows(t.N)}
	}
	return d, true, nil
}
