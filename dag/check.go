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
	c := &checker{g: g}
	c.nodes()
	c.names()
	c.storages()
	c.updates()
	c.indexes()
	return errors.Join(c.errs...)
}

// checker collects what is wrong with a graph.
type checker struct {
	g    *Graph
	errs []error
}

func (c *checker) fail(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf(format, args...))
}

func (c *checker) nodes() {
	heads := map[NodeID]int{}
	for _, s := range c.g.storages {
		heads[s.Head]++
	}
	for _, n := range c.g.Nodes() {
		if n.Frozen != (heads[n.ID] == 0) || heads[n.ID] > 1 {
			c.fail("%v: frozen is %v but it is the head of %d storages", n.ID, n.Frozen, heads[n.ID])
		}
		c.edges(n)
		if c.circular(n.ID) {
			c.fail("%v: depends on itself", n.ID)
		}
	}
	for _, id := range c.g.Unreachable() {
		c.fail("%v: nothing needs it", id)
	}
}

func (c *checker) edges(n Node) {
	if n.Base != 0 && n.Kind == Layer {
		c.fail("%v: a %s cannot have base %v", n.ID, n.Kind, n.Base)
	}
	if n.Parent == 0 {
		return
	}
	p, ok := c.g.nodes[n.Parent]
	switch {
	case !ok:
		c.fail("%v: parent %v is missing", n.ID, n.Parent)
	case (p.Kind == Layer) != (n.Kind == Layer):
		c.fail("%v: a %s cannot stand on the %s %v", n.ID, n.Kind, p.Kind, p.ID)
	case !p.Frozen:
		c.fail("%v: parent %v is not frozen", n.ID, p.ID)
	}
}

func (c *checker) circular(start NodeID) bool {
	seen := map[NodeID]bool{}
	for id := start; id != 0; id = c.g.nodes[id].Parent {
		if seen[id] {
			return true
		}
		seen[id] = true
	}
	return false
}

func (c *checker) names() {
	for _, n := range c.g.Names() {
		if n.Node != 0 && c.g.nodes[n.Node].Kind != Layer {
			c.fail("name %q: %v is not a layer", n.Key, n.Node)
		}
		if p, ok := c.g.names[n.Parent]; n.Parent != "" && (!ok || p.Kind != Committed) {
			c.fail("name %q: parent %q is missing or not committed", n.Key, n.Parent)
		}
		if _, ok := c.g.storages[n.Storage]; (n.Kind == Active) != ok {
			c.fail("name %q: is %s with storage %q", n.Key, n.Kind, n.Storage)
		}
	}
}

func (c *checker) storages() {
	for _, s := range c.g.Storages() {
		if n, ok := c.g.nodes[s.Head]; !ok || n.Kind != Persisted {
			c.fail("storage %q: head %v is missing or a %s", s.Name, s.Head, n.Kind)
		}
		if n, ok := c.g.names[s.Key]; (s.Key != "" || s.Anonymous && s.Rehoming == nil) &&
			(!ok || n.Storage != s.Name) {
			c.fail("storage %q: key %q is missing or has storage %q", s.Name, s.Key, n.Storage)
		}
		for _, id := range s.States() {
			if n, ok := c.g.nodes[id]; !ok || n.Kind == Layer || id != s.Head && !n.Frozen {
				c.fail("storage %q: state %v is missing, not frozen or a %s", s.Name, id, n.Kind)
			} else if n.Base != 0 && c.g.nodes[n.Base].Kind != Layer {
				c.fail("storage %q: base %v of %v is missing or not a layer", s.Name, n.Base, id)
			}
		}
		if s.Pending == nil {
			continue
		}
		if _, ok := c.g.updates[s.Pending.Update]; !ok {
			c.fail("storage %q: waits for update %v, which is missing", s.Name, s.Pending.Update)
		}
	}
}

func (c *checker) updates() {
	for _, u := range c.g.Updates() {
		for name, o := range u.Outcomes {
			s, ok := c.g.storages[name]
			if !ok && (!o.State.Final() || o.State == Announced) {
				c.fail("update %v: storage %q is missing but %s", u.ID, name, o.State)
			}
			for _, id := range []NodeID{u.From, u.To} {
				if id != 0 && !o.State.Final() && c.g.nodes[id].Kind != Layer {
					c.fail("update %v: %v is not a layer", u.ID, id)
				}
			}
			if o.Ahead() && !u.Ready(c.g.Node, s, o) {
				c.fail("update %v: what is staged for storage %q (%v below %v) is not for its head %v", u.ID, name,
					o.Delta, o.Open, s.Head)
			}
		}
	}
}

// indexes compares what is counted along with the changes to what is counted afresh.
func (c *checker) indexes() {
	fresh := New()
	fresh.Load(c.g.Nodes(), c.g.Names(), c.g.Storages(), c.g.Updates())
	if !maps.Equal(fresh.refs, c.g.refs) {
		c.fail("reference counts %v should be %v", c.g.refs, fresh.refs)
	}
	if !maps.Equal(fresh.rehoming, c.g.rehoming) {
		c.fail("the storages that are re-homed are %v, and should be %v", c.g.rehoming, fresh.rehoming)
	}
	if !maps.Equal(fresh.children, c.g.children) {
		c.fail("child counts %v should be %v", c.g.children, fresh.children)
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
				mark(n.Refs(g.Node))
			}
		}
	}
	for _, n := range g.names {
		mark(n.Refs(g.Node))
	}
	for _, s := range g.storages {
		mark(s.Refs(g.Node))
	}
	for _, u := range g.updates {
		mark(u.Refs(g.Node))
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
