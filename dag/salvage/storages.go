// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package salvage

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// finder finds the open nodes of storages, and storages of which only the open node is left.
type finder struct {
	h                *salvager
	ofStorage, ofKey map[string][]dag.NodeID // the nodes that were found of each storage, and of each key
}

// sortNodes sorts the nodes that were found by what they are of.
func (f *finder) sortNodes() {
	for _, n := range dag.InOrder(f.h.found) {
		if !n.Bare {
			f.ofStorage[n.Storage] = append(f.ofStorage[n.Storage], n.ID)
			f.ofKey[n.Key] = append(f.ofKey[n.Key], n.ID)
		}
	}
}

// claimHeads gives each open node to one of the storages that have it.
func (f *finder) claimHeads() {
	f.dropRenamed()
	f.settleCommits()
	claims := map[dag.NodeID][]string{}
	for _, s := range dag.InOrder(f.h.storages) {
		if n, ok := f.h.nodes[s.Head]; ok && n.Kind == dag.Persisted {
			claims[s.Head] = append(claims[s.Head], s.Name)
		}
	}
	for id, names := range claims {
		f.h.heads[id] = names[0]
		if said := f.h.found[id].Storage; slices.Contains(names, said) {
			f.h.heads[id] = said
		}
	}
}

// findHeads gives storages whose head is lost, or whose record is older than their nodes, the open node that they have.
func (f *finder) findHeads() {
	below := f.below()
	for _, s := range dag.InOrder(f.h.storages) {
		id := f.candidate(s, below)
		switch {
		case id == 0:
		case f.h.heads[s.Head] != s.Name:
			f.h.mend(aboutStorage(s.Name), "its head %v is lost or that of another storage, it goes on with %v", s.Head,
				id)
			s.Head = id
			f.h.heads[id] = s.Name
			f.h.put(s)
		case f.h.nodes[s.Head].Frozen, below[s.Head] && slices.Contains(f.h.stack(id), s.Head):
			f.advance(s, id)
		}
	}
}

// candidate returns the newest open node without a storage that is known to be of this one, or to be made for its key
// when it had no name yet; 0 if there is none.
func (f *finder) candidate(s dag.Storage, below map[dag.NodeID]bool) (head dag.NodeID) {
	for _, id := range slices.Concat(f.ofStorage[s.Name], f.ofKey[s.Key]) {
		r := f.h.found[id]
		own := r.Storage == s.Name || s.Key != "" &&
			(r.Storage == "" || r.Storage == dag.AnonymousName(s.Key) && !f.h.has(r.Storage))
		if own && f.unclaimed(id) && !below[id] {
			head = max(head, id)
		}
	}
	return head
}

// unclaimed reports whether a node is open and no storage has it.
func (f *finder) unclaimed(id dag.NodeID) bool {
	n, ok := f.h.nodes[id]
	return ok && n.Kind == dag.Persisted && !n.Frozen && !f.h.open(id)
}

// below returns the nodes that must be frozen, because something stands on them or returns to them.
func (f *finder) below() map[dag.NodeID]bool {
	below := map[dag.NodeID]bool{}
	for _, s := range f.h.storages {
		for _, id := range s.States() {
			if id != s.Head {
				below[id] = true
			}
			f.addBelow(below, id)
		}
	}
	return below
}

func (f *finder) addBelow(below map[dag.NodeID]bool, id dag.NodeID) {
	for _, lower := range f.h.stack(f.h.nodes[id].Parent) {
		below[lower] = true
	}
}

// findStorages brings back storages whose record is lost and whose open node is there: the newest one, if several are,
// and what is in the others as storages of their own.
func (f *finder) findStorages() {
	below, keys, back := f.below(), f.keysOfStorages(), map[string]bool{}
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(f.h.found))) {
		name := f.storageOf(f.h.found[id])
		if name == "" || f.h.has(name) && !back[name] || !f.unclaimed(id) || below[id] {
			continue
		}
		s := dag.Storage{Name: name, Head: id, Created: f.h.nodes[id].Created}
		if back[name] {
			s.Name = f.h.freeName(s)
			f.h.mend(aboutStorage(name), "%v was its open node, too", id)
		} else {
			s.Key = f.keyOf(name, f.h.found[id].Key, keys)
		}
		back[name], keys.taken[s.Key] = true, true
		f.h.put(s)
		f.h.heads[id] = s.Name
		f.addBelow(below, id)
		f.h.mend(aboutStorage(s.Name), "comes back with %v; its rollback points and its settings are lost", id)
	}
}

