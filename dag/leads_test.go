// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"fmt"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// TestRollbackDiscards: what was written since, and the delta storage, are gone at once (claim 2); a rollback that sets aside
// goes on naming the delta storage.
func TestRollbackDiscards(t *testing.T) {
	w := newWorld(t)
	applied(w)
	back := w.rolledBack(1, "c", "r")
	back.Discard = true
	c := w.do(back)
	if got, want := w.gone(c), "(d) (x)"; got != want {
		t.Errorf("%s are gone, want %s", got, want)
	}
	same(t, w.drawing()+w.updates(), `
		base
		  c of k-c: r* > w
		  delta
		rebuilt
		u1 base -> delta rolled-back
		  c rolled-back with (d), report
	`)
}

// TestDeltaLayerOnlyWhileLed: layers are delta layers while any update that was applied or is under way leads to them.
func TestDeltaLayerOnlyWhileLed(t *testing.T) {
	w := newWorld(t)
	w.layer("base", "")
	w.layer("mid", "base")
	w.layer("top", "mid")
	w.container("c1", "base", "w1")
	w.container("c2", "base", "w2")
	expect := func(when string, mid, top bool) {
		t.Helper()
		for label, want := range map[string]bool{"base": false, "mid": mid, "top": top} {
			if n, _ := w.g.Node(w.id(label)); n.Added != want {
				t.Errorf("%s: %s is a delta layer: %v", when, label, n.Added)
			}
		}
	}
	expect("before", false, false)
	w.begin(1, "base", "top", "c1")
	expect("under way", true, true)
	w.begin(2, "base", "mid", "c2")
	w.record(1, "c1", dag.Held)
	expect("held, and another one under way", true, false)
	w.apply(2, "c2", "", "x2")
	w.do(dag.BeginUpdate{ID: 3, From: w.id("mid"), To: w.id("top"), Cause: dag.ByCommand, Standing: true, Now: w.now()})
	expect("standing", true, true)
	w.do(dag.EndUpdate{Update: 3, Retract: true, Now: w.now()})
	expect("retracted", true, false)
	w.rollback(2, "c2", "y2")
	expect("rolled back", false, false)
	w.record(1, "c1", dag.Staging)
	expect("begun again", true, true)
}

// TestNewestFollowsNoSpecification: what one container asked for, and what an operator rolled back, leads no other container.
func TestNewestFollowsNoSpecification(t *testing.T) {
	w := newWorld(t)
	bases(w, "a", "b", "c")
	w.container("s", "a", "w")
	w.do(dag.BeginUpdate{ID: 1, From: w.id("a"), To: w.id("b"), Cause: dag.ByBind, Storages: []string{"s"}, Now: w.now()})
	w.apply(1, "s", "", "x")
	if got := w.newest("a"); got != "a" {
		t.Errorf("after an update of one container's own, a new one would stand on %s", got)
	}
	w.begin(2, "a", "b")
	w.begin(3, "b", "c")
	lead, ok := w.g.Leads().From(w.id("a"))
	if !ok || lead != (dag.Lead{To: w.id("c"), Update: 3}) {
		t.Errorf("the updates lead to %+v, %v", lead, ok)
	}
	w.do(dag.EndUpdate{Update: 2, Retract: true, Now: w.now()})
	if got := w.newest("a"); got != "a" {
		t.Errorf("after the rollback, a new container would stand on %s", got)
	}
	if u, _ := w.g.Update(2); u.State != dag.RolledBack {
		t.Errorf("the update without storages is %s", u.State)
	}
	w.refuse(errdefs.ErrNotFound, "update u9", dag.EndUpdate{Update: 9})
}

// TestNewestKnowsTwins: an image that was removed and pulled again is the base that was updated.
func TestNewestKnowsTwins(t *testing.T) {
	w := newWorld(t)
	for label, origin := range map[string]string{"a": "sha256:1", "twin": "sha256:1", "b": "sha256:2"} {
		w.anonymous("k", "", label)
		w.do(dag.Commit{Key: "k", Name: label, Origin: origin})
	}
	w.begin(1, "a", "b")
	if got := w.newest("twin"); got != "b" {
		t.Errorf("a new container of the base pulled again would stand on %s", got)
	}
	w.begin(2, "b", "twin")
	if got := w.newest("a"); got != "a" {
		t.Errorf("updated back, a new container would stand on %s", got)
	}
}

