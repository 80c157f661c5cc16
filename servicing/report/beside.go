// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package report

// BesideKind is what a version of a path is that is not in force.
type BesideKind string

// The kinds.
const (
	BesideNew BesideKind = "new" // the new base's, where the user's stays
	BesideOld BesideKind = "old" // the user's, where the new base's stands
)

// BesideVersion is a version of a path that an update put beside.
type BesideVersion struct {
	Path      string     `json:"path"` // the path that it is a version of; "" where its name does not say that
	PathBytes []byte     `json:"path_bytes,omitempty"`
	Kind      BesideKind `json:"version"`
	At        string     `json:"at"` // where it is in the container
	AtBytes   []byte     `json:"at_bytes,omitempty"`
	What      string     `json:"what"` // the kind of the file
	Link      string     `json:"link,omitempty"`
	Size      int64      `json:"size"`
}
