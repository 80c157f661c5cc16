// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package inprocess has what tests share that drive a snapshotter in their own process, with real mounts and no
// containerd.
package inprocess

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
)

// NeedRoot skips a test that needs root where there is none. When MOLT_TEST_STRICT is set it fails instead.
func NeedRoot(t testing.TB, what string) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("MOLT_TEST_STRICT") != "" {
		t.Fatalf("%s need root", what)
	}
	t.Skipf("%s need root", what)
}

// Upper returns where what is written through mounts goes.
func Upper(mounts []mount.Mount) string {
	for _, option := range mounts[0].Options {
		if dir, ok := strings.CutPrefix(option, "upperdir="); ok {
			return dir
		}
	}
	return mounts[0].Source
}

// Peak returns the most memory that this process had, in bytes, since it was last told to forget that.
func Peak() (int64, error) {
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
