// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag

import (
	"errors"
	"fmt"
	"maps"
)

// Check returns every violation of the graph's invariants, joined, or nil:
//
//   - every reference leads to a node of the right kind, and no path leads back to where it began;
//   - the open nodes are exactly the heads of the storages, one each; all others are frozen;
//   - an active name and the storage that it holds know each other; an anonymous storage has its key;
//   - every node is needed by a name, a node, a storage, a rollback point or an update under way.
func (g *Graph) Check() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	g.checkNodes(fail)
	g.checkNames(fail)
	g.checkStorages(fail)
	g.checkUpdates(fail)
	g.checkIndexes(fail)
	return errors.Join(errs...)
}

type failf func(format string, args ...any)

func (g *Graph) checkNodes(fail failf) {
	heads := map[NodeID]int{}
	for _, s := range g.storages {
		heads[s.Head]++
	}
	for _, n := range g.Nodes() {
		if n.Frozen != (heads[n.ID] == 0) || heads[n.ID] > 1 {
			fail("%v: frozen is %v but it is the head of %d storages", n.ID, n.Frozen, heads[n.ID])
		}
		g.checkEdges(n, fail)
		if g.circular(n.ID) {
			fail("%v: depends on itself", n.ID)
		}
	}
	for _, id := range g.Unreachable() {
		fail("%v: nothing needs it", id)
	}
}

func (g *Graph) checkEdges(n Node, fail failf) {
	if n.Base != 0 && n.Kind == Layer {
		fail("%v: a %s cannot have base %v", n.ID, n.Kind, n.Base)
	}
	if n.Parent == 0 {
		return
	}
	p, ok := g.nodes[n.Parent]
	switch {
	case !ok:
		fail("%v: parent %v is missing", n.ID, n.Parent)
	case (p.Kind == Layer) != (n.Kind == Layer):
		fail("%v: a %s cannot stand on the %s %v", n.ID, n.Kind, p.Kind, p.ID)
	case !p.Frozen:
		fail("%v: parent %v is not frozen", n.ID, p.ID)
	}
}

func (g *Graph) circular(start NodeID) bool {
	seen := map[NodeID]bool{}
	for id := start; id != 0; id = g.nodes[id].Parent {
		if seen[id] {
			return true
		}
		seen[id] = true
	}
	return false
}

func (g *Graph) checkNames(fail failf) {
	for _, n := range g.Names() {
		if n.Node != 0 && g.nodes[n.Node].Kind != Layer {
			fail("name %q: %v is not a layer", n.Key, n.Node)
		}
		if p, ok := g.names[n.Parent]; n.Parent != "" && (!ok || p.Kind != Committed) {
			fail("name %q: parent %q is missing or not committed", n.Key, n.Parent)
		}
		if _, ok := g.storages[n.Storage]; (n.Kind == Active) != ok {
			fail("name %q: is %s with storage %q", n.Key, n.Kind, n.Storage)
		}
	}
}

func (g *Graph) checkStorages(fail failf) {
	for _, s := range g.Storages() {
		if n, ok := g.nodes[s.Head]; !ok || n.Kind != Persisted {
			fail("storage %q: head %v is missing or a %s", s.Name, s.Head, n.Kind)
		}
		if n, ok := g.names[s.Key]; (s.Key != "" || s.Anonymous && s.Rehoming == nil) && (!ok || n.Storage != s.Name) {
			fail("storage %q: key %q is missing or has storage %q", s.Name, s.Key, n.Storage)
		}
		for _, id := range s.states() {
			if n, ok := g.nodes[id]; !ok || n.Kind == Layer || id != s.Head && !n.Frozen {
				fail("storage %q: state %v is missing, not frozen or a %s", s.Name, id, n.Kind)
			} else if n.Base != 0 && g.nodes[n.Base].Kind != Layer {
				fail("storage %q: base %v of %v is missing or not a layer", s.Name, n.Base, id)
			}
		}
		if s.Pending == nil {
			continue
		}
		if _, ok := g.updates[s.Pending.Update]; !ok {
			fail("storage %q: waits for update %v, which is missing", s.Name, s.Pending.Update)
		}
	}
}

func (g *Graph) checkUpdates(fail failf) {
	for _, u := range g.Updates() {
		for name, o := range u.Outcomes {
			s, ok := g.storages[name]
			if !ok && (!o.State.Final() || o.State == Announced) {
				fail("update %v: storage %q is missing but %s", u.ID, name, o.State)
			}
			for _, id := range []NodeID{u.From, u.To} {
				if id != 0 && !o.State.Final() && g.nodes[id].Kind != Layer {
					fail("update %v: %v is not a layer", u.ID, id)
				}
			}
			if o.ahead() && !u.ready(g.Node, s, o) {
				fail("update %v: what is staged for storage %q (%v below %v) is not for its head %v", u.ID, name, o.Delta, o.Open, s.Head)
			}
		}
	}
}

// checkIndexes compares what is counted along with the changes to what is counted afresh.
func (g *Graph) checkIndexes(fail failf) {
	fresh := New()
	fresh.Load(g.Nodes(), g.Names(), g.Storages(), g.Updates())
	if !maps.Equal(fresh.refs, g.refs) {
		fail("reference counts %v should be %v", g.refs, fresh.refs)
	}
	if !maps.Equal(fresh.rehoming, g.rehoming) {
		fail("the storages that are re-homed are %v, and should be %v", g.rehoming, fresh.rehoming)
	}
	if !maps.Equal(fresh.children, g.children) {
		fail("child counts %v should be %v", g.children, fresh.children)
	}
}

// Unreachable returns the nodes that no name, storage, rollback point or update under way leads to. It is empty after
// every change, and serves to check that.
func (g *Graph) Unreachable() []NodeID {
	reached := map[NodeID]bool{}
	var mark func(ids []NodeID)
	mark = func(ids []NodeID) {
		for _, id := range ids {
			n, ok := g.nodes[id]
			if ok && !reached[id] {
				reached[id] = true
				mark(n.refs(g.Node))
			}
		}
	}
	for _, n := range g.names {
		mark(n.refs(g.Node))
	}
	for _, s := range g.storages {
		mark(s.refs(g.Node))
	}
	for _, u := range g.updates {
		mark(u.refs(g.Node))
	}
	var ids []NodeID
	for _, n := range g.Nodes() {
		if !reached[n.ID] {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

// Load fills an empty graph with records, for a store.
func (g *Graph) Load(nodes []Node, names []Name, storages []Storage, updates []Update) {
	d := newDraft(g)
	for _, n := range nodes {
		d.putNode(n)
	}
	for _, n := range names {
		d.putName(n)
	}
	for _, s := range storages {
		d.putStorage(s)
	}
	for _, u := range updates {
		d.putUpdate(u)
	}
	g.Apply(d.Change)
}
