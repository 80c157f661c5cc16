// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/dag/store"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

func TestUpdateAndRollback(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	key := f.container("web", one, "web")
	f.write(key, "etc/conf", "a = 9\n\nb = 1\n\nc = 1\n")
	u := f.update(one, two)
	f.expectState(u, "web", dag.Applied)
	f.expect(key, "version", "2")
	f.expect(key, "etc/conf", "a = 9\n\nb = 1\n\nc = 2\n")
	f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: u.ID}))
	f.expect(key, "version", "1")
	f.expect(key, "etc/conf", "a = 9\n\nb = 1\n\nc = 1\n")
	err := f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: u.ID})
	refused(t, err, errdefs.ErrFailedPrecondition, "applied to no storage")
}

// TestUpdateInUse: a storage in use keeps its mounts and is updated, or rolled back, at its next start.
func TestUpdateInUse(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	key := f.container("web", one, "web")
	var u dag.Update
	f.in(key, func(dir string) {
		f.must(os.WriteFile(filepath.Join(dir, "own"), []byte("mine"), 0o600))
		u = f.update(one, two)
		f.expectState(u, "web", dag.Planned)
		data, err := os.ReadFile(filepath.Join(dir, "version"))
		f.must(err)
		if string(data) != "1" {
			t.Errorf("the mounted storage changed to version %q", data)
		}
	})
	f.expect(key, "version", "2")
	f.expect(key, "own", "mine")
	f.in(key, func(string) { f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: u.ID})) })
	f.expect(key, "version", "1")
}

// TestSkippedUpdate: a storage that waits when the next update comes is reconciled once, from where it stands.
func TestSkippedUpdate(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	three := f.layer("three", two, map[string]string{"version": "3"})
	key := f.container("web", one, "web")
	var first, second dag.Update
	f.in(key, func(dir string) {
		f.must(os.WriteFile(filepath.Join(dir, "own"), []byte("mine"), 0o600))
		first = f.update(one, two)
		second = f.update(two, three)
	})
	f.expect(key, "version", "3")
	f.expectState(f.settled(first.ID), "web", dag.Aborted)
	f.expectState(f.settled(second.ID), "web", dag.Applied)
	f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: second.ID}))
	f.expect(key, "version", "1")
	f.expect(key, "own", "mine")
}

// TestHandedOut: mounts that were just handed out may be mounted any moment, so the storage waits.
func TestHandedOut(t *testing.T) {
	f := newFixture(t, snapshotter.WithGrace(time.Hour))
	one, two := f.bases()
	key := f.container("web", one, "web")
	_, err := f.Mounts(t.Context(), key)
	f.must(err)
	id, err := f.Updates().Begin(t.Context(), updates.Request{From: f.node(one), To: f.node(two)})
	f.must(err)
	f.Uses().TaskSeen("test", "web", time.Now().Add(-time.Minute)) // of an earlier task
	f.State().Graph(func(g *dag.Graph) {
		if u, _ := g.Update(id); u.State != dag.Staging {
			t.Errorf("the update did not wait: %s", u.State)
		}
	})
	f.Uses().TaskSeen("test", "web", time.Now())
	f.expectState(f.settled(id), "web", dag.Applied)
}

// TestRetention: the stack of a storage that is updated again and again does not grow, and what it shows stays.
func TestRetention(t *testing.T) {
	f := newFixture(t, snapshotter.WithRetention(state.Retention{Points: 1}))
	base := f.layer("0", "", map[string]string{"version": "0", "d/keep": "k"})
	key := f.container("web", base, "web")
	f.write(key, "own", "mine")
	for n := 1; n <= 6; n++ {
		next := f.layer(""+strconv.Itoa(n), "", map[string]string{"version": strconv.Itoa(n), fmt.Sprintf("d/f%d", n): "x"})
		f.write(key, "written"+strconv.Itoa(n), "w")
		if n == 3 {
			f.in(key, func(dir string) { f.must(os.Remove(filepath.Join(dir, "d", "f2"))) })
		}
		f.update(base, next)
		base = next
	}
	depth := func() (n int) {
		f.State().Graph(func(g *dag.Graph) {
			st, _ := g.Storage("test/web")
			n = len(g.Stack(st.Head))
		})
		return n
	}
	f.eventually(func() bool { return depth() <= 4 }, "the stack is merged")
	f.expect(key, "version", "6")
	f.expect(key, "own", "mine")
	for n := 1; n <= 6; n++ {
		f.expect(key, "written"+strconv.Itoa(n), "w")
	}
	f.expect(key, "d/f6", "x")
	f.expect(key, "d/f2", "")
}

