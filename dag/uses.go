// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag

import "slices"

// LayerUse is the part of a layer in updates and under storages.
type LayerUse struct {
	// Base is set for a layer that a storage with a name, or one that moved, stands on, and for the two ends of an
	// update.
	Base bool
	// Updates lead to the layer, by rising id: it is their new base, or one of the layers they add below it.
	Updates []UpdateID
}

// LayerUses returns the layers that are part of an update or that storages stand on. Updates that were given up,
// withdrawn or rolled back for all their storages do not count, and neither do anonymous storages that never moved.
func LayerUses(g *Graph) map[NodeID]LayerUse {
	uses := map[NodeID]LayerUse{}
	base := func(id NodeID) {
		if _, there := g.nodes[id]; there {
			use := uses[id]
			use.Base = true
			uses[id] = use
		}
	}
	for _, s := range g.storages {
		if !s.Anonymous || g.Moved(s) {
			base(g.Base(s))
		}
	}
	for _, u := range g.updates {
		if !u.leads() {
			continue
		}
		base(u.From)
		base(u.To)
		for _, id := range leadsTo(g, u) {
			use := uses[id]
			use.Updates = append(use.Updates, u.ID)
			uses[id] = use
		}
	}
	for _, use := range uses {
		slices.Sort(use.Updates)
	}
	return uses
}

// Moved reports whether an update has moved a storage, or is to move it at its next start.
func (g *Graph) Moved(s Storage) bool {
	return g.nodes[s.Head].Parent != 0 || len(s.Points) > 0 || len(s.Aside) > 0 || s.Pending != nil
}

// leads reports whether an update leads, or may still lead, some storage or new container to its new base.
func (u Update) leads() bool {
	if u.effective() {
		return true
	}
	for _, o := range u.Outcomes {
		if !o.State.Final() || o.State == Held {
			return true
		}
	}
	return false
}

// leadsTo returns the layers that an update adds to its old base, or its new base alone where that does not extend
// the old one. Layers that are gone are left out.
func leadsTo(g *Graph, u Update) []NodeID {
	chain := g.Chain(u.To)
	if added := slices.Index(chain, u.From); added >= 0 {
		return chain[:added]
	}
	return chain[:min(1, len(chain))]
}

// CommittedKeys returns the keys of the committed names of each layer that has one, in order.
func CommittedKeys(g *Graph) map[NodeID][]string {
	keys := map[NodeID][]string{}
	for _, n := range g.names {
		if n.Kind == Committed {
			keys[n.Node] = append(keys[n.Node], n.Key)
		}
	}
	for _, k := range keys {
		slices.Sort(k)
	}
	return keys
}
