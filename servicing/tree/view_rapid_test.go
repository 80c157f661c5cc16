// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"fmt"
	"os"
	"testing"

	"pgregory.net/rapid"
)

// inTemp gives each run of a property a directory of its own.
func inTemp(t *testing.T, property func(t *rapid.T, dir string)) {
	t.Helper()
	needRoot(t)
	base := t.TempDir()
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		dir := fmt.Sprint(base, "/", runs)
		check(rt, os.Mkdir(dir, 0o755))
		defer func() { check(rt, os.RemoveAll(dir)) }()
		property(rt, dir)
	})
}

// Property: a view shows what an overlay mount of the same stack shows.
func TestViewIsWhatTheKernelShows(t *testing.T) {
	inTemp(t, func(t *rapid.T, dir string) {
		stack := genStack(t, dir, 1, 5)
		empty := dir + "/empty"
		check(t, os.Mkdir(empty, 0o755))
		mount, release := mountOverlay(t, stack, empty)
		defer release()
		want := readTree(t, mount)

		v, err := Open(stack)
		check(t, err)
		defer v.Close()
		sameFacts(t, "looked up", readView(t, v), want)
		sameFacts(t, "walked", readEntries(t, v), want)
	})
}
