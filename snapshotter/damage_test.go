// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/dag/store"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// lose restarts the daemon without the directory of a node.
func (f *fixture) lose(id dag.NodeID) {
	f.t.Helper()
	f.close()
	f.must(os.RemoveAll(f.dir(id)))
	f.open()
}

// halfMade commits a layer as if the machine had lost power before it was on disk.
func (f *fixture) halfMade(name, parent string) string {
	f.t.Helper()
	extract, key := f.unpacking(name)
	_, err := f.Prepare(f.t.Context(), extract, parent)
	f.must(err)
	f.close()
	db, err := store.Open(filepath.Join(f.root, "graph.db"), 0)
	f.must(err)
	_, err = db.Do(dag.Commit{Key: extract, Name: key, Unsynced: "an earlier boot", Now: time.Now()})
	f.must(err)
	f.must(db.Close())
	f.open()
	return key
}

// TestPowerCut: a layer that was not on disk when the power went is not trusted, however often what is written since is put
// on disk, and the daemon is started.
func TestPowerCut(t *testing.T) {
	f := newFixture(t)
	one, _ := f.bases()
	half := f.halfMade("half", one)
	for n := range 3 {
		_, err := f.Prepare(t.Context(), f.key("new"), half)
		refused(t, err, errdefs.ErrFailedPrecondition, "before the layer was on disk")
		synced := f.node(f.layer(""+strconv.Itoa(n), one, map[string]string{"file": "x"}))
		f.eventually(func() (done bool) {
			f.State().Graph(func(g *dag.Graph) { n, _ := g.Node(synced); done = n.Unsynced == "" })
			return done
		}, "a later layer is put on disk")
		f.reopen()
	}
}

// TestUpdateToHalfMade: no storage is moved to a base that is known to be damaged, also when it waited for that base before.
func TestUpdateToHalfMade(t *testing.T) {
	f := newFixture(t)
	one, _ := f.bases()
	half := f.halfMade("half", one)
	key := f.container("web", one, "web")
	f.write(key, "own", "mine")
	_, err := f.Updates().Begin(t.Context(), updates.Request{From: f.node(one), To: f.node(half)})
	refused(t, err, errdefs.ErrFailedPrecondition, "pull it again")

	from, to := f.node(one), f.node(half)
	f.close()
	db, err := store.Open(filepath.Join(f.root, "graph.db"), 0)
	f.must(err)
	_, err = db.Do(
		dag.BeginUpdate{ID: 7, From: from, To: to, Cause: "test", Storages: []string{"test/web"}, Now: time.Now()},
		dag.Record{Update: 7, Storage: "test/web", State: dag.Planned, Now: time.Now()},
	)
	f.must(err)
	f.must(db.Close())
	f.open()
	f.expect(key, "version", "1")
	f.expect(key, "own", "mine")
	f.expectState(f.settled(7), "web", dag.Aborted)
}

// TestNoMountsOfDamaged: what needs a damaged node, be it a layer that is looked at or a node of the storage itself, gets an
// error that says so.
func TestNoMountsOfDamaged(t *testing.T) {
	t.Run("layer", func(t *testing.T) {
		f := newFixture(t)
		one, _ := f.bases()
		view := f.key("view")
		_, err := f.View(t.Context(), view, one)
		f.must(err)
		f.lose(f.node(one))
		_, err = f.Mounts(t.Context(), view)
		refused(t, err, errdefs.ErrFailedPrecondition, "missing", "pull it again")
	})
	t.Run("storage", func(t *testing.T) {
		f := newFixture(t)
		one, two := f.bases()
		key := f.container("web", one, "web")
		f.write(key, "own", "mine")
		f.update(one, two)
		f.lose(f.storage("web").Points[0].Head)
		_, err := f.Mounts(t.Context(), key)
		refused(t, err, errdefs.ErrFailedPrecondition, "missing", "storage")
		refused(t, f.Storages().Fork(t.Context(), "test/web", "test/copy"), errdefs.ErrFailedPrecondition, "missing")
	})
}

// TestCleanupGoesOn: a directory that cannot be deleted does not keep the others.
func TestCleanupGoesOn(t *testing.T) {
	f := newFixture(t)
	one, _ := f.bases()
	var keys []string
	var dirs []string
	for _, own := range []string{"a", "b", "c"} {
		key := f.container(own, one, "")
		keys = append(keys, key)
		f.State().Graph(func(g *dag.Graph) {
			st, _ := g.Storage(dag.AnonymousName(key))
			dirs = append(dirs, f.dir(st.Head))
		})
	}
	stuck := dirs[1]
	f.must(unix.Mount("tmpfs", stuck, "tmpfs", 0, ""))
	t.Cleanup(func() { f.must(unix.Unmount(stuck, unix.MNT_DETACH)) })
	for _, key := range keys {
		f.must(f.Remove(t.Context(), key))
	}
	f.eventually(func() bool {
		if err := f.Cleanup(t.Context()); err == nil {
			t.Error("it is not told that a directory could not be deleted")
		}
		_, first := os.Stat(dirs[0])
		_, last := os.Stat(dirs[2])
		return os.IsNotExist(first) && os.IsNotExist(last)
	}, "the other directories are deleted")
}