// TestStandingUpdate: storages that come to stand on the old base are to be taken in, each once; the layers are kept.
func TestStandingUpdate(t *testing.T) {
	w := newWorld(t)
	oneContainer(w)
	joining := func(want ...string) {
		t.Helper()
		u, _ := w.g.Update(1)
		if got := u.Joining(w.g); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%v are to be taken in, want %v", got, want)
		}
	}
	w.do(dag.BeginUpdate{ID: 1, From: w.id("base"), To: w.id("rebuilt"), Standing: true, Storages: []string{"c"}, Now: w.now()})
	joining()
	w.container("later", "base", "w2")
	w.anonymous("k-plain", "base", "w3")
	w.container("elsewhere", "delta", "w4")
	joining("later")
	w.record(1, "later", dag.Planned)
	joining()
	w.record(1, "later", dag.Held)
	joining()
	w.remove("k-later")
	w.do(dag.RemoveStorage{Name: "later", Now: w.now()})
	w.container("later", "base", "w5")
	joining("later") // another one of that name
	w.record(1, "c", dag.Held)
	w.remove("rebuilt")
	if _, ok := w.g.Node(w.id("rebuilt")); !ok {
		t.Error("the new base of a standing update is gone with its image")
	}
	w.do(dag.EndUpdate{Update: 1, Now: w.now()})
	joining()
	if _, ok := w.g.Node(w.id("rebuilt")); ok {
		t.Error("the new base is kept although the update ended")
	}
}

// TestBegun: what was begun on the new base of an update, and what was forked there, was not moved there.
func TestBegun(t *testing.T) {
	w := newWorld(t)
	applied(w)
	w.container("new", "delta", "w2")
	w.container("old", "base", "w3")
	w.do(dag.Fork{Source: "c", Target: "fork", Head: w.id("x"), SourceOpen: w.id("x1"), TargetOpen: w.id("y1"), Now: w.now()})
	w.container("asked", "base", "w4")
	w.do(dag.BeginUpdate{ID: 2, From: w.id("base"), To: w.id("delta"), Cause: dag.ByBind, Storages: []string{"asked"}, Now: w.now()})
	w.apply(2, "asked", "", "x4")
	u, _ := w.g.Update(1)
	for name, want := range map[string]bool{"c": false, "new": true, "old": false, "fork": true, "asked": false} {
		if s, _ := w.g.Storage(name); u.Begun(w.g, s) != want {
			t.Errorf("%s was begun on the new base: %v", name, !want)
		}
	}
}

// TestPlace: a new storage that follows begins where updates lead (Fig. 3C), once, and has no history.
func TestPlace(t *testing.T) {
	w := newWorld(t)
	applied(w)
	prepare := func(key, open string, follows bool) {
		w.do(dag.Prepare{Key: key, Kind: dag.Active, Parent: "base", Open: w.id(open), Follows: follows, Now: w.now()})
		w.do(dag.Bind{Key: key, Storage: "s-" + key, Now: w.now()})
	}
	place := func(key, head, layer string) dag.Place {
		return dag.Place{Storage: "s-" + key, Head: w.id(head), Layer: w.id(layer), Open: w.id("p-" + key), Update: 1, Now: w.now()}
	}
	prepare("n", "n", true)
	w.refuse(errdefs.ErrAborted, "has moved on", place("n", "w", "delta"))
	w.refuse(errdefs.ErrFailedPrecondition, "stands on", place("n", "n", "base"))
	w.refuse(errdefs.ErrNotFound, "layer", place("n", "n", "none"))
	w.do(place("n", "n", "delta"))
	w.refuse(errdefs.ErrFailedPrecondition, "does not follow", place("n", "p-n", "base"))
	prepare("o", "o", false)
	w.refuse(errdefs.ErrFailedPrecondition, "does not follow", place("o", "o", "delta"))
	prepare("p", "p", true)
	w.do(dag.Place{Storage: "s-p", Now: w.now()})
	same(t, w.drawing(), `
		base
		  c before u1: w
		  s-o of o: o*
		  s-p of p: p*
		  delta, added
		    c of k-c: x* > d > w
		    s-n of n: p-n*
		rebuilt
	`)
	s, _ := w.g.Storage("s-n")
	if got := s.Placed; got == nil || got.From != w.id("base") || got.To != w.id("delta") || got.Update != 1 {
		t.Errorf("placed is %+v", got)
	}
	if n, _ := w.g.Name("n"); n.Node != w.id("delta") {
		t.Errorf("the key stands on %s", w.label(n.Node))
	}
}
