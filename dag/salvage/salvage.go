// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package salvage makes a sound graph of the records that are left when the database of a graph is lost, damaged or
// older than they are. It is pure: what was found comes in, a graph and an account of what had to be done go out.
package salvage

import (
	"fmt"
	"time"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// Remains are the records of a graph that were found without its database, in no order. Some may be missing, there
// twice, older than others, or damaged.
type Remains struct {
	Nodes    []Remain
	Names    []dag.Name
	Storages []dag.Storage
	Updates  []dag.Update
}

// Remain is a node that was found: its record, and what else is known of it.
type Remain struct {
	dag.Node
	// Storage is the storage whose head the node is or was, empty if that is not known.
	Storage string
	// Key is the name that the node was made for, empty if that is not known.
	Key string
	// Missing reports that there is a record and no directory.
	Missing bool
	// Bare reports that there is a directory without a record that can be read. Nothing but the id is known.
	Bare bool
}

// Mend is something that had to be done to make a sound graph of what was found.
type Mend struct {
	Subject string // a node, a name, a storage or an update, as people call it
	What    string
}

// String says it in a sentence.
func (m Mend) String() string { return m.Subject + ": " + m.What }

// Graph makes a graph that passes [dag.Graph.Check] of what was found, and loses no storage of which the record or the
// open node is left. It returns the graph, what had to be done, and the ids of the nodes that were found and that
// nothing needs, by rising id: they are not in the graph, and their directories are to be set aside, not deleted.
// Complete records give the graph that they were written from, and no mends. Where a node is needed and not there, a
// damaged one stands in for it, so that everything that does not depend on it can be used. The order of the records
// does not matter.
func Graph(r Remains, now time.Time) (*dag.Graph, []Mend, []dag.NodeID) {
	h := &salvager{now: now, seen: map[dag.NodeID]bool{}, heads: map[dag.NodeID]string{}}
	h.take(r)
	h.cutCircles()
	f := &finder{h: h, ofStorage: map[string][]dag.NodeID{}, ofKey: map[string][]dag.NodeID{}}
	f.sortNodes()
	f.claimHeads()
	f.findHeads()
	f.findStorages()
	f.findHeads() // more nodes are known to be frozen, now that more storages are known to stand on them
	f.replaceHeads()
	h.mendStates()
	h.mendKeys()
	h.mendNames()
	h.mendUpdates()
	g, unneeded := h.graph()
	return g, h.mends, unneeded
}

// salvager is a graph in the making.
type salvager struct {
	now      time.Time
	found    map[dag.NodeID]Remain
	nodes    map[dag.NodeID]dag.Node // those of which there is a record, and those that stand in
	names    map[string]dag.Name
	storages map[string]dag.Storage
	updates  map[dag.UpdateID]dag.Update
	heads    map[dag.NodeID]string // the storage of each open node
	seen     map[dag.NodeID]bool   // all ids that were ever read
	last     dag.NodeID            // the highest of them
	mends    []Mend
}

func (h *salvager) mend(subject, format string, args ...any) {
	h.mends = append(h.mends, Mend{Subject: subject, What: fmt.Sprintf(format, args...)})
}

func aboutName(key string) string          { return fmt.Sprintf("name %q", key) }
func aboutStorage(name string) string      { return fmt.Sprintf("storage %q", name) }
func aboutUpdate(id dag.UpdateID) string   { return "update " + id.String() }
func (h *salvager) putNode(n dag.Node)     { h.nodes[n.ID] = n }
func (h *salvager) put(s dag.Storage)      { h.storages[s.Name] = s }
func (h *salvager) has(s string) bool      { _, ok := h.storages[s]; return ok }
func (h *salvager) open(n dag.NodeID) bool { _, ok := h.heads[n]; return ok }

func (h *salvager) node(id dag.NodeID) (dag.Node, bool) { n, ok := h.nodes[id]; return n, ok }

// stack returns the nodes under and including one. Circles are cut before.
func (h *salvager) stack(id dag.NodeID) []dag.NodeID { return dag.Down(h.node, id) }

// fresh returns an id above all that were seen.
func (h *salvager) fresh() dag.NodeID {
	for {
		h.last++ // begins again at 0 where a damaged record has the highest id there can be
		if h.last != 0 && !h.seen[h.last] {
			return h.last
		}
	}
}

// need returns the node that a record refers to. When that is not there, or cannot be meant, it is a damaged one that
// stands in for it: for a layer, or for a frozen node of a storage.
func (h *salvager) need(id dag.NodeID, kind dag.NodeKind, subject, what string) dag.NodeID {
	n, ok := h.nodes[id]
	switch {
	case ok && (n.Kind == dag.Layer) == (kind == dag.Layer) && !h.open(id):
		return id
	case ok && h.open(id) && kind != dag.Layer:
		id = h.standIn(0, kind, fmt.Sprintf("%s was %v, which is the open node of storage %q", what, id, h.heads[id]))
		h.mend(subject, "its %s was open, the damaged %v stands in for it", what, id)
	case ok:
		id = h.standIn(0, kind, fmt.Sprintf("%s was %v, which is a %s", what, id, n.Kind))
		h.mend(subject, "its %s was a %s, the damaged %v stands in for it", what, n.Kind, id)
	default:
		id = h.standIn(id, kind, h.absence(id))
		h.mend(subject, "its %s is lost, the damaged %v stands in for it", what, id)
	}
	return id
}

// absence says why a node is not there.
func (h *salvager) absence(id dag.NodeID) string {
	if h.found[id].Bare {
		return "its record cannot be read"
	}
	return "nothing of it was found"
}

// standIn makes a damaged node, with an id of its own when 0 is given.
func (h *salvager) standIn(id dag.NodeID, kind dag.NodeKind, why string) dag.NodeID {
	if id == 0 {
		id = h.fresh()
	}
	if kind != dag.Layer {
		kind = dag.Persisted
	}
	h.putNode(dag.Node{ID: id, Kind: kind, Frozen: true, Damage: dag.LostDamage(why), Created: h.now})
	return id
}
