// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
)

// PinReport is what became of a pin.
type PinReport struct {
	policy.Pin
	Expired bool `json:"expired,omitempty"` // it was ignored
	// Doubted pins are over by the clock of the machine, which is not believed yet: they were kept.
	Doubted bool `json:"doubted,omitempty"`
	// Kept counts the paths at which the new base shows something else.
	Kept int `json:"kept"`
}

// CheckFinding is something that worked before the update and would not work after it.
type CheckFinding struct {
	Check     policy.Concern `json:"check"`
	Path      string         `json:"path"`
	PathBytes []byte         `json:"path_bytes,omitempty"`
	Package   string         `json:"package,omitempty"` // whose the path is
	Message   string         `json:"message"`
	Severity  policy.Action  `json:"severity"` // "hold" or "warn"
}
