// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// unsynced is two layers of which it is not known that they are on disk, and one of which it is.
func unsynced(w *world) {
	for _, label := range []string{"a", "b"} {
		w.anonymous("k", "", label)
		w.do(dag.Commit{Key: "k", Name: label, Unsynced: "boot", Now: w.now()})
	}
	w.layer("c", "")
}

func TestSettle(t *testing.T) {
	settle := func(labels ...string) func(w *world) dag.Transformation {
		return func(w *world) dag.Transformation {
			var ids []dag.NodeID
			for _, label := range labels {
				ids = append(ids, w.id(label))
			}
			return dag.Settle{Layers: ids}
		}
	}
	run(t, []step{
		{name: "all", given: unsynced, do: settle("a", "b"), want: `
			a
			b
			c
		`},
		{name: "one, and another one again", given: unsynced, do: settle("b", "c"), want: `
			a, unsynced
			b
			c
		`},
		{name: "none", given: unsynced, do: settle(), want: `
			a, unsynced
			b, unsynced
			c
		`},
		{
			name: "one that was removed meanwhile", do: settle("a", "b"),
			given: func(w *world) { unsynced(w); w.remove("a") },
			want: `
				b
				c
			`,
		},
	}, (*world).drawing)
}

func TestUnsynced(t *testing.T) {
	w := newWorld(t)
	unsynced(w)
	if got, want := w.g.Unsynced(), []dag.NodeID{w.id("a"), w.id("b")}; !slices.Equal(got, want) {
		t.Errorf("%v are not known to be on disk, want %v", got, want)
	}
}

func TestQuarantine(t *testing.T) {
	quarantine := func(label, reason string) func(w *world) dag.Transformation {
		return func(w *world) dag.Transformation { return dag.Quarantine{Node: w.id(label), Reason: reason} }
	}
	run(t, []step{
		{name: "layer", given: oneContainer, do: quarantine("base", "lost"), want: `
			base, damaged: lost
			  c of k-c: w*
			  delta
			rebuilt
		`},
		{
			name: "lifted", do: quarantine("base", ""),
			given: func(w *world) { oneContainer(w); w.do(dag.Quarantine{Node: w.id("base"), Reason: "lost"}) },
			want: `
				base
				  c of k-c: w*
				  delta
				rebuilt
			`,
		},
		{name: "unknown", given: oneContainer, do: quarantine("none", "lost"), kind: errdefs.ErrNotFound, says: "node n5"},
	}, (*world).drawing)
}

// A storage node can be damaged, too, the open one included.
func TestQuarantineOfStorageNodes(t *testing.T) {
	w := newWorld(t)
	applied(w)
	for _, label := range []string{"w", "d", "x"} {
		w.do(dag.Quarantine{Node: w.id(label), Reason: label + " is lost"})
		if n, _ := w.g.Node(w.id(label)); n.Damage != label+" is lost" {
			t.Errorf("%s: damage is %q", label, n.Damage)
		}
	}
}

// TestMeasure: only what does not change any longer is measured, once.
func TestMeasure(t *testing.T) {
	w := newWorld(t)
	w.layer("a", "")
	w.anonymous("k", "a", "open")
	layer, open := w.id("a"), w.id("open")
	if ids := w.g.Unmeasured(); !slices.Equal(ids, []dag.NodeID{layer}) {
		t.Errorf("to be measured: %v, not only the layer", ids)
	}
	if _, err := w.g.Plan(dag.Measure{Node: open, Size: 1, Inodes: 1}); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("an open node was measured: %v", err)
	}
	if _, err := w.g.Plan(dag.Measure{Node: 99}); !errdefs.IsNotFound(err) {
		t.Errorf("a node that is not there was measured: %v", err)
	}
	w.do(dag.Measure{Node: layer, Size: 5, Inodes: 2})
	if n, _ := w.g.Node(layer); n.Size != 5 || n.Inodes != 2 || len(w.g.Unmeasured()) != 0 {
		t.Errorf("after measuring: %+v", n)
	}
}

// TestAttest: what was in a node is noted of frozen ones only, in parts.
func TestAttest(t *testing.T) {
	w := newWorld(t)
	applied(w)
	frozen, open := w.id("w"), w.id("x")
	both := []dag.NodeID{frozen, w.id("d")}
	slices.Sort(both)
	if ids := w.g.Unattested(); !slices.Equal(ids, both) {
		t.Errorf("to be summed up: %v", ids)
	}
	for id, kind := range map[dag.NodeID]error{open: errdefs.ErrFailedPrecondition, 99: errdefs.ErrNotFound} {
		if _, err := w.g.Plan(dag.Attest{Node: id, Digest: "a"}); !errors.Is(err, kind) {
			t.Errorf("%v was attested: %v", id, err)
		}
	}
	w.do(dag.Attest{Node: frozen, Digest: "a"})
	w.do(dag.Attest{Node: frozen, Contents: "b"})
	if n, _ := w.g.Node(frozen); n.Digest != "a" || n.Contents != "b" || slices.Contains(w.g.Unattested(), frozen) {
		t.Errorf("after it: %+v", n)
	}
}
