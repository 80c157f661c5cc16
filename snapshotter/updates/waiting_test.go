// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates_test

import (
	"testing"
	"time"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/snapshottertest"
)

// TestDue: a storage whose mounts were handed out a moment ago is not looked at, and is looked at again soon: nobody
// announces that the mount does not come. After a start of the daemon that is so for every key.
func TestDue(t *testing.T) {
	i := snapshottertest.New(t, snapshotter.WithGrace(time.Hour))
	old, next := i.Layer("default/1/old", "", "file"), i.Layer("default/2/next", "", "file")
	i.Bound("default/3/c", old, "s")
	var from, to dag.NodeID
	i.State().Graph(func(g *dag.Graph) {
		a, _ := g.Name(old)
		b, _ := g.Name(next)
		from, to = a.Node, b.Node
	})
	unlock, err := i.State().LockStorages(t.Context(), []string{"default/s"}) // so that nobody else carries it out
	i.Must(err)
	defer unlock()
	id := i.State().NewUpdate()
	i.Must(i.State().Do(
		dag.BeginUpdate{ID: id, From: from, To: to, Cause: dag.ByCommand, Storages: []string{"default/s"}, Now: clock.Now()},
		dag.Record{Update: id, Storage: "default/s", State: dag.Planned, Now: clock.Now()},
	))
	check := func(when string, wantDue int, wantSoon bool) {
		t.Helper()
		if due, soon := i.Updates().Due(); len(due) != wantDue || soon != wantSoon {
			t.Errorf("%s: %d storages are due, want %d; others are soon: %t, want %t", when, len(due), wantDue, soon, wantSoon)
		}
	}
	check("the mounts were handed out", 0, true)
	i.Uses().Ended("default/3/c")
	check("there is no doubt", 1, false)
	i.Must(i.Uses().Recover())
	check("the daemon has just started", 0, true)
	i.Uses().Ended("default/3/c")
	var st dag.Storage
	i.State().Graph(func(g *dag.Graph) { st, _ = g.Storage("default/s") })
	i.Updates().Fail(st.Name, *st.Pending)
	check("it failed", 0, false)
}
