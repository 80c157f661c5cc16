// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"os"
	"testing"
)

// requireRoot skips a test that mounts where that is not allowed.
func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("MOLT_TEST_STRICT") != "" {
		t.Fatal("mounting overlays needs root")
	}
	t.Skip("mounting overlays needs root")
}
