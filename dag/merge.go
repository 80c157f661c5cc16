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

// Pair is two nodes that can be merged: Upper stands directly on Lower.
type Pair struct{ Lower, Upper NodeID }

// Mergeable returns the pairs that a merge may collapse now, the lowest first: two layers of which the lower one is a
// delta layer that no storage, rollback point or name stands on, or two frozen nodes of a storage of which no rollback
// point needs the lower one. In both, the upper one is all that stands on the lower one.
func (g *Graph) Mergeable() []Pair {
	var pairs []Pair
	for _, n := range g.Nodes() {
		p := Pair{Lower: n.Parent, Upper: n.ID}
		if mergeable(newDraft(g), p) == nil {
			pairs = append(pairs, p)
		}
	}
	sortByDepth(g, pairs, func(p Pair) NodeID { return p.Lower })
	return pairs
}

func mergeable(d *draft, p Pair) error {
	lower, ok := d.node(p.Lower)
	upper, ok2 := d.node(p.Upper)
	switch {
	case !ok || !ok2 || upper.Parent != lower.ID:
		return fmt.Errorf("%v does not stand on %v: %w", p.Upper, p.Lower, errdefs.ErrFailedPrecondition)
	case !upper.Frozen || !lower.Frozen:
		return fmt.Errorf("%v is still written to: %w", p.Upper, errdefs.ErrFailedPrecondition)
	case d.referenced(lower.ID) > 1:
		return fmt.Errorf("%v is needed by more than %v: %w", p.Lower, p.Upper, errdefs.ErrFailedPrecondition)
	case lower.Kind == Delta && upper.Kind == Persisted && d.referenced(lower.Parent) > 1:
		// What the update did and what was written since stay apart as long as the update can be rolled back: carrying
		// over takes just the latter.
		return fmt.Errorf("%v is kept apart for a rollback: %w", p.Lower, errdefs.ErrFailedPrecondition)
	case lower.Kind == Layer && !lower.Added:
		return fmt.Errorf("%v is a base layer, not a delta layer: %w", p.Lower, errdefs.ErrFailedPrecondition)
	case upper.Kind == Layer && d.named(upper.ID):
		return fmt.Errorf("%v is known to containerd by name: %w", p.Upper, errdefs.ErrFailedPrecondition)
	case lower.Damage != "" || upper.Damage != "":
		return fmt.Errorf("%v or %v is damaged: %w", p.Lower, p.Upper, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// named reports whether containerd knows a layer by a committed name.
func (d *draft) named(id NodeID) bool {
	for n := range merged(d.Names, d.g.names) {
		if n.Kind == Committed && n.Node == id {
			return true
		}
	}
	return false
}

// Merge puts one node in the place of two. What stood on the upper one stands on it; no view changes.
type Merge struct {
	Pair
	Into         NodeID
	Size, Inodes int64
	Now          time.Time
}

func (t Merge) transform(d *draft) error {
	if err := mergeable(d, t.Pair); err != nil {
		return err
	}
	lower, _ := d.node(t.Lower)
	upper, _ := d.node(t.Upper)
	into := Node{
		ID: t.Into, Kind: upper.Kind, Parent: lower.Parent, Base: upper.Base, Frozen: true, Added: lower.Added,
		Origin: upper.Origin, Size: t.Size, Inodes: t.Inodes, Created: t.Now,
	}
	if lower.Kind == Persisted {
		into.Kind = Persisted
	}
	if err := d.add(into); err != nil {
		return err
	}
	d.redirect(upper.ID, into.ID)
	d.Nodes[upper.ID], d.Nodes[lower.ID] = nil, nil
	return nil
}

// BasesAbove returns the bases of all states of storages that contain a storage node, by rising id: whatever shows the
// node shows it over one of them.
func (g *Graph) BasesAbove(id NodeID) []NodeID {
	bases := map[NodeID]bool{}
	for _, s := range g.storages {
		for _, state := range s.States() {
			if slices.Contains(g.Stack(state), id) {
				bases[g.nodes[state].Base] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(bases))
}

// redirect makes every record that refers to a node refer to another one.
func (d *draft) redirect(from, to NodeID) {
	swap := func(ids ...*NodeID) (changed bool) {
		for _, id := range ids {
			if *id == from {
				*id, changed = to, true
			}
		}
		return changed
	}
	// Storages come first: which of them are concerned depends on the nodes as they were.
	for s := range merged(d.Storages, d.g.storages) {
		if slices.Contains(s.Refs(d.node), from) {
			d.putStorage(s.redirected(swap))
		}
	}
	for n := range merged(d.Nodes, d.g.nodes) {
		if swap(&n.Parent, &n.Base) {
			d.putNode(n)
		}
	}
	for n := range merged(d.Names, d.g.names) {
		if swap(&n.Node) {
			d.putName(n)
		}
	}
	for u := range merged(d.Updates, d.g.updates) {
		changed := swap(&u.From, &u.To)
		for name, o := range u.Outcomes {
			if o.Ahead() && swap(&o.Delta) {
				u, changed = u.With(name, o), true
			}
		}
		if changed {
			d.putUpdate(u)
		}
	}
}

func (s Storage) redirected(swap func(...*NodeID) bool) Storage {
	s.Points, s.Aside = slices.Clone(s.Points), slices.Clone(s.Aside)
	swap(&s.Head)
	for _, points := range [][]Point{s.Points, s.Aside} {
		for i := range points {
			swap(&points[i].Head)
		}
	}
	return s
}
