// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

func (w *world) labelled(ids []dag.NodeID) string {
	var labels []string
	for _, id := range ids {
		labels = append(labels, w.label(id))
	}
	return strings.Join(labels, " ")
}

func TestChainAndStack(t *testing.T) {
	w := newWorld(t)
	applied(w)
	for _, c := range []struct{ got, want string }{
		{w.labelled(w.g.Chain(w.id("delta"))), "delta base"},
		{w.labelled(w.g.Chain(w.id("base"))), "base"},
		{w.labelled(w.g.Chain(0)), ""},
		{w.labelled(w.g.Chain(w.id("none"))), ""},
		{w.labelled(w.g.Stack(w.id("x"))), "x* d w"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestExtends(t *testing.T) {
	w := newWorld(t)
	oneContainer(w)
	for _, c := range []struct {
		upper, lower string
		want         bool
	}{
		{"delta", "base", true}, {"base", "base", true}, {"delta", "", true}, {"", "", true},
		{"base", "delta", false}, {"rebuilt", "base", false}, {"", "base", false},
	} {
		if got := w.g.Extends(w.id(c.upper), w.id(c.lower)); got != c.want {
			t.Errorf("%q extends %q: %v", c.upper, c.lower, got)
		}
	}
}

func TestSameBase(t *testing.T) {
	w := newWorld(t)
	for label, origin := range map[string]string{"a": "sha256:1", "twin of a": "sha256:1", "b": "sha256:2", "c": "", "d": ""} {
		w.anonymous("k", "", label)
		w.do(dag.Commit{Key: "k", Name: label, Origin: origin})
	}
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"a", "a", true}, {"a", "twin of a", true}, {"a", "b", false}, {"c", "d", false}, {"c", "c", true},
		{"", "", true}, {"", "c", false}, {"none", "other", false},
	} {
		if got := w.g.SameBase(w.id(c.a), w.id(c.b)); got != c.want {
			t.Errorf("%q and %q are the same base: %v", c.a, c.b, got)
		}
	}
}

// bases makes layers that do not stand on each other.
func bases(w *world, labels ...string) {
	for _, label := range labels {
		w.layer(label, "")
	}
}

func TestNewest(t *testing.T) {
	cases := []struct {
		name  string
		given func(w *world)
		want  string // for a
	}{
		{"never updated", func(w *world) { bases(w, "a") }, "a"},
		{"updated", func(w *world) { bases(w, "a", "b"); w.begin(1, "a", "b") }, "b"},
		{"another layer updated", func(w *world) { bases(w, "a", "b"); w.begin(1, "b", "a") }, "a"},
		{"updated twice", func(w *world) {
			bases(w, "a", "b", "c")
			w.begin(1, "a", "b")
			w.begin(2, "b", "c")
		}, "c"},
		{"updated again from the same layer", func(w *world) {
			bases(w, "a", "b", "c")
			w.begin(1, "a", "b")
			w.begin(2, "a", "c")
		}, "c"},
		{"updated back", func(w *world) {
			bases(w, "a", "b")
			w.begin(1, "a", "b")
			w.begin(2, "b", "a")
		}, "a"},
		{"updated back and forth", func(w *world) {
			bases(w, "a", "b", "c")
			w.begin(1, "a", "b")
			w.begin(2, "b", "a")
			w.begin(3, "a", "c")
		}, "c"},
		{"the layer in between is gone", func(w *world) {
			bases(w, "a", "b", "c")
			w.begin(1, "a", "b")
			w.begin(2, "b", "c")
			w.remove("b")
		}, "c"},
		{"the new layer is gone", func(w *world) {
			bases(w, "a", "b", "c")
			w.begin(1, "a", "b")
			w.begin(2, "a", "c")
			w.remove("c")
		}, "b"},
		{"nothing is applied yet", func(w *world) {
			bases(w, "a", "b")
			w.container("c", "a", "w")
			w.begin(1, "a", "b", "c")
			w.record(1, "c", dag.Staged)
		}, "a"},
		{"held", func(w *world) {
			bases(w, "a", "b")
			w.container("c", "a", "w")
			w.begin(1, "a", "b", "c")
			w.record(1, "c", dag.Held)
		}, "a"},
		{"applied to one, another one under way", func(w *world) {
			bases(w, "a", "b")
			w.container("c", "a", "w")
			w.container("c2", "a", "w2")
			w.begin(1, "a", "b", "c", "c2")
			w.apply(1, "c", "", "x")
			w.record(1, "c2", dag.Staged)
		}, "b"},
		{"rolled back for one, applied to another", func(w *world) {
			bases(w, "a", "b")
			w.container("c", "a", "w")
			w.container("c2", "a", "w2")
			w.begin(1, "a", "b", "c", "c2")
			w.apply(1, "c", "", "x")
			w.apply(1, "c2", "", "x2")
			w.rollback(1, "c", "y")
		}, "b"},
		{"rolled back", func(w *world) {
			bases(w, "a", "b")
			w.container("c", "a", "w")
			w.begin(1, "a", "b", "c")
			w.apply(1, "c", "", "x")
			w.rollback(1, "c", "y")
		}, "a"},
		{"the update before is rolled back", func(w *world) {
			bases(w, "a", "b", "c")
			w.container("c1", "a", "w1")
			w.container("c2", "b", "w2")
			w.begin(1, "a", "b", "c1")
			w.apply(1, "c1", "", "x1")
			w.begin(2, "b", "c", "c2")
			w.apply(2, "c2", "", "x2")
			w.rollback(1, "c1", "y1")
		}, "a"},
	}
	for _, c := range cases {
		w := newWorld(t)
		c.given(w)
		if got := w.newest("a"); got != c.want {
			t.Errorf("%s: a new container would stand on %s, want %s", c.name, got, c.want)
		}
	}
}

// What shows a node shows it over the base of a state of a storage, not over what was written on once.
func TestBasesAbove(t *testing.T) {
	w := newWorld(t)
	oneContainer(w)
	w.do(dag.Fork{Source: "c", Target: "f", Head: w.id("w"), SourceOpen: w.id("x"), TargetOpen: w.id("y")})
	w.begin(1, "base", "delta", "c", "f")
	w.apply(1, "c", "", "x1")
	w.apply(1, "f", "", "y1")
	w.rollback(1, "f", "y2")
	for label, want := range map[string]string{
		"w": "base delta", "x": "base delta", "x1": "delta", "y": "base delta", "y1": "delta", "y2": "base", "base": "", "none": "",
	} {
		if got := w.labelled(w.g.BasesAbove(w.id(label))); got != want {
			t.Errorf("%s is shown over %q, want %q", label, got, want)
		}
	}
	w.retire("c", "f")
	if got := w.labelled(w.g.BasesAbove(w.id("x"))); got != "delta" {
		t.Errorf("x is shown over %q although nothing shows it over its own base any more", got)
	}
}
