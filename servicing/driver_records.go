// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"github.com/molt-snapshotter/molt-snapshotter/servicing/dpkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// extendedStates is where apt notes which packages were installed as dependencies.
const extendedStates = "var/lib/apt/extended_states"

// recordsDriver merges lists of records of the package managers.
type recordsDriver struct{}

func newRecords(plan) driver { return recordsDriver{} }

// Name implements the driver.
func (recordsDriver) Name() string { return "records" }

// Takes takes the files that are lists of records.
func (recordsDriver) Takes(p string) bool {
	_, ok := dpkg.MergeRecords(p, nil, nil, nil)
	return ok || p == extendedStates
}

// Resolve merges lists of records of the package managers.
func (recordsDriver) Resolve(t sides.Three) (decision, bool, error) {
	contents, err := sides.ReadThree(t, pkg.MaxDatabase)
	if err != nil || contents == nil {
		return decision{}, false, err
	}
	o, n, u := contents[0], contents[1], contents[2]
	var content []byte
	ok := true
	if t.Path == extendedStates {
		content = dpkg.MergeStanzas(o, n, u, "Package", "Architecture")
	} else {
		content, ok = dpkg.MergeRecords(t.Path, o, n, u)
	}
	return decision{verdict: report.Merge, rule: "D8", reason: "merged by record", result: sides.Makes(t, content)}, ok, nil
}
