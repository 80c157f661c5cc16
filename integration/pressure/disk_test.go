// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/integration/inprocess"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

const noSpace = "no space left on device"

// fillBlocks leaves about free bytes on the disk, and returns what gives them back.
func (w *world) fillBlocks(free int64) func() {
	w.t.Helper()
	ballast, small := filepath.Join(w.disk, "ballast"), filepath.Join(w.disk, "small")
	check(w.t, os.Mkdir(small, 0o700))
	f, err := os.Create(ballast)
	check(w.t, err)
	chunk := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(chunk)
	}
	if !errors.Is(err, unix.ENOSPC) {
		w.t.Fatal(err)
	}
	info, err := f.Stat()
	check(w.t, err)
	check(w.t, errors.Join(f.Truncate(info.Size()-free), f.Sync(), f.Close()))
	// A write may fail with some blocks left, fewer than it might need to note where its own is: directories take them.
	for n := 0; err == nil && free == 0; n++ {
		err = os.Mkdir(fmt.Sprint(small, "/", n), 0o700)
	}
	if err != nil && !errors.Is(err, unix.ENOSPC) {
		w.t.Fatal(err)
	}
	return func() { check(w.t, errors.Join(os.Remove(ballast), os.RemoveAll(small))) }
}

// fillInodes takes all inodes but some, and returns what gives them back.
func (w *world) fillInodes(free int64) func() {
	w.t.Helper()
	dir := filepath.Join(w.disk, "ballast")
	check(w.t, os.Mkdir(dir, 0o700))
	var err error
	n := int64(0)
	for ; err == nil; n++ {
		err = os.WriteFile(fmt.Sprint(dir, "/", n), nil, 0o600)
	}
	if !errors.Is(err, unix.ENOSPC) {
		w.t.Fatal(err)
	}
	for i := range free {
		check(w.t, os.Remove(fmt.Sprint(dir, "/", i)))
	}
	return func() { check(w.t, os.RemoveAll(dir)) }
}

// fills are the ways in which the disk is full.
var fills = []struct {
	name string
	mkfs []string
	fill func(*world, int64) func()
	free int64
}{
	{"no blocks", nil, (*world).fillBlocks, 0},
	{"16 KiB", nil, (*world).fillBlocks, 16 << 10},
	{"128 KiB", nil, (*world).fillBlocks, 128 << 10},
	{"no inodes", []string{"-N", "256"}, (*world).fillInodes, 0},
	{"5 inodes", []string{"-N", "256"}, (*world).fillInodes, 5},
}

// eachFill runs fn with a world for each way in which the disk is full.
func eachFill(t *testing.T, fn func(t *testing.T, w *world, fill func() func(), none bool)) {
	for _, c := range fills {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.mkfs...)
			fn(t, w, func() func() { return c.fill(w, c.free) }, c.free == 0)
		})
	}
}

// expectFull checks the error of an operation on a full disk: with nothing left it must fail, with little it may.
func expectFull(t *testing.T, what string, err error, none bool) {
	t.Helper()
	if none || err != nil {
		says(t, what, err, noSpace)
	}
}

// TestFullCreate makes, forks and removes on a full disk.
func TestFullCreate(t *testing.T) {
	eachFill(t, func(t *testing.T, w *world, fill func() func(), none bool) {
		release := fill()
		created := w.prepare("test/90/new", "new")
		expectFull(t, "create", created, none)
		forked := w.Storages().Fork(t.Context(), "test/s0", "test/forked")
		expectFull(t, "fork", forked, none)
		release()
		w.intact("v1")
		if created != nil {
			check(t, w.prepare("test/90/new", "new"))
		}
		if forked != nil {
			check(t, w.Storages().Fork(t.Context(), "test/s0", "test/forked"))
		}
		w.sound()
	})
}

// TestFullUpdate updates on a full disk, and again when there is room.
func TestFullUpdate(t *testing.T) {
	eachFill(t, func(t *testing.T, w *world, fill func() func(), _ bool) {
		release := fill()
		u, err := w.update()
		t.Logf("full: %v %v, %v", u.State, u.Outcomes, err)
		if err != nil {
			says(t, "update", err, noSpace)
		}
		for name, o := range u.Outcomes {
			if o.State != "applied" {
				says(t, name, errors.New(fmt.Sprint(o)), noSpace)
			}
		}
		release()
		w.intact("")
		if _, err := w.update(); err != nil {
			t.Logf("again: %v", err)
		}
		w.intact("v2")
		w.sound()
	})
}

