// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// Transformations that are planned together see what the ones before them made: the outcome is that of one after the other.
func TestPlanTogether(t *testing.T) {
	cases := []struct {
		name  string
		given func(w *world)
		plan  func(w *world) []dag.Transformation
	}{
		{"commit and begin an update to it", func(w *world) {
			w.layer("base", "")
			w.anonymous("k", "base", "delta")
		}, func(w *world) []dag.Transformation {
			return []dag.Transformation{
				dag.Commit{Key: "k", Name: "delta", Now: w.clock},
				dag.BeginUpdate{ID: 1, From: w.id("base"), To: w.id("delta"), Now: w.clock},
			}
		}},
		{"begin an update, switch and bind", func(w *world) {
			oneContainer(w)
			w.remove("k-c")
			w.anonymous("k", "delta", "x")
		}, func(w *world) []dag.Transformation {
			return []dag.Transformation{
				dag.BeginUpdate{ID: 1, From: w.id("base"), To: w.id("delta"), Storages: []string{"c"}, Now: w.clock},
				dag.Switch{Update: 1, Storage: "c", Head: w.id("w"), Delta: w.id("d"), Open: w.id("y"), Now: w.clock},
				dag.Bind{Key: "k", Storage: "c", Now: w.clock},
			}
		}},
		{"commit two twins and bind across", func(w *world) {
			w.anonymous("k1", "", "base")
			w.anonymous("k2", "", "twin")
		}, func(w *world) []dag.Transformation {
			return []dag.Transformation{
				dag.Commit{Key: "k1", Name: "base", Origin: "sha256:1", Now: w.clock},
				dag.Commit{Key: "k2", Name: "twin", Origin: "sha256:1", Now: w.clock},
				dag.Prepare{Key: "k1", Kind: dag.Active, Parent: "base", Open: w.id("w1"), Now: w.clock},
				dag.Bind{Key: "k1", Storage: "c", Now: w.clock},
				dag.Remove{Key: "k1", Now: w.clock},
				dag.Prepare{Key: "k2", Kind: dag.Active, Parent: "twin", Open: w.id("w2"), Now: w.clock},
				dag.Bind{Key: "k2", Storage: "c", Now: w.clock},
			}
		}},
		{"remove a key and its parent", func(w *world) {
			w.layer("base", "")
			w.anonymous("k", "base", "w")
		}, func(w *world) []dag.Transformation {
			return []dag.Transformation{dag.Remove{Key: "k", Now: w.clock}, dag.Remove{Key: "base", Now: w.clock}}
		}},
		{"update together", func(w *world) {
			oneContainer(w)
			w.container("c2", "base", "w2")
			w.begin(1, "base", "delta", "c", "c2")
		}, func(w *world) []dag.Transformation {
			return []dag.Transformation{
				dag.Switch{Update: 1, Storage: "c", Head: w.id("w"), Open: w.id("x"), Now: w.clock},
				dag.Switch{Update: 1, Storage: "c2", Head: w.id("w2"), Open: w.id("x2"), Now: w.clock},
			}
		}},
		{"prepare on layers and merge them", retired, func(w *world) []dag.Transformation {
			return []dag.Transformation{
				dag.Fork{Source: "c", Target: "new", Head: w.id("y"), SourceOpen: w.id("y1"), TargetOpen: w.id("y2"), Now: w.clock},
				dag.Merge{Pair: dag.Pair{Lower: w.id("delta1"), Upper: w.id("delta2")}, Into: w.id("m"), Now: w.clock},
				dag.Merge{Pair: dag.Pair{Lower: w.id("d2"), Upper: w.id("y")}, Into: w.id("n"), Now: w.clock},
			}
		}},
		{"retire and merge", func(w *world) {
			deltas(w)
			w.rollback(2, "c", "z")
		}, func(w *world) []dag.Transformation {
			return []dag.Transformation{
				dag.Retire{Storage: "c"},
				dag.Merge{Pair: dag.Pair{Lower: w.id("w"), Upper: w.id("d1")}, Into: w.id("m"), Now: w.clock},
				dag.Merge{Pair: dag.Pair{Lower: w.id("m"), Upper: w.id("x")}, Into: w.id("n"), Now: w.clock},
			}
		}},
		{"roll back twice", appliedTwice, func(w *world) []dag.Transformation {
			return []dag.Transformation{
				dag.Rollback{Update: 2, Storage: "c", Head: w.id("y"), Open: w.id("r"), Now: w.clock},
				dag.Rollback{Update: 1, Storage: "c", Head: w.id("r"), Open: w.id("s"), Now: w.clock},
			}
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			together, apart := newWorld(t), newWorld(t)
			c.given(together)
			c.given(apart)
			together.do(c.plan(together)...)
			for _, step := range c.plan(apart) {
				apart.do(step)
			}
			if got, want := dump(t, together.g), dump(t, apart.g); got != want {
				t.Errorf("together they give\n%s\none after the other\n%s", got, want)
			}
		})
	}
}

