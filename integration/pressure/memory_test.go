// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"os"
	"runtime/debug"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/integration/inprocess"
)

// mostMemory is what this process, the snapshotter and the test together, may need for anything here. The race detector
// multiplies it.
const mostMemory = raceFactor * 512 << 20

// bounded states how much memory the rest of a test needs at most, and fails it when that is too much.
func bounded(t *testing.T) {
	t.Helper()
	debug.FreeOSMemory()
	check(t, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o200)) // forget the peak so far
	t.Cleanup(func() {
		n, err := inprocess.Peak()
		check(t, err)
		t.Logf("%s: peak of the memory %d MiB", t.Name(), n>>20)
		if n > mostMemory {
			t.Errorf("that is more than %d MiB", mostMemory>>20)
		}
	})
}
