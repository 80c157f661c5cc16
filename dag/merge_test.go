// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"testing"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// deltas is storage c on base, updated to delta1 and delta2, with no image left but base.
func deltas(w *world) {
	w.layer("base", "")
	w.container("c", "base", "w")
	w.layer("delta1", "base")
	w.layer("delta2", "delta1")
	w.begin(1, "base", "delta1", "c")
	w.apply(1, "c", "d1", "x")
	w.begin(2, "delta1", "delta2", "c")
	w.apply(2, "c", "d2", "y")
	w.remove("delta2", "delta1")
}

// retired is the same with nothing to return to.
func retired(w *world) {
	deltas(w)
	w.retire("c")
}

// keepOne is the same with one state to return to.
func keepOne(w *world) {
	deltas(w)
	w.do(dag.Retire{Storage: "c", Keep: 1})
}

func TestMergeable(t *testing.T) {
	cases := []struct {
		name  string
		given func(w *world)
		want  string
	}{
		{"nothing", func(*world) {}, ""},
		{"a container that was never updated", oneContainer, ""},
		{"rollback points", deltas, ""},
		{"nothing to return to", retired, "w+d1 delta1+delta2 d1+x x+d2"},
		{"one state to return to, on a layer in the middle", keepOne, "w+d1 d1+x"},
		{"side effects of an update that can be rolled back", func(w *world) {
			deltas(w)
			w.do(dag.Fork{Source: "c", Target: "new", Head: w.id("y"), SourceOpen: w.id("y1"), TargetOpen: w.id("y2")})
		}, ""},
		{"an update under way from a layer in the middle", func(w *world) {
			w.layer("base", "")
			w.container("c", "base", "w")
			w.layer("delta1", "base")
			w.layer("delta2", "delta1")
			w.begin(1, "base", "delta2")
			w.begin(2, "delta1", "delta2", "c")
			w.remove("delta2", "delta1")
		}, ""},
		{"a view of a layer in the middle", func(w *world) {
			retired(w)
			w.layer("other", "base")
			w.begin(3, "delta2", "other")
			w.do(dag.Prepare{Key: "v", Kind: dag.View, Parent: "other"})
		}, "w+d1 delta1+delta2 d1+x x+d2"},
		{"two storages on what they share", func(w *world) {
			retired(w)
			w.do(dag.Fork{Source: "c", Target: "new", Head: w.id("y"), SourceOpen: w.id("y1"), TargetOpen: w.id("y2")})
		}, "w+d1 delta1+delta2 d1+x x+d2 d2+y"},
		{"a damaged node", func(w *world) {
			retired(w)
			w.do(dag.Quarantine{Node: w.id("w"), Reason: "lost"})
			w.do(dag.Quarantine{Node: w.id("delta2"), Reason: "lost"})
		}, "d1+x x+d2"},
	}
	for _, c := range cases {
		w := newWorld(t)
		c.given(w)
		if got := w.mergeable(); got != c.want {
			t.Errorf("%s: %q can be merged, want %q", c.name, got, c.want)
		}
	}
}

