// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/nodes"
)

func opened(t *testing.T) *nodes.Dir {
	t.Helper()
	return openedAt(t, filepath.Join(t.TempDir(), "root"))
}

func openedAt(t *testing.T, root string) *nodes.Dir {
	t.Helper()
	d, err := nodes.Open(root)
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// publish makes a node with a file.
func publish(t *testing.T, d *nodes.Dir, id dag.NodeID) {
	t.Helper()
	dir, err := d.Stage(id)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "file"), []byte(id.String()), 0o600))
	must(t, d.Publish(id))
}

func expectPublished(t *testing.T, d *nodes.Dir, want ...dag.NodeID) {
	t.Helper()
	got, err := d.List()
	must(t, err)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("published are %v, not %v", got, want)
	}
}

// trashed returns how many entries the trash has.
func trashed(t *testing.T, d *nodes.Dir) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(d.Root(), "trash"))
	must(t, err)
	return len(entries)
}

func TestRoot(t *testing.T) {
	base := t.TempDir()
	odd := filepath.Join(base, "a:b")
	must(t, os.Mkdir(odd, 0o700))
	must(t, os.Symlink(odd, filepath.Join(base, "to-odd")))
	must(t, os.Symlink(filepath.Join(base, "plain"), filepath.Join(base, "to-plain")))
	must(t, os.Mkdir(filepath.Join(base, "plain"), 0o700))
	for _, root := range []string{"", "relative", odd, base + "/a,b", base + "/a b", base + `/a\b`, base + `/a"b`, base + "/a\nb", filepath.Join(base, "to-odd")} {
		if _, err := nodes.Open(root); err == nil || !strings.Contains(err.Error(), "root") {
			t.Errorf("root %q: got %v", root, err)
		}
	}
	d := openedAt(t, filepath.Join(base, "to-plain"))
	if want := filepath.Join(base, "plain"); d.Root() != want {
		t.Errorf("the root is %s, not %s as mount tables show it", d.Root(), want)
	}
}

// TestModes: whatever the umask, only root gets at the nodes, and containers see the usual modes.
func TestModes(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077))
	d := opened(t)
	_, err := d.Stage(1)
	must(t, err)
	must(t, d.Publish(1))
	for path, want := range map[string]os.FileMode{
		d.Root(): 0o700, d.Published(): 0o700, d.Reports(): 0o700, filepath.Dir(d.FS(1)): 0o700, d.FS(1): 0o755,
	} {
		info, err := os.Stat(path)
		must(t, err)
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %v, not %v", path, got, want)
		}
	}
}

func TestStageAndPublish(t *testing.T) {
	d := opened(t)
	dir, err := d.StageOpen(7)
	must(t, err)
	if _, err := d.Stage(7); err == nil {
		t.Error("a node was staged twice")
	}
	must(t, os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o600))
	expectPublished(t, d)
	must(t, d.Publish(7))
	expectPublished(t, d, 7)
	must(t, d.SyncEmpty(7))
	must(t, d.Sync())
	for _, path := range []string{filepath.Join(d.FS(7), "file"), d.Work(7)} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	if got := d.Stack([]dag.NodeID{7, 3}); !slices.Equal(got, []string{d.FS(7), d.FS(3)}) {
		t.Errorf("the stack is %v", got)
	}
}

func TestDiscard(t *testing.T) {
	d := opened(t)
	publish(t, d, 1)
	publish(t, d, 2)
	_, err := d.Stage(3)
	must(t, err)
	for _, id := range []dag.NodeID{1, 3, 3, 99} {
		must(t, d.Discard(id))
	}
	expectPublished(t, d, 2)
	if _, err := os.Stat(d.Staging(3)); !os.IsNotExist(err) {
		t.Errorf("the staged node is still there: %v", err)
	}
}

// TestProbeThatStays: what cannot be removed after the kernel was asked is removed later.
func TestProbeThatStays(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	d := opened(t)
	dir, remove, err := d.StageProbe()
	must(t, err)
	kept := filepath.Join(dir, "kept")
	must(t, os.Mkdir(kept, 0o700))
	must(t, unix.Mount("tmpfs", kept, "tmpfs", 0, ""))
	t.Cleanup(func() { _ = unix.Unmount(kept, unix.MNT_DETACH) }) // where it was not moved, which fails the test
	if err := remove(); err == nil {
		t.Error("a mount point was removed")
	}
	entries, err := os.ReadDir(filepath.Dir(dir))
	must(t, err)
	moved, err := filepath.Glob(filepath.Join(d.Root(), "trash", "*", "kept"))
	must(t, err)
	if len(entries) != 0 || len(moved) != 1 {
		t.Fatalf("%d are left in staging, and the trash has %v", len(entries), moved)
	}
	must(t, unix.Unmount(moved[0], 0))
	must(t, d.Sweep(time.Now().Add(time.Hour)))
	if n := trashed(t, d); n != 0 {
		t.Errorf("%d are left in the trash", n)
	}
}

// TestTrash: what is removed is kept as long as asked for, and two nodes that had the same id do not get in each other's way.
func TestTrash(t *testing.T) {
	d := opened(t)
	for range 2 {
		publish(t, d, 5)
		must(t, d.Trash(5))
		expectPublished(t, d)
	}
	must(t, d.Trash(5))
	must(t, d.Sweep(time.Now().Add(-time.Hour)))
	if n := trashed(t, d); n != 2 {
		t.Errorf("the trash has %d entries, not 2", n)
	}
	must(t, d.Sweep(time.Now().Add(time.Hour)))
	if n := trashed(t, d); n != 0 {
		t.Errorf("%d entries are left in the trash", n)
	}
}

