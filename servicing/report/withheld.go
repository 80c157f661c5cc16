// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package report

// Withheld is a path that only a pin, or a package that waits, keeps as it is: the user had what the old base had, or
// nothing as the old base had. A later servicing that is given it, see [Input], takes the path for unchanged by the
// user, if it still is as described here. So the path follows the base again when the pin is over, or when the
// package no longer waits.
type Withheld struct {
	Path      string  `json:"path"`
	PathBytes []byte  `json:"path_bytes,omitempty"`
	Content   Content `json:"content"`
	// What the base had when it was withheld; without meaning for nothing.
	Mode uint32 `json:"mode,omitempty"`
	UID  uint32 `json:"uid,omitempty"`
	GID  uint32 `json:"gid,omitempty"`
}

// At returns the path, whatever its bytes.
func (w Withheld) At() string {
	if len(w.PathBytes) > 0 {
		return string(w.PathBytes)
	}
	return w.Path
}
