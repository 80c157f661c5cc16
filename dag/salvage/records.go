// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package salvage

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// take reads what was found, one record of each thing.
func (h *salvager) take(r Remains) {
	h.see(r)
	h.found = gather(h, r.Nodes, nodeKey, laterNode)
	h.names = gather(h, r.Names, nameKey, func(a, b dag.Name) int { return a.Updated.Compare(b.Updated) })
	h.storages = gather(h, r.Storages, storageKey, func(a, b dag.Storage) int { return cmp.Compare(a.Head, b.Head) })
	h.updates = gather(h, r.Updates, updateKey, func(a, b dag.Update) int { return a.Updated.Compare(b.Updated) })
	h.nodes = map[dag.NodeID]dag.Node{}
	for _, n := range dag.InOrder(h.found) {
		if !n.Bare && !n.readable() {
			h.mend(n.ID.String(), "its record cannot be used, it is of kind %q", n.Kind)
			n.Bare = true
			h.found[n.ID] = n
		}
		if !n.Bare {
			h.putNode(n.Node)
		}
	}
}

// see notes all ids that any record has, so that none of them is given to something else.
func (h *salvager) see(r Remains) {
	note := func(ids ...dag.NodeID) {
		for _, id := range ids {
			h.seen[id] = true
		}
	}
	for _, n := range r.Nodes {
		note(n.ID, n.Parent, n.Base)
	}
	for _, n := range r.Names {
		note(n.Node)
	}
	for _, s := range r.Storages {
		note(s.States()...)
	}
	for _, u := range r.Updates {
		note(u.From, u.To)
		for _, o := range u.Outcomes {
			note(o.Delta)
		}
	}
	for id := range h.seen {
		h.last = max(h.last, id)
	}
}

func nodeKey(n Remain) (dag.NodeID, string, error) {
	if n.ID == 0 {
		return 0, n.ID.String(), fmt.Errorf("%v cannot name a node: %w", n.ID, errdefs.ErrInvalidArgument)
	}
	return n.ID, n.ID.String(), nil
}

func nameKey(n dag.Name) (string, string, error) {
	if err := dag.ValidName("snapshot", n.Key); err != nil {
		return "", aboutName(n.Key), err
	}
	if n.Kind != dag.Active && n.Kind != dag.View && n.Kind != dag.Committed {
		return "", aboutName(n.Key), fmt.Errorf("it is of kind %q: %w", n.Kind, errdefs.ErrInvalidArgument)
	}
	return n.Key, aboutName(n.Key), nil
}

func storageKey(s dag.Storage) (string, string, error) {
	return s.Name, aboutStorage(s.Name), storageName(s.Name)
}

// storageName refuses names that no storage can have, anonymous or not.
func storageName(name string) error {
	if key, is := dag.AnonymousKey(name); is && key == "" {
		return fmt.Errorf("storage %q has no key: %w", name, errdefs.ErrInvalidArgument)
	}
	return dag.ValidName("storage", name)
}

func updateKey(u dag.Update) (dag.UpdateID, string, error) {
	if u.ID == 0 {
		return 0, aboutUpdate(u.ID), fmt.Errorf("%v cannot name an update: %w", u.ID, errdefs.ErrInvalidArgument)
	}
	return u.ID, aboutUpdate(u.ID), nil
}

// readable reports whether the record of a node says what it is.
func (n Remain) readable() bool {
	return !n.Bare && (n.Kind == dag.Layer || n.Kind == dag.Persisted || n.Kind == dag.Delta)
}

// laterNode orders two records of a node: one that can be read, of a node that is there, frozen at last.
func laterNode(a, b Remain) int {
	rank := func(n Remain) (r int) {
		for _, better := range []bool{n.readable(), !n.Missing, n.Frozen} {
			r *= 2
			if better {
				r++
			}
		}
		return r
	}
	return cmp.Compare(rank(a), rank(b))
}

