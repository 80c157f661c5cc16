// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package report

// Verdict is what becomes of a path.
type Verdict string

// The verdicts.
const (
	Take       Verdict = "take"       // the new base's is shown
	Keep       Verdict = "keep"       // the user's stays
	Merge      Verdict = "merge"      // the changes of both
	Beside     Verdict = "beside"     // the user's stays, the new base's is put beside, see PathReport.Beside
	Regenerate Verdict = "regenerate" // made again from other files
	Relocate   Verdict = "relocate"   // the user's is at another path now
	Remap      Verdict = "remap"      // the new base's, with the ids of the result
	Drop       Verdict = "drop"       // a leftover without meaning
	Hold       Verdict = "hold"       // the storage cannot be serviced because of this path
)