// freeName returns a name of its own for a storage that cannot have its name.
func (h *salvager) freeName(s dag.Storage) string {
	name := strings.TrimLeft(s.Name, dag.AnonymousName(""))
	for name == "" || h.has(name) {
		name += "-" + s.Head.String()
	}
	return name
}

// storageOf returns the storage that an open node is of, empty if that is not known. A node that was made for a key
// before the key was bound is of the storage that the key has, unless that has another head.
func (f *finder) storageOf(r Remain) string {
	own := dag.AnonymousName(r.Key)
	n, ok := f.h.names[r.Key]
	renamed := ok && n.Kind == dag.Active && (r.Storage == "" || r.Storage == own) && !dag.IsAnonymous(n.Storage)
	switch {
	case renamed && !f.h.has(n.Storage) && storageName(n.Storage) == nil:
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
	last  map[string]dag.Name
}

func (f *finder) keysOfStorages() storageKeys {
	keys := storageKeys{taken: map[string]bool{}, last: map[string]dag.Name{}}
	for _, s := range f.h.storages {
		keys.taken[s.Key] = true
	}
	for _, n := range dag.InOrder(f.h.names) {
		if last, ok := keys.last[n.Storage]; n.Kind == dag.Active && (!ok || n.Updated.After(last.Updated)) {
			keys.last[n.Storage] = n
		}
	}
	return keys
}

// keyOf returns the key that holds a storage that came back: the one that it was made for if that still knows it, or
// the one that was bound to it last, or the one that it was made for if that has no other storage.
func (f *finder) keyOf(storage, made string, keys storageKeys) string {
	n, ok := f.h.names[made]
	last, bound := keys.last[storage]
	switch {
	case ok && n.Kind == dag.Active && n.Storage == storage:
		return made
	case bound:
		return last.Key
	case dag.ValidName("snapshot", made) != nil, keys.taken[made], ok && (n.Kind != dag.Active || f.h.has(n.Storage)):
		return ""
	}
	return made
}

// replaceHeads gives every storage that has no open node a damaged one.
func (f *finder) replaceHeads() {
	below := f.below()
	for _, s := range dag.InOrder(f.h.storages) {
		had := f.h.nodes[s.Head]
		if f.h.heads[s.Head] == s.Name && !(had.Frozen && below[s.Head]) {
			continue
		}
		id, parent := dag.NodeID(0), dag.NodeID(0)
		base := f.h.names[s.Key].Node
		switch {
		case f.h.heads[s.Head] == s.Name:
			delete(f.h.heads, s.Head)
			parent, base = had.ID, had.Base
		case had.ID == 0:
			id = s.Head
		}
		if f.h.nodes[base].Kind != dag.Layer {
			base = 0
		}
		why := fmt.Sprintf("the open node of storage %q", s.Name)
		if id != 0 {
			why += ", " + f.h.absence(id)
		}
		id = f.h.standIn(id, dag.Persisted, why)
		n := f.h.nodes[id]
		n.Parent, n.Base, n.Frozen = parent, base, false
		f.h.putNode(n)
		f.h.mend(aboutStorage(s.Name), "its open node is lost (it had %v), the damaged %v stands in for it", s.Head, id)
		s.Head = id
		f.h.heads[id] = s.Name
		f.h.put(s)
	}
}

// mendStates makes sure that the kept states of storages, and the layers on which states are seen, are there.
func (h *salvager) mendStates() {
	for _, s := range dag.InOrder(h.storages) {
		s.Points = h.mendPoints(s, s.Points, "rollback point")
		s.Aside = h.mendPoints(s, s.Aside, "state set aside")
		h.put(s)
	}
	for _, s := range dag.InOrder(h.storages) {
		for _, id := range s.States() {
			n := h.nodes[id]
			if n.Base != 0 {
				n.Base = h.need(n.Base, dag.Layer, id.String(), "base")
				h.putNode(n)
			}
		}
	}
}

func (h *salvager) mendPoints(s dag.Storage, points []dag.Point, what string) (mended []dag.Point) {
	for _, p := range points {
		if p.Head == s.Head {
			h.mend(aboutStorage(s.Name), "a %s is its head %v, it is forgotten", what, p.Head)
			continue
		}
		p.Head = h.need(p.Head, dag.Persisted, aboutStorage(s.Name), what)
		mended = append(mended, p)
	}
	return mended
}
