// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// TestSyncFails: the kernel tells of a failure once; everything that was being written then counts as lost, whoever was told.
func TestSyncFails(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	d, err := Open(filepath.Join(t.TempDir(), "root"))
	must(err)
	defer func() { must(d.Close()) }()
	stage := func(ids ...dag.NodeID) {
		t.Helper()
		for _, id := range ids {
			_, err := d.Stage(id)
			must(err)
		}
	}
	stage(1, 2, 3)
	must(d.Sync(3))
	d.disk.syncfs = func(int) error { d.disk.syncfs = unix.Syncfs; return unix.EIO }
	if err := d.Sync(1); !errors.Is(err, unix.EIO) {
		t.Errorf("the failure is told as %v", err)
	}
	stage(4)
	for id, lost := range map[dag.NodeID]bool{1: true, 2: true, 4: false, 5: false} {
		if d.Incomplete(id) != lost {
			t.Errorf("%v is lost: %v", id, !lost)
		}
		if err := d.Sync(4, id); (err != nil) != lost {
			t.Errorf("%v is on disk: %v", id, err)
		}
	}
	must(d.Sync())
	must(d.Discard(2))
	if d.Incomplete(2) {
		t.Error("a node that is gone counts as lost")
	}
}

// TestStageWhileSyncing: nobody but who syncs waits for the disk, and what is begun in the meantime shares the failure.
func TestStageWhileSyncing(t *testing.T) {
	d, err := Open(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	d.disk.syncfs = func(int) error {
		_, err := d.Stage(1)
		return errors.Join(err, unix.EIO)
	}
	if err := d.Sync(); !errors.Is(err, unix.EIO) {
		t.Errorf("the failure is told as %v", err)
	}
	if !d.Incomplete(1) {
		t.Error("what was begun while the disk failed counts as written")
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
