// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/snapshottertest"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// TestMountable: what a mount takes is bounded by the number of lower directories and by the length of their names.
func TestMountable(t *testing.T) {
	i := snapshottertest.New(t)
	for _, c := range []struct {
		lower int
		id    dag.NodeID
		want  bool
	}{
		{0, 1, true}, {140, 123456, true}, {300, 99999, true}, {500, 999, true},
		{501, 1, false}, {400, 12345678, false},
	} {
		err := i.Overlay().Fits(slices.Repeat([]dag.NodeID{c.id}, c.lower+1))
		if (err == nil) != c.want || err != nil && !errdefs.IsFailedPrecondition(err) {
			t.Errorf("%d nodes like %v: %v", c.lower, c.id, err)
		}
	}
}

// TestTooDeep: a storage is not moved to where it could not be mounted, a dry run says so, and a key is refused with
// the reason.
func TestTooDeep(t *testing.T) {
	i := snapshottertest.New(t, snapshotter.WithLower(3))
	one := i.Layer("one", "")
	deep := i.Layer("three", i.Layer("two", i.Layer("low", ""), "b"), "c")
	i.Bound("test/1/web", one, "web")
	i.Write("test/web", "own")
	var r updates.Request
	i.State().Graph(func(g *dag.Graph) {
		a, _ := g.Name(one)
		b, _ := g.Name(deep)
		r = updates.Request{From: a.Node, To: b.Node}
	})
	const why = "more than one mount takes"
	i.Must(i.Previews().Update(t.Context(), r, func(p updates.Preview) error {
		if len(p.Holds) != 1 || !strings.Contains(p.Holds[0], why) || p.Err != nil {
			t.Errorf("the dry run says %v, %v", p.Holds, p.Err)
		}
		return nil
	}))
	id := i.State().NewUpdate()
	i.Must(i.State().Do(dag.BeginUpdate{
		ID: id, From: r.From, To: r.To, Cause: dag.ByCommand, Storages: []string{"test/web"}, Now: clock.Now(),
	}))
	i.Updates().Run(t.Context(), id)
	var o dag.Outcome
	i.State().Graph(func(g *dag.Graph) {
		u, _ := g.Update(id)
		o = u.Outcomes["test/web"]
	})
	if o.State != dag.Held || len(o.Reasons) != 1 || !strings.Contains(o.Reasons[0], why) {
		t.Errorf("the storage is %s: %v", o.State, o.Reasons)
	}
	if _, err := i.Mounts(t.Context(), "test/1/web"); err != nil {
		t.Errorf("the storage cannot be mounted where it stands: %v", err)
	}

	deepest := i.Layer("four", deep)
	_, ofKey := i.Prepare(t.Context(), "test/2/c", deepest)
	_, ofView := i.View(t.Context(), "test/3/v", deepest)
	for _, err := range []error{ofKey, ofView} {
		if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), why) {
			t.Errorf("a key on 4 layers: %v", err)
		}
	}
	for _, key := range []string{"test/2/c", "test/3/v"} {
		if _, err := i.Stat(t.Context(), key); !errdefs.IsNotFound(err) {
			t.Errorf("key %s is there: %v", key, err)
		}
	}
}
