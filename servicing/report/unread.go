// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package report

// Unread is a path of a storage that a look at it passed over. Everything else was looked at.
type Unread struct {
	Path      string `json:"path,omitempty"`
	PathBytes []byte `json:"path_bytes,omitempty"` // the path, where it is not valid UTF-8
	Why       string `json:"why"`                  // in words that follow the path
}
