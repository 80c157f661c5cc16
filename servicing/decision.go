// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// decision is a verdict with its grounds and its result.
type decision struct {
	verdict report.Verdict
	rule    string // the case or rule it follows from, as in the list of cases
	driver  string
	reason  string
	result  sides.Outcome
	beside  bool // put the new base's version beside
	aside   bool // put the user's version beside
	quiet   bool // nothing worth reporting unless there is a side effect
}