func TestFork(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	key := f.container("web", one, "web")
	f.write(key, "own", "mine")
	f.must(f.Storages().Fork(t.Context(), "test/web", "test/copy"))
	other := f.container("copy", one, "copy")
	f.expect(other, "own", "mine")
	f.write(other, "own", "other")
	f.expect(key, "own", "mine")
	f.update(one, two, "test/copy")
	f.expect(other, "version", "2")
	f.expect(key, "version", "1")
	refused(t, f.Storages().Fork(t.Context(), "test/web", "test/copy"), errdefs.ErrAlreadyExists, "copy")
	refused(t, f.Storages().Fork(t.Context(), "test/none", "test/new"), errdefs.ErrNotFound, "none")
	refused(t, f.Storages().Remove(t.Context(), "test/copy"), errdefs.ErrFailedPrecondition, "copy")
}

// TestNodesGo: what nothing needs any longer is deleted, but not while it is mounted.
func TestNodesGo(t *testing.T) {
	f := newFixture(t)
	one, _ := f.bases()
	key := f.container("plain", one, "")
	entries := func() int {
		list, err := os.ReadDir(filepath.Join(f.root, "n"))
		f.must(err)
		return len(list)
	}
	before := entries()
	f.in(key, func(string) {
		f.must(f.Remove(t.Context(), key))
		f.must(f.Cleanup(t.Context()))
		if entries() != before {
			t.Error("a mounted node was deleted")
		}
	})
	f.must(f.Cleanup(t.Context()))
	if got := entries(); got != before-1 {
		t.Errorf("%d nodes are left, not %d", got, before-1)
	}
}

// TestRecovery: what a crash left is tidied up, and work that was under way goes on.
func TestRecovery(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	key := f.container("web", one, "web")
	f.write(key, "own", "mine")
	from, to := f.node(one), f.node(two)
	f.close()

	// A node that was published and not committed, one that was staged, an update that was under way.
	orphan := filepath.Join(f.root, "n", "500")
	f.must(os.MkdirAll(filepath.Join(orphan, "fs"), 0o700))
	f.must(os.MkdirAll(filepath.Join(f.root, "staging", "501", "fs"), 0o700))
	db, err := store.Open(filepath.Join(f.root, "graph.db"), 0)
	f.must(err)
	id := db.NewUpdate()
	_, err = db.Do(dag.BeginUpdate{ID: id, From: from, To: to, Cause: "test", Storages: []string{"test/web"}, Now: time.Now()})
	f.must(err)
	f.must(db.Close())

	f.open()
	f.expectState(f.settled(id), "web", dag.Applied)
	f.expect(key, "version", "2")
	f.expect(key, "own", "mine")
	f.eventually(func() bool {
		_, err := os.Stat(orphan)
		return os.IsNotExist(err)
	}, "the orphan is deleted")
	if n := f.node(f.layer("new", one, nil)); n <= 500 {
		t.Errorf("node id %v was used before", n)
	}
}

// TestDamage: a node that is lost stops neither the daemon nor what does not need it, and comes back when it does.
func TestDamage(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	good, bad := f.container("good", one, "good"), f.container("bad", two, "bad")
	f.write(good, "own", "mine")
	f.write(bad, "own", "mine")
	lost := filepath.Join(f.root, "n", strconv.FormatUint(uint64(f.node(two)), 10))
	f.close()
	f.must(os.Rename(lost, lost+".lost"))
	f.open()
	f.expect(good, "own", "mine")
	_, err := f.Mounts(t.Context(), bad)
	refused(t, err, errdefs.ErrFailedPrecondition, "missing")
	_, err = f.Prepare(t.Context(), f.key("new"), two)
	refused(t, err, errdefs.ErrFailedPrecondition, "pull it again")
	f.close()
	f.must(os.Rename(lost+".lost", lost))
	f.open()
	f.expect(bad, "own", "mine")
}

func TestSecondDaemon(t *testing.T) {
	f := newFixture(t)
	_, err := snapshotter.New(f.root)
	refused(t, err, errdefs.ErrUnavailable, "another process")
}

// TestUsage: what a storage holds for a key counts, whether it was written before an update or after.
func TestUsage(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	key := f.container("web", one, "web")
	big := strings.Repeat("x", 1<<20)
	f.write(key, "before", big)
	f.update(one, two)
	f.write(key, "after", big)
	f.eventually(func() bool {
		measured := false
		f.State().Graph(func(g *dag.Graph) { measured = len(g.Unmeasured()) == 0 })
		return measured
	}, "all frozen nodes are measured")
	u, err := f.Usage(t.Context(), key)
	f.must(err)
	if u.Size < 2<<20 || u.Size > 3<<20 {
		t.Errorf("2 MiB were written, and %d bytes are used", u.Size)
	}
}
