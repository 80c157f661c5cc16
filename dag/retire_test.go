// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

func TestRetire(t *testing.T) {
	// Storage c was updated to b1, b2 and b3, and then rolled back from b3 and b2.
	var times [4]time.Time
	given := func(w *world) {
		w.layer("base", "")
		w.container("c", "base", "w0")
		for i, layers := range [][2]string{1: {"base", "b1"}, {"b1", "b2"}, {"b2", "b3"}}[1:] {
			update := dag.UpdateID(i + 1)
			w.layer(layers[1], layers[0])
			w.begin(update, layers[0], layers[1], "c")
			times[update] = w.clock
			w.apply(update, "c", "", "w"+layers[1][1:])
		}
	}
	rolledBack := func(w *world) {
		given(w)
		times[0] = w.clock
		w.rollback(3, "c", "y2")
		w.rollback(2, "c", "y1")
	}
	retire := func(storage string, keep int, before int) func(w *world) dag.Transformation {
		return func(*world) dag.Transformation {
			return dag.Retire{Storage: storage, Keep: keep, Before: times[before].Add(time.Minute + time.Second)}
		}
	}
	run(t, []step{
		{
			name: "the oldest beyond a number", given: given,
			do: func(*world) dag.Transformation { return dag.Retire{Storage: "c", Keep: 2} },
			want: `
				base
				  b1, added
				    c before u2: w1 > w0
				    b2, added
				      c before u3: w2 > w1 > w0
				      b3, added
				        c of k-c: w3* > w2 > w1 > w0
			`,
		}, {
			name: "all beyond a number", given: given,
			do: func(*world) dag.Transformation { return dag.Retire{Storage: "c"} },
			want: `
				base
				  b1, added
				    b2, added
				      b3, added
				        c of k-c: w3* > w2 > w1 > w0
			`,
		}, {
			name: "a number below zero counts as zero", given: given,
			do: func(*world) dag.Transformation { return dag.Retire{Storage: "c", Keep: -1} },
			want: `
				base
				  b1, added
				    b2, added
				      b3, added
				        c of k-c: w3* > w2 > w1 > w0
			`,
		}, {
			name: "those from before a time", given: given, do: retire("c", 3, 2),
			want: `
				base
				  b1, added
				    b2, added
				      c before u3: w2 > w1 > w0
				      b3, added
				        c of k-c: w3* > w2 > w1 > w0
			`,
		}, {
			name: "of both limits the stricter one", given: given, do: retire("c", 1, 1),
			want: `
				base
				  b1, added
				    b2, added
				      c before u3: w2 > w1 > w0
				      b3, added
				        c of k-c: w3* > w2 > w1 > w0
			`,
		}, {
			name: "nothing within the limits", given: rolledBack, do: retire("c", 2, 0),
			want: `
				base
				  b1, added
				    c of k-c: y1* > w1 > w0
				    b2
				      c aside of u2: y2 > w2 > w1 > w0
				      b3
			`,
		}, {
			name:  "a point that is to be rolled back to stays",
			given: func(w *world) { given(w); w.do(dag.AwaitRollback{Update: 3, Storage: "c", Reason: "in use"}) },
			do:    func(*world) dag.Transformation { return dag.Retire{Storage: "c"} },
			want: `
				base
				  b1, added
				    b2, added
				      c before u3: w2 > w1 > w0
				      b3, added
				        c of k-c: w3* > w2 > w1 > w0, waits to roll back u3
			`,
		},
		{name: "unknown", given: given, do: retire("none", 0, 0), kind: errdefs.ErrNotFound, says: `storage "none"`},
	}, (*world).drawing)
}

// Forgets returns exactly what Retire would forget.
func TestForgets(t *testing.T) {
	w := newWorld(t)
	w.layer("base", "")
	w.layer("delta", "base")
	w.container("c", "base", "w")
	w.begin(1, "base", "delta", "c")
	expired := func(keep int, before time.Time) bool {
		s, _ := w.g.Storage("c")
		return len(dag.Retire{Keep: keep, Before: before}.Forgets(s)) > 0
	}
	if expired(0, w.now()) {
		t.Error("a storage that was never updated has states to forget")
	}
	w.apply(1, "c", "d", "x")
	at := w.clock
	for _, c := range []struct {
		keep   int
		before time.Time
		want   bool
	}{
		{keep: 1, before: at}, {keep: 0, before: at, want: true}, {keep: -1, before: at, want: true},
		{keep: 1, before: at.Add(1), want: true}, {keep: 2, before: time.Time{}},
	} {
		if got := expired(c.keep, c.before); got != c.want {
			t.Errorf("rollback point of %v expired with keep %d and before %v: %v", at, c.keep, c.before, got)
		}
	}
	w.do(dag.AwaitRollback{Update: 1, Storage: "c", Reason: "in use"})
	if expired(0, w.now()) {
		t.Error("the point that is to be rolled back to has expired")
	}
	w.rollback(1, "c", "y")
	if !expired(0, w.now()) {
		t.Error("what was set aside has not expired")
	}
	w.retire("c")
	if expired(0, w.now()) {
		t.Error("a retired storage has states to forget")
	}
}
