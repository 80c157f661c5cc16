// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// claimHeads gives each open node to one of the storages that have it.
func (h *healer) claimHeads() {
	h.dropRenamed()
	h.settleCommits()
	claims := map[NodeID][]string{}
	for _, s := range sorted(h.storages) {
		if n, ok := h.nodes[s.Head]; ok && n.Kind == Persisted {
			claims[s.Head] = append(claims[s.Head], s.Name)
		}
	}
	for id, names := range claims {
		h.heads[id] = names[0]
		if said := h.found[id].Storage; slices.Contains(names, said) {
			h.heads[id] = said
		}
	}
}

// findHeads gives storages whose head is lost, or whose record is older than their nodes, the open node that they have.
func (h *healer) findHeads() {
	below := h.below()
	for _, s := range sorted(h.storages) {
		id := h.candidate(s, below)
		switch {
		case id == 0:
		case h.heads[s.Head] != s.Name:
			h.mend(aboutStorage(s.Name), "its head %v is lost or that of another storage, it goes on with %v", s.Head, id)
			s.Head = id
			h.heads[id] = s.Name
			h.put(s)
		case h.nodes[s.Head].Frozen, below[s.Head] && slices.Contains(h.stack(id), s.Head):
			h.advance(s, id)
		}
	}
}

// candidate returns the newest open node without a storage that is known to be of this one, or to be made for its key when
// it had no name yet; 0 if there is none.
func (h *healer) candidate(s Storage, below map[NodeID]bool) (head NodeID) {
	for _, id := range slices.Concat(h.ofStorage[s.Name], h.ofKey[s.Key]) {
		r := h.found[id]
		own := r.Storage == s.Name || s.Key != "" && (r.Storage == "" || r.Storage == AnonymousName(s.Key) && !h.has(r.Storage))
		if own && h.unclaimed(id) && !below[id] {
			head = max(head, id)
		}
	}
	return head
}

// unclaimed tells whether a node is open and no storage has it.
func (h *healer) unclaimed(id NodeID) bool {
	n, ok := h.nodes[id]
	return ok && n.Kind == Persisted && !n.Frozen && !h.open(id)
}

// below returns the nodes that must be frozen, because something stands on them or returns to them.
func (h *healer) below() map[NodeID]bool {
	below := map[NodeID]bool{}
	for _, s := range h.storages {
		for _, id := range s.states() {
			if id != s.Head {
				below[id] = true
			}
			h.addBelow(below, id)
		}
	}
	return below
}

func (h *healer) addBelow(below map[NodeID]bool, id NodeID) {
	for _, lower := range h.stack(h.nodes[id].Parent) {
		below[lower] = true
	}
}

// findStorages brings back storages whose record is lost and whose open node is there: the newest one, if several are, and
// what is in the others as storages of their own.
func (h *healer) findStorages() {
	below, keys, back := h.below(), h.keysOfStorages(), map[string]bool{}
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(h.found))) {
		name := h.storageOf(h.found[id])
		if name == "" || h.has(name) && !back[name] || !h.unclaimed(id) || below[id] {
			continue
		}
		s := Storage{Name: name, Head: id, Created: h.nodes[id].Created}
		if back[name] {
			s.Name = h.freeName(s)
			h.mend(aboutStorage(name), "%v was its open node, too", id)
		} else {
			s.Key = h.keyOf(name, h.found[id].Key, keys)
		}
		back[name], keys.taken[s.Key] = true, true
		h.put(s)
		h.heads[id] = s.Name
		h.addBelow(below, id)
		h.mend(aboutStorage(s.Name), "comes back with %v; its rollback points and its settings are lost", id)
	}
}

// freeName returns a name of its own for a storage that cannot have its name.
func (h *healer) freeName(s Storage) string {
	name := strings.TrimLeft(s.Name, anonymous)
	for name == "" || h.has(name) {
		name += "-" + s.Head.String()
	}
	return name
}

