// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
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
		n, err := peak()
		check(t, err)
		t.Logf("%s: peak of the memory %d MiB", t.Name(), n>>20)
		if n > mostMemory {
			t.Errorf("that is more than %d MiB", mostMemory>>20)
		}
	})
}

// peak returns the most memory that this process had since it was last told to forget that, in bytes.
func peak() (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("no VmHWM in %q", status)
}