// TestFullWaiting starts a container on a full disk whose storage waits for an update: it goes on waiting for that, or has it.
func TestFullWaiting(t *testing.T) {
	eachFill(t, func(t *testing.T, w *world, fill func() func(), _ bool) {
		key := w.keys[0]
		check(t, w.in(key, func(string) error { _, err := w.update(); return err }))
		release := fill()
		_, err := w.Mounts(t.Context(), key)
		check(t, err)
		w.State().Graph(func(g *dag.Graph) {
			// The end of a use frees some blocks, and the background may have been faster than what filled the disk.
			for _, u := range g.Updates() {
				if state := u.Outcomes["test/s0"].State; state != dag.Planned && state != dag.Applied {
					t.Errorf("it is given up: %v", u.Outcomes)
				}
			}
		})
		release()
		w.intact("v2")
		w.sound()
	})
}

// TestFullRollback rolls back on a full disk, and again when there is room.
func TestFullRollback(t *testing.T) {
	for _, carry := range []bool{false, true} {
		t.Run(fmt.Sprintf("carry=%v", carry), func(t *testing.T) {
			eachFill(t, func(t *testing.T, w *world, fill func() func(), none bool) {
				u, err := w.update()
				check(t, err)
				w.intact("v2")
				release := fill()
				r := updates.RollbackRequest{Update: u.ID, Carry: carry}
				err = w.Rollbacks().Rollback(t.Context(), r)
				expectFull(t, "rollback", err, none)
				release()
				w.intact("")
				if err != nil {
					// Storages that were rolled back the first time are not asked for again.
					check(t, w.Rollbacks().Rollback(t.Context(), r))
				}
				w.intact("v1")
				w.sound()
			})
		})
	}
}

// TestFullMerge merges storage nodes on a full disk, once no rollback point keeps them apart, and again when there is room.
func TestFullMerge(t *testing.T) {
	eachFill(t, func(t *testing.T, w *world, fill func() func(), none bool) {
		_, err := w.update()
		check(t, err)
		check(t, w.in(w.keys[0], func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "more"), written(9), 0o600)
		}))
		_, err = w.move(w.to, w.layer("v3"))
		check(t, err)
		delete(w.trees, w.keys[0]+" on v3")
		w.intact("v3")
		apart := w.frozen()
		check(t, w.Close())
		w.options = append(w.options, snapshotter.WithRetention(state.Retention{}))
		release, log := fill(), inprocess.GatherLog(t)
		w.open() // which sets the work in the background going
		until(t, "an attempt to merge", func() bool {
			return w.frozen() < apart || strings.Contains(log.String(), noSpace)
		})
		if none && !strings.Contains(log.String(), noSpace) {
			t.Error("merging needed no place")
		}
		w.sound()
		release()
		w.intact("v3")
		until(t, "the merge of what was kept apart", func() bool { return w.frozen() == storages })
		w.intact("v3")
		w.sound()
	})
}

// frozen counts the storage nodes that nothing is written to any longer.
func (w *world) frozen() (n int) {
	w.State().Graph(func(g *dag.Graph) {
		for _, node := range g.Nodes() {
			if node.Frozen && node.Kind != dag.Layer {
				n++
			}
		}
	})
	return n
}

// TestFullRemove removes a key and cleans up on a full disk: what frees space must not need any.
func TestFullRemove(t *testing.T) {
	eachFill(t, func(t *testing.T, w *world, fill func() func(), _ bool) {
		release := fill()
		if err := w.Remove(t.Context(), w.keys[0]); err != nil {
			t.Errorf("remove: %v", err)
		}
		if err := w.Cleanup(t.Context()); err != nil {
			t.Errorf("cleanup: %v", err)
		}
		release()
		w.keys = w.keys[1:]
		w.sound()
	})
}

// TestFullRestart starts the snapshotter on a full disk.
func TestFullRestart(t *testing.T) {
	eachFill(t, func(t *testing.T, w *world, fill func() func(), _ bool) {
		release := fill()
		check(t, w.Close())
		s, err := snapshotter.New(w.root(), snapshotter.WithGrace(0))
		if err == nil {
			w.Snapshotter = s
		} else {
			t.Errorf("start: %v", err)
			says(t, "start", err, noSpace)
		}
		release()
		if err != nil {
			w.open()
		}
		w.intact("v1")
		w.sound()
	})
}
