// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

// Verdict tells what becomes of a path.
type Verdict string

// The verdicts.
const (
	Take       Verdict = "take"       // the new base's is shown
	Keep       Verdict = "keep"       // the user's stays
	Merge      Verdict = "merge"      // the changes of both
	Beside     Verdict = "beside"     // the user's stays, the new base's is put beside it as <name>.molt-new
	Regenerate Verdict = "regenerate" // made anew from other files
	Relocate   Verdict = "relocate"   // the user's is at another path now
	Remap      Verdict = "remap"      // the new base's, with the ids of the result
	Drop       Verdict = "drop"       // a leftover without meaning
	Hold       Verdict = "hold"       // the storage cannot be serviced because of this path
)

// decision is a verdict with its grounds and its result.
type decision struct {
	verdict Verdict
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
