// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag

import (
	"strings"
	"testing"
)

// sound returns a graph with one of each: storage c, updated from base 1 to delta layer 2, rolled back, and waiting for
// the update again; its stack is 6 > 3, set aside is 5 > 4 > 3.
func sound() *Graph {
	g := New()
	point := Point{Update: 1, Head: 5}
	g.Load([]Node{
		{ID: 1, Kind: Layer, Frozen: true},
		{ID: 2, Kind: Layer, Parent: 1, Frozen: true, Added: true},
		{ID: 3, Kind: Persisted, Base: 1, Frozen: true},
		{ID: 4, Kind: Delta, Parent: 3, Base: 2, Frozen: true},
		{ID: 5, Kind: Persisted, Parent: 4, Base: 2, Frozen: true},
		{ID: 6, Kind: Persisted, Parent: 3, Base: 1},
	}, []Name{
		{Key: "base", Kind: Committed, Node: 1},
		{Key: "k", Kind: Active, Parent: "base", Node: 1, Storage: "c", Identity: Bound},
		{Key: "v", Kind: View, Parent: "base", Node: 1},
	}, []Storage{
		{Name: "c", Head: 6, Key: "k", Points: []Point{{Update: 1, Head: 3}}, Aside: []Point{point}, Pending: &Pending{Update: 1}},
	}, []Update{
		{ID: 1, From: 1, To: 2, State: Planned, Outcomes: map[string]Outcome{"c": {State: Planned}}},
	})
	return g
}

func TestCheckSound(t *testing.T) {
	for _, g := range []*Graph{New(), sound()} {
		if err := g.Check(); err != nil {
			t.Error(err)
		}
	}
}

// broken changes one record of a sound graph.
func broken[K comparable, V any](m func(g *Graph) map[K]V, k K, change func(v *V)) func(g *Graph) {
	return func(g *Graph) {
		v := m(g)[k]
		change(&v)
		m(g)[k] = v
	}
}

func node(id NodeID, change func(n *Node)) func(g *Graph) {
	return broken(func(g *Graph) map[NodeID]Node { return g.nodes }, id, change)
}

func name(key string, change func(n *Name)) func(g *Graph) {
	return broken(func(g *Graph) map[string]Name { return g.names }, key, change)
}

func storage(change func(s *Storage)) func(g *Graph) {
	return broken(func(g *Graph) map[string]Storage { return g.storages }, "c", change)
}

func TestCheckBroken(t *testing.T) {
	cases := []struct {
		name string
		do   func(g *Graph)
		says string
	}{
		{"missing parent", node(2, func(n *Node) { n.Parent = 9 }), "n2: parent n9 is missing"},
		{"circle", node(1, func(n *Node) { n.Parent = 2 }), "n1: depends on itself"},
		{"layer on a storage node", node(2, func(n *Node) { n.Parent = 3 }), "n2: a layer cannot stand on the persisted n3"},
		{"storage node on a layer", node(6, func(n *Node) { n.Parent = 1 }), "n6: a persisted cannot stand on the layer n1"},
		{"layer with a base", node(2, func(n *Node) { n.Base = 1 }), "n2: a layer cannot have base n1"},
		{"open node that is no head", node(4, func(n *Node) { n.Frozen = false }), "n4: frozen is false"},
		{"something on an open node", node(3, func(n *Node) { n.Frozen = false }), "parent n3 is not frozen"},
		{"frozen head", node(6, func(n *Node) { n.Frozen = true }), "n6: frozen is true"},
		{"missing head", storage(func(s *Storage) { s.Head = 9 }), `storage "c": head n9 is missing`},
		{"delta storage as head", node(6, func(n *Node) { n.Kind = Delta }), `storage "c": head n6 is missing or a delta`},
		{"one head for two storages", func(g *Graph) { g.storages["c2"] = Storage{Name: "c2", Head: 6} }, "n6: frozen is false but it is the head of 2 storages"},
		{"missing base of a head", node(6, func(n *Node) { n.Base = 9 }), `storage "c": base n9 of n6 is missing`},
		{"missing base of a rollback point", node(3, func(n *Node) { n.Base = 9 }), `storage "c": base n9 of n3 is missing`},
		{"missing base of a state set aside", node(5, func(n *Node) { n.Base = 9 }), `storage "c": base n9 of n5 is missing`},
		{"storage node as base", node(6, func(n *Node) { n.Base = 3 }), `storage "c": base n3 of n6 is missing or not a layer`},
		{"missing rollback point", storage(func(s *Storage) { s.Points[0].Head = 9 }), `storage "c": state n9 is missing`},
		{"open rollback point", func(g *Graph) {
			g.storages["c2"] = Storage{Name: "c2", Head: 7, Points: []Point{{Update: 1, Head: 6}}}
			g.nodes[7] = Node{ID: 7, Kind: Persisted, Base: 1}
		}, `storage "c2": state n6 is missing, not frozen`},
		{"layer set aside", storage(func(s *Storage) { s.Aside[0].Head = 2 }), `storage "c": state n2 is missing, not frozen or a layer`},
		{"missing holder", storage(func(s *Storage) { s.Key = "none" }), `storage "c": key "none" is missing`},
		{"holder without the storage", storage(func(s *Storage) { s.Key = "v" }), `storage "c": key "v" is missing or has storage ""`},
		{"anonymous storage without a key", storage(func(s *Storage) { s.Key, s.Anonymous = "", true }), `storage "c": key "" is missing`},
		{"waits for a missing update", storage(func(s *Storage) { s.Pending = &Pending{Update: 2} }), `storage "c": waits for update u2, which is missing`},
		{"missing layer of a name", name("v", func(n *Name) { n.Node = 9 }), `name "v": n9 is not a layer`},
		{"storage node of a name", name("v", func(n *Name) { n.Node = 3 }), `name "v": n3 is not a layer`},
		{"missing parent of a name", name("v", func(n *Name) { n.Parent = "none" }), `name "v": parent "none" is missing`},
		{"parent that is not committed", name("v", func(n *Name) { n.Parent = "k" }), `name "v": parent "k" is missing or not committed`},
		{"active name without a storage", name("k", func(n *Name) { n.Storage = "" }), `name "k": is active with storage ""`},
		{"view with a storage", name("v", func(n *Name) { n.Storage = "c" }), `name "v": is view with storage "c"`},
		{"missing layer of an update under way", func(g *Graph) { g.updates[1] = Update{ID: 1, From: 1, To: 9, Outcomes: g.updates[1].Outcomes} }, "update u1: n9 is not a layer"},
		{"missing storage of an update under way", func(g *Graph) {
			g.updates[2] = Update{ID: 2, From: 1, To: 2, Outcomes: map[string]Outcome{"none": {State: Staging}}}
		}, `update u2: storage "none" is missing but staging`},
		{"node that nothing needs", func(g *Graph) { g.nodes[7] = Node{ID: 7, Kind: Layer, Frozen: true} }, "n7: nothing needs it"},
		{"miscounted references", func(g *Graph) { g.refs[1]++ }, "reference counts"},
		{"miscounted children", func(g *Graph) { g.children["base"]++ }, "child counts"},
	}
	for _, c := range cases {
		g := sound()
		c.do(g)
		if err := g.Check(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want something that says %q", c.name, err, c.says)
		}
	}
}
