// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package check

import (
	"slices"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
)

// TestEveryFindingIsFound compares the table of checks with that of concerns.
func TestEveryFindingIsFound(t *testing.T) {
	var found, known []policy.Concern
	for _, c := range checks {
		found = append(found, c.finds...)
		if c.look == nil && c.end == nil || c.look != nil && c.at == 0 {
			t.Errorf("the check for %q is never called", c.finds)
		}
	}
	for _, c := range policy.Concerns() {
		if c.Finding() {
			known = append(known, c.Concern)
		}
	}
	slices.Sort(found)
	slices.Sort(known)
	if !slices.Equal(found, known) {
		t.Errorf("the checks find\n%q, the concerns are\n%q", found, known)
	}
}