// storageOf returns the storage that an open node is of, empty if that is not known. A node that was made for a key before
// the key was bound is of the storage that the key has, unless that has another head.
func (h *healer) storageOf(r Remain) string {
	own := AnonymousName(r.Key)
	n, ok := h.names[r.Key]
	renamed := ok && n.Kind == Active && (r.Storage == "" || r.Storage == own) && !strings.HasPrefix(n.Storage, anonymous)
	switch {
	case renamed && !h.has(n.Storage) && storageName(n.Storage) == nil:
		return n.Storage
	case r.Storage == "" && ok && n.Storage == own:
		return own
	case storageName(r.Storage) != nil:
		return ""
	}
	return r.Storage
}

// storageKeys tells which keys have a storage, and which key each storage was bound to last.
type storageKeys struct {
	taken map[string]bool
	last  map[string]Name
}

func (h *healer) keysOfStorages() storageKeys {
	keys := storageKeys{taken: map[string]bool{}, last: map[string]Name{}}
	for _, s := range h.storages {
		keys.taken[s.Key] = true
	}
	for _, n := range sorted(h.names) {
		if last, ok := keys.last[n.Storage]; n.Kind == Active && (!ok || n.Updated.After(last.Updated)) {
			keys.last[n.Storage] = n
		}
	}
	return keys
}

// keyOf returns the key that holds a storage that came back: the one that it was made for if that still knows it, or the one
// that was bound to it last, or the one that it was made for if that has no other storage.
func (h *healer) keyOf(storage, made string, keys storageKeys) string {
	n, ok := h.names[made]
	last, bound := keys.last[storage]
	switch {
	case ok && n.Kind == Active && n.Storage == storage:
		return made
	case bound:
		return last.Key
	case valid("snapshot", made) != nil, keys.taken[made], ok && (n.Kind != Active || h.has(n.Storage)):
		return ""
	}
	return made
}

// replaceHeads gives every storage that has no open node a damaged one.
func (h *healer) replaceHeads() {
	below := h.below()
	for _, s := range sorted(h.storages) {
		had := h.nodes[s.Head]
		if h.heads[s.Head] == s.Name && !(had.Frozen && below[s.Head]) {
			continue
		}
		id, parent := NodeID(0), NodeID(0)
		base := h.names[s.Key].Node
		switch {
		case h.heads[s.Head] == s.Name:
			delete(h.heads, s.Head)
			parent, base = had.ID, had.Base
		case had.ID == 0:
			id = s.Head
		}
		if h.nodes[base].Kind != Layer {
			base = 0
		}
		why := fmt.Sprintf("the open node of storage %q", s.Name)
		if id != 0 {
			why += ", " + h.absence(id)
		}
		id = h.standIn(id, Persisted, why)
		n := h.nodes[id]
		n.Parent, n.Base, n.Frozen = parent, base, false
		h.putNode(n)
		h.mend(aboutStorage(s.Name), "its open node is lost (it had %v), the damaged %v stands in for it", s.Head, id)
		s.Head = id
		h.heads[id] = s.Name
		h.put(s)
	}
}

// mendStates makes sure that the kept states of storages, and the layers on which states are seen, are there.
func (h *healer) mendStates() {
	for _, s := range sorted(h.storages) {
		s.Points = h.mendPoints(s, s.Points, "rollback point")
		s.Aside = h.mendPoints(s, s.Aside, "state set aside")
		h.put(s)
	}
	for _, s := range sorted(h.storages) {
		for _, id := range s.states() {
			n := h.nodes[id]
			if n.Base != 0 {
				n.Base = h.need(n.Base, Layer, id.String(), "base")
				h.putNode(n)
			}
		}
	}
}

func (h *healer) mendPoints(s Storage, points []Point, what string) (mended []Point) {
	for _, p := range points {
		if p.Head == s.Head {
			h.mend(aboutStorage(s.Name), "a %s is its head %v, it is forgotten", what, p.Head)
			continue
		}
		p.Head = h.need(p.Head, Persisted, aboutStorage(s.Name), what)
		mended = append(mended, p)
	}
	return mended
}
