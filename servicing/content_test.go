// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing_test

import (
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
)

// TestContentDigest: only what a regular file holds has a digest.
func TestContentDigest(t *testing.T) {
	whole := "sha256:" + strings.Repeat("ab", 32)
	for content, want := range map[string]string{
		whole: whole, "": "", "size:5000000000": "", "symlink:" + whole: "", "unread": "", "directory": "", whole[:20]: "",
	} {
		d, ok := servicing.Content(content).Digest()
		if ok != (want != "") || ok && d.String() != want {
			t.Errorf("%q has digest %q, %v", content, d, ok)
		}
	}
}
