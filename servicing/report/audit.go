// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
)

// AuditReport lists what of a base a storage hides. Fields may be added without a new version of reports.
type AuditReport struct {
	Version int `json:"version"` // that of reports
	// Packages lists those of which the container has another version than the base.
	Packages []AuditPackage `json:"packages"`
	// Paths lists, in order, the files of the base's packages that the container does not see as the base has them.
	Paths []AuditPath `json:"paths"`
	// Fixes counts the packages of which it is known that they hide a change, and the paths of other packages that do.
	Fixes int `json:"fixes"`
	// Unread lists what was passed over: the container changed it while it was looked at, or keeps it from being read.
	Unread []Unread `json:"unread,omitempty"`
}

// AuditPackage is a package of the base of which the container has another version, or which it does not have.
type AuditPackage struct {
	Name   string `json:"name"`
	Base   string `json:"base"`   // the base's version
	Seen   string `json:"seen"`   // the container's; "" where it is not installed
	Lower  bool   `json:"lower"`  // the container's is lower: a fix is not effective
	Reason string `json:"reason"` // why, as for reports
	// Waits says for what the base's version waits, where an update has kept the container's.
	Waits *Waiting `json:"waits,omitempty"`
}

// AuditPath is a file of the base that the container does not see.
type AuditPath struct {
	Path      string  `json:"path"`
	PathBytes []byte  `json:"path_bytes,omitempty"`
	Package   string  `json:"package"`
	BaseIs    Content `json:"base"`
	Seen      Content `json:"seen"`
	Was       Content `json:"was"` // in the earlier base, if one was given
	// Fix: the base changed it since the earlier base, or the container has a lower version of the package.
	Fix     bool        `json:"fix"`
	How     string      `json:"how"`           // "deleted", "replaced" or "other version"
	Pin     *policy.Pin `json:"pin,omitempty"` // the one that keeps it
	Version string      `json:"version"`       // of the package in the base
}
