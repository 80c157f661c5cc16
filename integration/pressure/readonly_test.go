// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"context"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
)

const readOnly = "read-only file system"

// TestReadOnlyRunning makes the disk read-only under a snapshotter that runs, as the kernel does after an error of the disk.
func TestReadOnlyRunning(t *testing.T) {
	w := newWorld(t)
	run(t, "mount", "-o", "remount,abort", w.disk)
	says(t, "create", w.prepare("test/90/new", "new"), readOnly)
	says(t, "fork", w.Storages().Fork(t.Context(), "test/s0", "test/forked"), readOnly)
	for _, key := range w.keys {
		if _, err := w.Stat(t.Context(), key); err != nil {
			t.Errorf("stat: %v", err)
		}
		if _, err := w.Mounts(t.Context(), key); err != nil {
			t.Errorf("mounts: %v", err)
		}
	}
	seen := 0
	check(t, w.Walk(t.Context(), func(context.Context, snapshots.Info) error { seen++; return nil }))
	if seen != storages+2 {
		t.Errorf("walk shows %d keys", seen)
	}
	if err := w.Close(); err != nil {
		t.Logf("close: %v", err) // what it could not write any longer is no news
	}
	run(t, "umount", w.disk)
	run(t, "cp", "--sparse=always", w.image, w.image+".again") // as another disk: somebody else may keep the first one mounted
	run(t, "mount", "-o", "loop", w.image+".again", w.disk)
	w.open()
	w.intact("v1")
	w.sound()
}

// TestReadOnlyStart starts on a disk that is read-only, and again when it is not.
func TestReadOnlyStart(t *testing.T) {
	w := newWorld(t)
	check(t, w.Close())
	run(t, "mount", "-o", "remount,ro", w.disk)
	_, err := snapshotter.New(w.root(), snapshotter.WithGrace(0))
	says(t, "start", err, readOnly)
	run(t, "mount", "-o", "remount,rw", w.disk)
	w.open()
	w.intact("v1")
	w.sound()
}
