// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package report

// PathDiff shows how one path changed in an update. Fields may be added without a new version of reports.
type PathDiff struct {
	Version   int    `json:"version"` // that of reports
	Path      string `json:"path"`
	PathBytes []byte `json:"path_bytes,omitempty"`
	// Why says why nothing can be told of the sides, empty if something can.
	Why string `json:"why,omitempty"`
	// Sides lists what is there: "old base", "new base", "storage" and, if the update was applied, "result".
	Sides []PathSide `json:"sides"`
	// Diffs shows what the base changed, what the user changed, and what the result is against what the user had.
	Diffs []TextDiff `json:"diffs"`
}

// PathSide is what one side has at a path.
type PathSide struct {
	Side string `json:"side"`
	At   string `json:"at,omitempty"`   // the path there, where it is another one
	What string `json:"what,omitempty"` // the kind of the file; "" for nothing
	Link string `json:"link,omitempty"` // the target of a symbolic link
	Mode string `json:"mode,omitempty"` // octal
	UID  uint32 `json:"uid"`
	GID  uint32 `json:"gid"`
	Size int64  `json:"size"` // in bytes
}

// TextDiff is how the content changed from one side to another one.
type TextDiff struct {
	From string `json:"from"`
	To   string `json:"to"`
	Text string `json:"text,omitempty"` // a unified diff. It may hold anything that is text, escape sequences included.
	Why  string `json:"why,omitempty"`  // why there is none
}

// NewPathDiff returns what is said of a path when its sides cannot be looked at.
func NewPathDiff(name, why string) *PathDiff {
	return &PathDiff{
		Version: Version, Path: Printable(name), PathBytes: RawBytes(name), Why: why, Sides: []PathSide{},
		Diffs: []TextDiff{},
	}
}