// TestSweepGoesOn: what cannot be deleted does not keep the rest.
func TestSweepGoesOn(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("MOLT_TEST_STRICT") != "" {
			t.Fatal("mounting needs root")
		}
		t.Skip("mounting needs root")
	}
	d := opened(t)
	stuck := filepath.Join(d.Root(), "trash", "0-stuck")
	must(t, os.Mkdir(stuck, 0o700))
	must(t, unix.Mount("tmpfs", stuck, "tmpfs", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(stuck, unix.MNT_DETACH)) })
	publish(t, d, 1)
	must(t, d.Trash(1))
	if err := d.Sweep(time.Now().Add(time.Hour)); err == nil {
		t.Error("what could not be deleted was not told")
	}
	if n := trashed(t, d); n != 1 {
		t.Errorf("the trash has %d entries, not just the one that cannot be deleted", n)
	}
}

func TestDropStaging(t *testing.T) {
	d := opened(t)
	publish(t, d, 1)
	_, err := d.Stage(2)
	must(t, err)
	must(t, d.DropStaging())
	_, err = d.Stage(2)
	must(t, err)
	expectPublished(t, d, 1)
	must(t, d.Sweep(time.Now().Add(time.Hour)))
	if n := trashed(t, d); n != 0 {
		t.Errorf("%d entries are left in the trash", n)
	}
}

// TestDropStagingOnFullDisk drops them where no directory can be made any longer: the room that they take is what is needed.
func TestDropStagingOnFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a file system of its own")
	}
	place := t.TempDir()
	must(t, unix.Mount("tmpfs", place, "tmpfs", 0, "nr_inodes=30"))
	t.Cleanup(func() { must(t, unix.Unmount(place, 0)) })
	d := openedAt(t, filepath.Join(place, "root"))
	publish(t, d, 1)
	var err error
	for id := range dag.NodeID(2) {
		_, err := d.Stage(2 + id)
		must(t, err)
	}
	for i := 0; err == nil; i++ {
		err = os.WriteFile(filepath.Join(place, fmt.Sprint(i)), nil, 0o600)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	must(t, d.DropStaging())
	ids, err := d.Discarded()
	must(t, err)
	if len(ids) != 0 {
		t.Errorf("%v are left", ids)
	}
	expectPublished(t, d, 1)
	_, err = d.Stage(2)
	must(t, err)
}

// TestList: only what can be a node counts as one.
func TestList(t *testing.T) {
	d := opened(t)
	publish(t, d, 12)
	for _, name := range []string{"x", "-1", "12.old", "99999999999999999999999"} {
		must(t, os.Mkdir(filepath.Join(d.Published(), name), 0o700))
	}
	expectPublished(t, d, 12)
}

func TestSetAside(t *testing.T) {
	d := opened(t)
	for _, id := range []dag.NodeID{3, 4} {
		_, err := d.Stage(id)
		must(t, err)
		must(t, d.Publish(id))
	}
	must(t, d.SetAside(3))
	must(t, d.SetAside(5)) // which is not there
	must(t, d.Trash(4))
	expectPublished(t, d)
	_, err := d.Stage(9)
	must(t, err)
	ids, err := d.Discarded()
	must(t, err)
	slices.Sort(ids)
	if !slices.Equal(ids, []dag.NodeID{3, 4, 9}) {
		t.Errorf("discarded are %v", ids)
	}
	must(t, d.Sweep(time.Now().Add(time.Hour)))
	if left, err := filepath.Glob(filepath.Join(d.Lost(), "3-*/fs")); err != nil || len(left) != 1 {
		t.Errorf("set aside are %v, %v", left, err)
	}
}

// TestWork: the work directory of an open node can be taken away and given back, whatever a crash left of that, and a
// frozen node has none.
func TestWork(t *testing.T) {
	d := opened(t)
	_, err := d.StageOpen(7)
	must(t, err)
	must(t, d.Publish(7))
	expect := func(what string, ready, away bool) {
		t.Helper()
		if r, a := d.WorkDirs().Has(7); r != ready || a != away {
			t.Errorf("%s: there is a work directory %t, one withdrawn %t", what, r, a)
		}
	}
	must(t, os.Mkdir(filepath.Join(d.Work(7), "work"), 0))
	for _, renew := range []bool{false, true} {
		must(t, d.WorkDirs().Withdraw(7))
		expect("withdrawn", false, true)
		if renew {
			must(t, d.WorkDirs().Renew(7))
			expect("renewed", false, true)
		}
		must(t, d.WorkDirs().Restore(7))
		must(t, d.WorkDirs().Restore(7))
		expect("restored", true, false)
	}
	if entries, err := os.ReadDir(d.Work(7)); err != nil || len(entries) > 0 {
		t.Errorf("a renewed directory has %v, %v", entries, err)
	}
	must(t, d.WorkDirs().Drop(7))
	expect("dropped", false, false)
	must(t, d.WorkDirs().Withdraw(7))
	must(t, d.WorkDirs().Restore(7))
	expect("restored from nothing", true, false)
	must(t, d.WorkDirs().Restore(8))
	must(t, d.WorkDirs().Drop(8))
}