// What one transformation of a plan made stands in the way of a later one.
func TestPlanTogetherRefused(t *testing.T) {
	w := newWorld(t)
	w.layer("base", "")
	w.refuse(errdefs.ErrFailedPrecondition, `"base" has children`,
		dag.Prepare{Key: "k", Kind: dag.View, Parent: "base"}, dag.Remove{Key: "base"})
	w.container("c", "base", "w")
	w.remove("k-c")
	w.refuse(errdefs.ErrFailedPrecondition, `"c" belongs to k`,
		dag.Prepare{Key: "k", Kind: dag.Active, Parent: "base", Open: w.id("x")}, dag.Bind{Key: "k", Storage: "c"},
		dag.RemoveStorage{Name: "c"})
}

// A plan is all or nothing: when one transformation is refused, none of it is in the change.
func TestPlanRefused(t *testing.T) {
	w := newWorld(t)
	oneContainer(w)
	c, err := w.g.Plan(dag.Identify{Key: "k-c"}, dag.Remove{Key: "k-c"}, dag.Remove{Key: "none"})
	if !errdefs.IsNotFound(err) {
		t.Fatalf("got error %v", err)
	}
	if n := len(c.Nodes) + len(c.Names) + len(c.Storages) + len(c.Updates); n != 0 {
		t.Errorf("a refused plan has %d changes: %+v", n, c)
	}
}

// A node that is made and not needed in one change is reported for its directory to be deleted.
func TestUnreachableOfOneChange(t *testing.T) {
	w := newWorld(t)
	w.layer("base", "")
	w.container("c", "base", "w")
	w.remove("k-c")
	c := w.do(
		dag.Prepare{Key: "k", Kind: dag.Active, Parent: "base", Open: w.id("x")},
		dag.Bind{Key: "k", Storage: "c"},
	)
	if got, want := w.gone(c), "(x)"; got != want {
		t.Errorf("%q are gone, want %q", got, want)
	}
}

// Records that are handed out are not shared with the graph in a way that lets a later change alter them.
func TestRecordsDoNotChange(t *testing.T) {
	w := newWorld(t)
	appliedTwice(w)
	w.rollback(2, "c", "r")
	s, _ := w.g.Storage("c")
	u, _ := w.g.Update(1)
	handed := func() string {
		var b strings.Builder
		dumpTo(t, &b, []dag.Storage{s})
		dumpTo(t, &b, []dag.Update{u})
		return b.String()
	}
	before := handed()
	w.layer("delta3", "")
	w.begin(3, "delta", "delta3", "c")
	w.apply(3, "c", "", "z")
	w.rollback(3, "c", "z2")
	w.rollback(1, "c", "z3")
	w.retire("c")
	if after := handed(); after != before {
		t.Errorf("what was handed out changed from\n%s\nto\n%s", before, after)
	}
}

// Loading what a graph says gives the same graph.
func TestLoad(t *testing.T) {
	w := newWorld(t)
	appliedTwice(w)
	w.rollback(2, "c", "r")
	again := dag.New()
	again.Load(w.g.Nodes(), w.g.Names(), w.g.Storages(), w.g.Updates())
	if err := again.Check(); err != nil {
		t.Error(err)
	}
	if got, want := dump(t, again), dump(t, w.g); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
