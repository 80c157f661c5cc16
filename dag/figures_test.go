// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"fmt"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// The tests of this file are the figures of US 2025/0265067 A1, drawn by drawing_test.go.

// Fig. 3A: containers on one base layer.
func figure3A(t *testing.T) *world {
	w := newWorld(t)
	w.layer("base", "")
	w.container("c1", "base", "w1")
	w.container("c2", "base", "w2")
	return w
}

// Fig. 3B: an update adds a delta layer, and a delta storage for each container in which it has side effects.
func figure3B(t *testing.T) *world {
	w := figure3A(t)
	w.layer("delta", "base")
	w.begin(1, "base", "delta", "c1", "c2")
	w.apply(1, "c1", "d1", "x1")
	w.apply(1, "c2", "", "x2")
	return w
}

func TestFigure3A(t *testing.T) {
	w := figure3A(t)
	same(t, w.drawing(), `
		base
		  c1 of k-c1: w1*
		  c2 of k-c2: w2*
	`)
}

func TestFigure3B(t *testing.T) {
	w := figure3B(t)
	same(t, w.drawing(), `
		base
		  c1 before u1: w1
		  c2 before u1: w2
		  delta, added
		    c1 of k-c1: x1* > d1 > w1
		    c2 of k-c2: x2* > w2
	`)
	same(t, w.updates(), `
		u1 base -> delta applied
		  c1 applied with d1, report
		  c2 applied, report
	`)
}

// Nothing of what there was is changed by an update, but that the open nodes are frozen (A1).
func TestUpdateChangesNoNode(t *testing.T) {
	before, after := figure3A(t).g, figure3B(t).g
	for _, n := range before.Nodes() {
		n.Frozen = true
		if got, _ := after.Node(n.ID); got != n {
			t.Errorf("%v was %+v and became %+v", n.ID, n, got)
		}
	}
}

// Fig. 3C: a container that is new after the update stands on the newest delta layer.
func TestFigure3C(t *testing.T) {
	w := figure3B(t)
	w.container("c3", w.newest("base"), "w3")
	same(t, w.drawing(), `
		base
		  c1 before u1: w1
		  c2 before u1: w2
		  delta, added
		    c1 of k-c1: x1* > d1 > w1
		    c2 of k-c2: x2* > w2
		    c3 of k-c3: w3*
	`)
}

// newest returns the label of the layer on which a new container of a base should stand.
func (w *world) newest(base string) string { return w.labels[w.g.Newest(w.id(base))] }

// A second update records a second delta layer on the first, and a second delta storage on the first (A7).
func TestUpdatesStack(t *testing.T) {
	w := figure3B(t)
	w.layer("delta2", "delta")
	w.begin(2, "delta", "delta2", "c1")
	w.apply(2, "c1", "e1", "y1")
	same(t, w.drawing(), `
		base
		  c1 before u1: w1
		  c2 before u1: w2
		  delta, added
		    c1 before u2: x1 > d1 > w1
		    c2 of k-c2: x2* > w2
		    delta2, added
		      c1 of k-c1: y1* > e1 > x1 > d1 > w1
	`)
	if got := w.newest("base"); got != "delta2" {
		t.Errorf("a new container of base would stand on %s", got)
	}
}

// Fig. 4A: an update is rolled back for one container. The delta layer stays, another one stands on it.
func figure4A(t *testing.T) *world {
	w := figure3B(t)
	w.remove("delta") // containerd forgets the image of the update
	w.rollback(1, "c1", "y1")
	return w
}

func TestFigure4AForOne(t *testing.T) {
	w := figure4A(t)
	same(t, w.drawing(), `
		base
		  c1 of k-c1: y1* > w1
		  c2 before u1: w2
		  delta, added
		    c1 aside of u1: x1 > d1 > w1
		    c2 of k-c2: x2* > w2
	`)
	if got := w.newest("base"); got != "delta" {
		t.Errorf("a new container of base would stand on %s although the update is still applied to c2", got)
	}
	w.retire("c1")
	same(t, w.drawing(), `
		base
		  c1 of k-c1: y1* > w1
		  c2 before u1: w2
		  delta, added
		    c2 of k-c2: x2* > w2
	`)
}

func TestFigure4AForAll(t *testing.T) {
	w := figure4A(t)
	w.rollback(1, "c2", "y2")
	if got := w.newest("base"); got != "base" {
		t.Errorf("a new container of base would stand on %s although the update is rolled back", got)
	}
	w.retire("c1")
	c := w.do(dag.Retire{Storage: "c2", Before: w.now()})
	same(t, w.drawing(), `
		base
		  c1 of k-c1: y1* > w1
		  c2 of k-c2: y2* > w2
	`)
	if got, want := w.gone(c), "(delta) (x2)"; got != want {
		t.Errorf("%s are gone, want %s", got, want)
	}
	same(t, w.updates(), `
		u1 base -> (delta) rolled-back
		  c1 rolled-back with (d1), report
		  c2 rolled-back, report
	`)
}