// gather returns the records of one sort by what they are of. Of several the latest counts; those that are of nothing
// are dropped.
func gather[K interface{ ~uint64 | ~string }, V any](h *salvager, records []V, key func(V) (K, string, error),
	later func(a, b V) int) map[K]V {
	texts, subjects := map[K]string{}, map[K]string{}
	latest, several := map[K]V{}, map[K]bool{}
	for _, r := range records {
		k, subject, err := key(r)
		if err != nil {
			h.mend(subject, "its record cannot be used: %v", err)
			continue
		}
		old, ok := latest[k]
		t := text(r)
		if ok {
			several[k] = several[k] || t != texts[k]
			if cmp.Or(later(r, old), cmp.Compare(t, texts[k])) <= 0 {
				continue
			}
		}
		latest[k], texts[k], subjects[k] = r, t, subject
	}
	for _, k := range slices.Sorted(maps.Keys(several)) {
		if several[k] {
			h.mend(subjects[k], "there are records that differ, the latest counts")
		}
	}
	return latest
}

// text is all that a record says.
func text(record any) string {
	data, err := json.Marshal(record)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// cutCircles cuts every path that leads back to where it began. Ids rise with time: the lowest node of a circle cannot
// stand on a higher one.
func (h *salvager) cutCircles() {
	done := map[dag.NodeID]bool{}
	for _, id := range slices.Sorted(maps.Keys(h.nodes)) {
		var path []dag.NodeID
		at := id
		for ; at != 0 && !done[at]; at = h.nodes[at].Parent {
			done[at] = true
			path = append(path, at)
		}
		if i := slices.Index(path, at); i >= 0 {
			n := h.nodes[slices.Min(path[i:])]
			n.Parent = h.standIn(0, n.Kind, fmt.Sprintf("parent of %v, which stood on itself", n.ID))
			h.putNode(n)
			h.mend(n.ID.String(), "stood on itself, the damaged %v stands in for its parent", n.Parent)
		}
	}
}

// graph puts together what is needed, from the names, storages and updates down.
func (h *salvager) graph() (*dag.Graph, []dag.NodeID) {
	reached := map[dag.NodeID]bool{}
	for _, s := range dag.InOrder(h.storages) {
		h.reach(s.Refs(h.node), reached)
	}
	for _, n := range dag.InOrder(h.names) {
		h.reach(n.Refs(h.node), reached)
	}
	for _, u := range dag.InOrder(h.updates) {
		h.reach(u.Refs(h.node), reached)
	}
	nodes := make([]dag.Node, 0, len(reached))
	for id := range reached {
		nodes = append(nodes, h.nodes[id])
	}
	var unneeded []dag.NodeID
	for _, n := range dag.InOrder(h.found) {
		if !reached[n.ID] {
			unneeded = append(unneeded, n.ID)
		}
	}
	g := dag.New()
	g.Load(nodes, dag.InOrder(h.names), dag.InOrder(h.storages), dag.InOrder(h.updates))
	return g, unneeded
}

// reach mends nodes that are needed, and what they stand on.
func (h *salvager) reach(ids []dag.NodeID, reached map[dag.NodeID]bool) {
	for _, id := range ids {
		for id != 0 && !reached[id] {
			reached[id] = true
			h.mendNode(h.nodes[id])
			id = h.nodes[id].Parent
		}
	}
}

func (h *salvager) mendNode(n dag.Node) {
	if n.Parent != 0 {
		n.Parent = h.need(n.Parent, n.Kind, n.ID.String(), "parent")
	}
	if n.Kind == dag.Layer && n.Base != 0 {
		h.mend(n.ID.String(), "a layer has no base, %v is forgotten", n.Base)
		n.Base = 0
	}
	if frozen := !h.open(n.ID); frozen != n.Frozen {
		if frozen {
			h.mend(n.ID.String(), "is no head of a storage and was open, it is frozen")
		} else {
			h.mend(n.ID.String(), "is the head of storage %q and was frozen, it is open", h.heads[n.ID])
		}
		n.Frozen = frozen
	}
	if h.found[n.ID].Missing && n.Damage == "" {
		n.Damage = "its directory is missing"
		h.mend(n.ID.String(), "is damaged: %s", n.Damage)
	}
	h.putNode(n)
}
