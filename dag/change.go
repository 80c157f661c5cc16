// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag

import (
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/containerd/errdefs"
)

// Change is the difference between a graph and the one a transformation makes of it. A nil value deletes the record.
type Change struct {
	Nodes    map[NodeID]*Node
	Names    map[string]*Name
	Storages map[string]*Storage
	Updates  map[UpdateID]*Update
}

// Unreachable returns the nodes that the change deletes because nothing needs them any longer, by rising id.
func (c Change) Unreachable() []NodeID {
	var ids []NodeID
	for id, n := range c.Nodes {
		if n == nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Transformation is a pure function from a graph to a change of it. It fails, with an errdefs error that says what to
// do, when the graph does not meet its preconditions.
type Transformation interface {
	transform(d *draft) error
}

// Plan computes the change that the transformations make, one after the other, without touching the graph. Each of them
// sees what the ones before it made, and no nodes that nothing needs any longer: those are deleted by the same change.
func (g *Graph) Plan(ts ...Transformation) (Change, error) {
	d := newDraft(g)
	for _, t := range ts {
		if err := t.transform(d); err != nil {
			return Change{}, err
		}
		d.unstage()
		d.markAdded()
		d.sweep()
	}
	return d.Change, nil
}

// Apply carries out a change that was planned on this very graph.
func (g *Graph) Apply(c Change) {
	refs := (&draft{g: g, Change: c}).refCounts()
	for key, n := range c.Names {
		if old, ok := g.names[key]; ok {
			count(g.children, old.Parent, -1)
		}
		if n != nil {
			count(g.children, n.Parent, 1)
		}
	}
	replace(g.nodes, c.Nodes)
	replace(g.names, c.Names)
	replace(g.storages, c.Storages)
	replace(g.updates, c.Updates)
	for id, by := range refs {
		count(g.refs, id, by)
	}
	for name, s := range c.Storages {
		delete(g.rehoming, name)
		if s != nil && s.Rehoming != nil {
			g.rehoming[name] = true
		}
	}
}

// NodeLookup finds a node by its id.
type NodeLookup func(NodeID) (Node, bool)

// referrer is a record that keeps nodes alive.
type referrer interface {
	Refs(node NodeLookup) []NodeID
}

// Refs returns what a node keeps alive: its parent.
func (n Node) Refs(NodeLookup) []NodeID { return []NodeID{n.Parent} }

// Refs returns what a name keeps alive: its node.
func (n Name) Refs(NodeLookup) []NodeID { return []NodeID{n.Node} }

// Refs of a storage are its states and the layers on which they are seen. Whoever changes the base of a state must put
// the storage into the change, too.
func (s Storage) Refs(node NodeLookup) []NodeID {
	var ids []NodeID
	for _, id := range s.States() {
		n, _ := node(id)
		ids = append(ids, id, n.Base)
	}
	return ids
}

// States returns the head of a storage and the heads of the states that are kept.
func (s Storage) States() []NodeID {
	ids := []NodeID{s.Head}
	for _, p := range slices.Concat(s.Points, s.Aside) {
		ids = append(ids, p.Head)
	}
	return ids
}

// Refs of an update are its layers as long as some storage still has to move, or may come to, and the delta storages
// that are ready.
func (u Update) Refs(NodeLookup) (ids []NodeID) {
	underway := u.Standing
	for _, o := range u.Outcomes {
		underway = underway || !o.State.Final()
		if o.Ahead() && o.Delta != 0 {
			ids = append(ids, o.Delta)
		}
	}
	if underway {
		ids = append(ids, u.From, u.To)
	}
	return ids
}

func replace[K comparable, V any](m map[K]V, changed map[K]*V) {
	for k, v := range changed {
		if v == nil {
			delete(m, k)
			continue
		}
		m[k] = *v
	}
}

func countAll(refs map[NodeID]int, ids []NodeID, by int) {
	for _, id := range ids {
		count(refs, id, by)
	}
}

func count[K comparable](m map[K]int, k K, by int) {
	var zero K
	if k == zero {
		return
	}
	if m[k] += by; m[k] == 0 {
		delete(m, k)
	}
}

// draft is a graph seen through a change in the making.
type draft struct {
	g *Graph
	Change
	led map[UpdateID]bool // of updates that have come to lead, or no longer do: which, see [draft.markAdded]
}

func newDraft(g *Graph) *draft {
	return &draft{g: g, led: map[UpdateID]bool{}, Change: Change{
		Nodes:    map[NodeID]*Node{},
		Names:    map[string]*Name{},
		Storages: map[string]*Storage{},
		Updates:  map[UpdateID]*Update{},
	}}
}

func lookup[K comparable, V any](changed map[K]*V, m map[K]V, k K) (V, bool) {
	if v, ok := changed[k]; ok {
		if v == nil {
			var none V
			return none, false
		}
		return *v, true
	}
	v, ok := m[k]
	return v, ok
}

// merged yields the records of one sort as they are once the change is made.
func merged[K comparable, V any](changed map[K]*V, m map[K]V) iter.Seq[V] {
	return func(yield func(V) bool) {
		for k, v := range m {
			if _, ok := changed[k]; !ok && !yield(v) {
				return
			}
		}
		for _, v := range changed {
			if v != nil && !yield(*v) {
				return
			}
		}
	}
}

func (d *draft) node(id NodeID) (Node, bool)         { return lookup(d.Nodes, d.g.nodes, id) }
func (d *draft) name(key string) (Name, bool)        { return lookup(d.Names, d.g.names, key) }
func (d *draft) storage(name string) (Storage, bool) { return lookup(d.Storages, d.g.storages, name) }
func (d *draft) update(id UpdateID) (Update, bool)   { return lookup(d.Updates, d.g.updates, id) }

// add puts a node that is new.
func (d *draft) add(n Node) error {
	if n.ID == 0 {
		return fmt.Errorf("%v cannot name a new node: %w", n.ID, errdefs.ErrInvalidArgument)
	}
	if _, ok := d.node(n.ID); ok {
		return fmt.Errorf("node %v: %w", n.ID, errdefs.ErrAlreadyExists)
	}
	d.putNode(n)
	return nil
}

func (d *draft) putNode(n Node)       { d.Nodes[n.ID] = &n }
func (d *draft) putName(n Name)       { d.Names[n.Key] = &n }
func (d *draft) putStorage(s Storage) { d.Storages[s.Name] = &s }
func (d *draft) putUpdate(u Update)   { d.Updates[u.ID] = &u }

// refCounts returns how often each node is referred to once the change is made.
func (d *draft) refCounts() map[NodeID]int {
	delta := map[NodeID]int{}
	difference(d, delta, d.Nodes, d.g.nodes)
	difference(d, delta, d.Names, d.g.names)
	difference(d, delta, d.Storages, d.g.storages)
	difference(d, delta, d.Updates, d.g.updates)
	return delta
}

func difference[K comparable, V referrer](d *draft, refs map[NodeID]int, changed map[K]*V, m map[K]V) {
	for k, v := range changed {
		if old, ok := m[k]; ok {
			countAll(refs, old.Refs(d.g.Node), -1)
		}
		if v != nil {
			countAll(refs, (*v).Refs(d.node), 1)
		}
	}
}

// referenced returns how many records refer to a node once the change is made.
func (d *draft) referenced(id NodeID) int { return d.g.refs[id] + d.refCounts()[id] }

// sweep deletes what the change has left without a reference, and what only that referred to. Its cost follows the size
// of the change, not of the graph.
func (d *draft) sweep() {
	delta := d.refCounts()
	todo := slices.Collect(maps.Keys(delta))
	for id, n := range d.Nodes {
		if n != nil {
			todo = append(todo, id)
		}
	}
	for len(todo) > 0 {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		n, ok := d.node(id)
		if !ok || d.g.refs[id]+delta[id] > 0 {
			continue
		}
		d.Nodes[id] = nil
		below := n.Refs(d.node)
		countAll(delta, below, -1)
		todo = append(todo, below...)
	}
}