// Fig. 4B: removing a container removes just its own nodes.
func TestFigure4B(t *testing.T) {
	w := figure3B(t)
	w.remove("delta", "k-c1")
	c := w.do(dag.RemoveStorage{Name: "c1", Now: w.now()})
	same(t, w.drawing(), `
		base
		  c2 before u1: w2
		  delta, added
		    c2 of k-c2: x2* > w2
	`)
	if got, want := w.gone(c), "(d1) (w1) (x1)"; got != want {
		t.Errorf("%s are gone, want %s", got, want)
	}
	w.remove("k-c2")
	c = w.do(dag.RemoveStorage{Name: "c2", Now: w.now()})
	if got, want := w.gone(c), "(delta) (w2) (x2)"; got != want {
		t.Errorf("%s are gone with the last container on the delta layer, want %s", got, want)
	}
}

// Fig. 5: delta layers 541 to 544 over base layer 540, containers standing on 542 and 544. The images of the delta layers
// are gone, and the containers need no rollback point any longer.
func figure5(t *testing.T, effects bool) *world {
	w := newWorld(t)
	w.layer("540", "")
	w.container("c1", "540", "w1.0")
	w.container("c2", "540", "w2.0")
	layers := []string{"540", "541", "542", "543", "544"}
	for update := 1; update <= 4; update++ {
		from, to := layers[update-1], layers[update]
		w.layer(to, from)
		w.begin(dag.UpdateID(update), from, to)
		for c := 1; c <= 2; c++ {
			if c == 1 && update > 2 {
				continue // c1 stays on 542
			}
			delta := ""
			if effects {
				delta = fmt.Sprintf("d%d.%d", c, update)
			}
			w.apply(dag.UpdateID(update), fmt.Sprintf("c%d", c), delta, fmt.Sprintf("w%d.%d", c, update))
		}
	}
	w.remove("544", "543", "542", "541")
	w.retire("c1", "c2")
	return w
}

func TestFigure5(t *testing.T) {
	w := figure5(t, true)
	same(t, w.drawing(), `
		540
		  541, added
		    542, added
		      c1 of k-c1: w1.2* > d1.2 > w1.1 > d1.1 > w1.0
		      543, added
		        544, added
		          c2 of k-c2: w2.4* > d2.4 > w2.3 > d2.3 > w2.2 > d2.2 > w2.1 > d2.1 > w2.0
	`)

	// Delta storages merge into their parent storage.
	mergeAll(w, dag.Persisted)
	same(t, w.drawing(), `
		540
		  541, added
		    542, added
		      c1 of k-c1: w1.2* > w1.0+d1.1+w1.1+d1.2
		      543, added
		        544, added
		          c2 of k-c2: w2.4* > w2.0+d2.1+w2.1+d2.2+w2.2+d2.3+w2.3+d2.4
	`)

	// 541 and 542 merge, 543 and 544 merge; 542 and 543 do not, and neither does anything with the base layer.
	if got, want := w.mergeable(), "541+542 543+544"; got != want {
		t.Fatalf("%q can be merged, want %q", got, want)
	}
	mergeAll(w, dag.Layer)
	same(t, w.drawing(), `
		540
		  541+542, added
		    c1 of k-c1: w1.2* > w1.0+d1.1+w1.1+d1.2
		    543+544, added
		      c2 of k-c2: w2.4* > w2.0+d2.1+w2.1+d2.2+w2.2+d2.3+w2.3+d2.4
	`)
	for base, want := range map[string]string{"540": "543+544", "541+542": "543+544"} {
		if got := w.newest(base); got != want {
			t.Errorf("a new container of %s would stand on %s, want %s", base, got, want)
		}
	}
}

// The same figure when the updates have no side effects: the storages stand nowhere else for that.
func TestFigure5WithoutSideEffects(t *testing.T) {
	w := figure5(t, false)
	mergeAll(w, dag.Persisted)
	mergeAll(w, dag.Layer)
	same(t, w.drawing(), `
		540
		  541+542, added
		    c1 of k-c1: w1.2* > w1.0+w1.1
		    543+544, added
		      c2 of k-c2: w2.4* > w2.0+w2.1+w2.2+w2.3
	`)
}

// mergeAll merges what can be merged among layers, or among storage nodes, the lowest first.
func mergeAll(w *world, kind dag.NodeKind) {
	w.Helper()
	for again := true; again; {
		again = false
		for _, p := range w.g.Mergeable() {
			if n, _ := w.g.Node(p.Lower); n.Kind == kind {
				w.merge(w.labels[p.Lower], w.labels[p.Upper], w.labels[p.Lower]+"+"+w.labels[p.Upper])
				again = true
				break
			}
		}
	}
}
