// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
)

// decision is a verdict with its grounds and its result.
type decision struct {
	verdict report.Verdict
	rule    string // the case or rule it follows from, as in the list of cases
	driver  string
	reason  string
	result  outcome
	beside  bool // put the new base's version beside
	aside   bool // put the user's version beside
	quiet   bool // nothing worth reporting unless there is a side effect
}

// outcome is what shall stand at a path: nothing, or a node, whose metadata may have been changed, perhaps with a content
// of its own or as a hard link to another path.
type outcome struct {
	node
	made    bool // content is the content, not the node's
	content []byte
	linkTo  string
	force   bool // a directory that must be in the delta storage even if it changes nothing
}

// shows makes a node the outcome.
func shows(n node) outcome { return outcome{node: n} }

// nothing is the outcome that there is nothing.
func nothing() outcome { return outcome{} }