func TestMerge(t *testing.T) {
	merge := func(lower, upper, into string) func(w *world) dag.Transformation {
		return func(w *world) dag.Transformation { return w.merged(lower, upper, into) }
	}
	run(t, []step{
		{
			name: "delta storage into its parent", given: retired, do: merge("w", "d1", "m"),
			want: `
				base
				  delta1, added
				    delta2, added
				      c of k-c: y* > d2 > x > m
				base: committed on base
				k-c: active on delta2, parent base, storage c, bound
				u1 base -> delta1 applied
				  c applied with (d1), report
				u2 delta1 -> delta2 applied
				  c applied with d2, report
			`,
		}, {
			name: "delta layers", given: retired, do: merge("delta1", "delta2", "m"),
			want: `
				base
				  m, added
				    c of k-c: y* > d2 > x > d1 > w
				base: committed on base
				k-c: active on m, parent base, storage c, bound
				u1 base -> (delta1) applied
				  c applied with d1, report
				u2 (delta1) -> m applied
				  c applied with d2, report
			`,
		}, {
			name: "a rollback point as the upper one", do: merge("w+d1", "x", "m"),
			given: func(w *world) { keepOne(w); w.merge("w", "d1", "w+d1") },
			want: `
				base
				  delta1, added
				    c before u2: m
				    delta2, added
				      c of k-c: y* > d2 > m
				base: committed on base
				k-c: active on delta2, parent base, storage c, bound
				u1 base -> delta1 applied
				  c applied with (d1), report
				u2 delta1 -> delta2 applied
				  c applied with d2, report
			`,
		}, {
			name: "under a state set aside", do: merge("w", "d1", "m"),
			given: func(w *world) { keepOne(w); w.rollback(2, "c", "z") },
			want: `
				base
				  delta1, added
				    c of k-c: z* > x > m
				    delta2
				      c aside of u2: y > d2 > x > m
				base: committed on base
				k-c: active on delta1, parent base, storage c, bound
				u1 base -> delta1 applied
				  c applied with (d1), report
				u2 delta1 -> delta2 rolled-back
				  c rolled-back with d2, report
			`,
		}, {
			name: "a state set aside as the upper one", do: merge("x", "y", "m"),
			given: func(w *world) {
				applied(w)
				w.do(dag.Fork{Source: "c", Target: "f", Head: w.id("x"), SourceOpen: w.id("y"), TargetOpen: w.id("z")})
				w.do(dag.RemoveStorage{Name: "f"})
				w.rollback(1, "c", "r")
			},
			want: `
				base
				  c of k-c: r* > w
				  delta
				    c aside of u1: m > d > w
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on base, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta rolled-back
				  c rolled-back with d, report
			`,
		}, {
			name: "layers of an update under way", do: merge("delta1", "delta2", "m"),
			given: func(w *world) {
				retired(w)
				w.layer("other", "")
				w.begin(3, "delta2", "other", "c")
			},
			want: `
				base
				  m, added
				    c of k-c: y* > d2 > x > d1 > w
				other
				base: committed on base
				k-c: active on m, parent base, storage c, bound
				other: committed on other
				u1 base -> (delta1) applied
				  c applied with d1, report
				u2 (delta1) -> m applied
				  c applied with d2, report
				u3 m -> other staging
				  c staging
			`,
		},
		{name: "not on each other", given: retired, do: merge("w", "x", "m"), kind: errdefs.ErrFailedPrecondition, says: "n6 does not stand on n2"},
		{name: "unknown lower", given: retired, do: merge("none", "x", "m"), kind: errdefs.ErrFailedPrecondition, says: "n6 does not stand on n9"},
		{name: "unknown upper", given: retired, do: merge("w", "none", "m"), kind: errdefs.ErrFailedPrecondition, says: "n9 does not stand on n2"},
		{name: "nothing below", given: retired, do: merge("", "w", "m"), kind: errdefs.ErrFailedPrecondition, says: "n2 does not stand on n0"},
		{name: "open node", given: retired, do: merge("d2", "y", "m"), kind: errdefs.ErrFailedPrecondition, says: "n8 is still written to"},
		{name: "rollback point as the lower one", given: deltas, do: merge("w", "d1", "m"), kind: errdefs.ErrFailedPrecondition, says: "n2 is needed by more than n5"},
		{name: "layer that a rollback point stands on", given: deltas, do: merge("delta1", "delta2", "m"), kind: errdefs.ErrFailedPrecondition, says: "n3 is needed by more than n4"},
		{name: "side effects of an update that can be rolled back", given: deltas, do: merge("d1", "x", "m"), kind: errdefs.ErrFailedPrecondition, says: "n5 is kept apart for a rollback"},
		{
			name: "base layer", do: merge("base", "delta1", "m"),
			given: func(w *world) {
				w.layer("base", "")
				w.layer("delta1", "base")
				w.layer("delta2", "delta1")
				w.do(dag.Prepare{Key: "v", Kind: dag.View, Parent: "delta2"})
			},
			kind: errdefs.ErrFailedPrecondition, says: "n1 is needed by more than n2",
		},
		{name: "into a node there is", given: retired, do: merge("w", "d1", "x"), kind: errdefs.ErrAlreadyExists, says: "n6"},
		{name: "into one of the two", given: retired, do: merge("w", "d1", "w"), kind: errdefs.ErrAlreadyExists, says: "n2"},
		{name: "into no node", given: retired, do: merge("w", "d1", ""), kind: errdefs.ErrInvalidArgument, says: "n0"},
		{
			name: "damaged", do: merge("w", "d1", "m"),
			given: func(w *world) { retired(w); w.do(dag.Quarantine{Node: w.id("w"), Reason: "lost"}) },
			kind:  errdefs.ErrFailedPrecondition, says: "n2 or n5 is damaged",
		},
	}, (*world).drawing, (*world).names, (*world).updates)
}

