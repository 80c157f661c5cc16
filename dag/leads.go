// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/containerd/errdefs"
)

// Lead is where the updates from a layer lead.
type Lead struct {
	To     NodeID
	Update UpdateID // the last one on the way
}

// Leads are where the updates of a graph lead, from each layer. They hold for the graph as it was when they were asked
// for.
type Leads struct {
	g  *Graph
	to map[baseKey]Lead
}

// baseKey is equal for layers that are the same base, see [Graph.SameBase].
type baseKey struct {
	origin string
	node   NodeID
}

func keyOfBase(g *Graph, id NodeID) baseKey {
	if n := g.nodes[id]; n.Origin != "" {
		return baseKey{origin: n.Origin}
	}
	return baseKey{node: id}
}

// Leads follows the updates in effect, from each layer the latest one. An update is in effect when it was applied to
// some storage and not undone there, or needed none, and an operator has not rolled it back as a whole. What followed
// the specification of one container leads no other container. Layers on the way may be gone, removed or merged.
func (g *Graph) Leads() Leads {
	leads := Leads{g: g, to: map[baseKey]Lead{}}
	for _, u := range slices.Backward(g.Updates()) {
		from := keyOfBase(g, u.From)
		if _, later := leads.to[from]; later || !u.effective() {
			continue
		}
		lead := Lead{To: u.To, Update: u.ID}
		if further, ok := leads.to[keyOfBase(g, u.To)]; ok {
			lead = further
		}
		if _, there := g.nodes[lead.To]; there {
			leads.to[from] = lead
		}
	}
	return leads
}

// From returns where the updates from a layer lead. It reports false when they lead nowhere else.
func (l Leads) From(layer NodeID) (Lead, bool) {
	lead, ok := l.to[keyOfBase(l.g, layer)]
	return lead, ok && !l.g.SameBase(lead.To, layer)
}

// Newest returns the layer on which a new container of a base stands when it follows the updates in effect, see
// [Graph.Leads]; the layer itself when they lead nowhere else.
func (g *Graph) Newest(layer NodeID) NodeID {
	if lead, ok := g.Leads().From(layer); ok {
		return lead.To
	}
	return layer
}

// effective reports whether an update is in effect for new containers.
func (u Update) effective() bool {
	if u.Retracted || u.Cause == ByBind {
		return false
	}
	for _, o := range u.Outcomes {
		if o.State == Applied {
			return true
		}
	}
	return u.State == Applied
}

// leading reports whether an update was applied to some storage, or is under way: the layers that it adds to its old
// base are delta layers.
func (u Update) leading() bool {
	for _, o := range u.Outcomes {
		if o.State == Applied || !o.State.Final() {
			return true
		}
	}
	return u.Standing || len(u.Outcomes) == 0 && u.State == Applied
}

// added returns the layers that an update puts on top of the base that it extends; none when its new base has a chain
// of its own, or is gone.
func (u Update) added(node NodeLookup) []NodeID {
	chain := Down(node, u.To)
	return chain[:max(0, slices.Index(chain, u.From))]
}

// markAdded marks the layers of updates that have come to lead, or no longer lead, as what they are.
func (d *draft) markAdded() {
	for _, id := range slices.Sorted(maps.Keys(d.Updates)) {
		before := d.g.updates[id]
		u, there := d.update(id)
		was, known := d.led[id]
		if !known {
			was = before.ID != 0 && before.leading()
		}
		leads := there && u.leading()
		if was == leads {
			continue
		}
		d.led[id] = leads
		if !there {
			u = before
		}
		d.mark(u.added(d.node))
	}
}

// mark marks layers as delta layers where a leading update adds them, and as base layers elsewhere.
func (d *draft) mark(layers []NodeID) {
	if len(layers) == 0 {
		return
	}
	added := map[NodeID]bool{}
	for u := range merged(d.Updates, d.g.updates) {
		if u.leading() {
			for _, id := range u.added(d.node) {
				added[id] = true
			}
		}
	}
	for _, id := range layers {
		if n, ok := d.node(id); ok && n.Added != added[id] {
			n.Added = added[id]
			d.putNode(n)
		}
	}
}

// EndUpdate has an update take in no further storages. With Retract an operator has rolled it back as a whole: it leads
// no new container to its new base either, whatever is left of it.
type EndUpdate struct {
	Update  UpdateID
	Retract bool
	Now     time.Time
}

func (t EndUpdate) transform(d *draft) error {
	u, ok := d.update(t.Update)
	if !ok {
		return fmt.Errorf("update %v: %w", t.Update, errdefs.ErrNotFound)
	}
	u.Standing, u.Updated = false, t.Now
	if t.Retract {
		u.Retracted = true
		if len(u.Outcomes) == 0 {
			u.State = RolledBack
		}
	}
	d.putUpdate(u)
	return nil
}

// Joining returns the storages that a standing update is still to take in, by name: those that came to stand on its old
// base and wait for nothing. A storage that the update took in before is left alone, whatever became of it. Storages
// without a name are among them if the update is also of those.
func (u Update) Joining(g *Graph) (names []string) {
	if !u.Standing {
		return nil
	}
	for name, s := range g.storages {
		if u.Joins(g, s) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// HasStanding reports whether there is a standing update.
func (g *Graph) HasStanding() bool {
	for _, u := range g.updates {
		if u.Standing {
			return true
		}
	}
	return false
}

// Joins reports whether a standing update is still to take in a storage, see [Update.Joining].
func (u Update) Joins(g *Graph, s Storage) bool {
	return u.Standing && s.Pending == nil && s.Rehoming == nil && u.Covers(s) && !u.Took(s) &&
		g.SameBase(g.Base(s), u.From)
}

// Covers reports whether an update is of storages like this one.
func (u Update) Covers(s Storage) bool { return !s.Anonymous || u.Anonymous }

// Took reports whether an update has an outcome for a storage: for this one, not for one of the name that was removed
// before.
func (u Update) Took(s Storage) bool {
	o, in := u.Outcomes[s.Name]
	return in && !o.Gone
}

// Begun reports whether a storage that stands on the new base of an update was begun there, or forked from one that was
// moved there: no update has moved it there itself.
func (u Update) Begun(g *Graph, s Storage) bool {
	if !g.SameBase(g.Base(s), u.To) {
		return false
	}
	for _, by := range g.updates {
		if by.Took(s) && by.Outcomes[s.Name].State == Applied && g.SameBase(by.To, u.To) {
			return false
		}
	}
	return true
}

// HeldBy returns, by storage, the latest update that is held for it and would move it from where it stands. The layer
// to which it would may be gone.
func (g *Graph) HeldBy() map[string]UpdateID {
	held := map[string]UpdateID{}
	for _, u := range g.Updates() {
		for name, o := range u.Outcomes {
			switch {
			case o.State == Held && g.SameBase(u.From, g.Base(g.storages[name])):
				held[name] = u.ID
			case o.State == Applied || o.State == RolledBack:
				delete(held, name)
			}
		}
	}
	return held
}