// Layers that containerd knows by name are never merged away, nor is a base layer into what stands on it.
func TestMergeOfNamedLayers(t *testing.T) {
	w := newWorld(t)
	w.layer("base", "")
	w.layer("delta1", "base")
	w.layer("delta2", "delta1")
	w.container("c", "base", "w")
	w.begin(1, "base", "delta2", "c")
	w.apply(1, "c", "", "x")
	w.refuse(errdefs.ErrFailedPrecondition, "n2 is needed by more than n3", w.merged("delta1", "delta2", "m"))
	w.remove("delta2", "delta1")
	w.retire("c")
	w.refuse(errdefs.ErrFailedPrecondition, "n1 is needed by more than n2", w.merged("base", "delta1", "m"))
	w.remove("k-c", "base")
	w.refuse(errdefs.ErrFailedPrecondition, "n1 is a base layer, not a delta layer", w.merged("base", "delta1", "m"))
	w.merge("delta1", "delta2", "m")
}

// A delta layer without a name under a layer that containerd knows by name stays: the name is for one layer, not for two.
// No transformation leads there, but what is loaded is not guessed at.
func TestMergeUnderNamedLayer(t *testing.T) {
	w := newWorld(t)
	w.g.Load([]dag.Node{
		{ID: w.id("base"), Kind: dag.Layer, Frozen: true},
		{ID: w.id("delta"), Kind: dag.Layer, Parent: w.id("base"), Frozen: true, Added: true},
		{ID: w.id("top"), Kind: dag.Layer, Parent: w.id("delta"), Frozen: true},
	}, []dag.Name{{Key: "top", Kind: dag.Committed, Node: w.id("top")}}, nil, nil)
	w.refuse(errdefs.ErrFailedPrecondition, "n3 is known to containerd by name", w.merged("delta", "top", "m"))
}

// What two nodes become is what the upper one was, on what the lower one stood on.
func TestMergedNode(t *testing.T) {
	w := newWorld(t)
	w.layer("base", "")
	for _, layer := range [][2]string{{"delta1", "base"}, {"delta2", "delta1"}} {
		w.do(dag.Prepare{Key: "k", Kind: dag.Active, Parent: layer[1], Open: w.id(layer[0])})
		w.do(dag.Commit{Key: "k", Name: layer[0], Origin: "sha256:" + layer[0], Unsynced: "boot", Size: 5, Inodes: 4})
	}
	w.container("c", "base", "w")
	w.begin(1, "base", "delta2", "c")
	w.apply(1, "c", "d", "x")
	w.remove("delta2", "delta1")
	w.retire("c")
	w.merge("delta1", "delta2", "layers")
	w.merge("w", "d", "storages")
	layers, _ := w.g.Node(w.id("layers"))
	storages, _ := w.g.Node(w.id("storages"))
	if want := (dag.Node{
		ID: w.id("layers"), Kind: dag.Layer, Parent: w.id("base"), Frozen: true, Added: true, Origin: "sha256:delta2",
		Size: 3, Inodes: 2, Created: layers.Created,
	}); layers != want {
		t.Errorf("got %+v, want %+v", layers, want)
	}
	if want := (dag.Node{
		ID: w.id("storages"), Kind: dag.Persisted, Base: w.id("layers"), Frozen: true, Size: 3, Inodes: 2, Created: w.clock,
	}); storages != want {
		t.Errorf("got %+v, want %+v", storages, want)
	}

	// The image of the update, pulled once more, is still the base on which the storage stands.
	w.do(dag.Prepare{Key: "k", Kind: dag.Active, Parent: "base", Open: w.id("again")})
	w.do(dag.Commit{Key: "k", Name: "again", Origin: "sha256:delta2"})
	if !w.g.SameBase(w.id("layers"), w.id("again")) {
		t.Error("the merged layer is not the same base as the image it came from")
	}
}
