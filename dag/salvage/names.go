// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package salvage

import (
	"maps"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// mendKeys makes storages and the names that hold them know each other.
func (h *salvager) mendKeys() {
	claims := map[string][]string{}
	for _, s := range dag.InOrder(h.storages) {
		h.mendSort(&s)
		h.put(s)
		if s.Key != "" {
			claims[s.Key] = append(claims[s.Key], s.Name)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(claims)) {
		h.hold(key, claims[key])
	}
	for _, n := range dag.InOrder(h.names) {
		s, ok := h.storages[n.Storage]
		switch {
		case n.Kind == dag.Active && (!ok || s.Anonymous && s.Key != n.Key):
			delete(h.names, n.Key)
			h.mend(aboutName(n.Key), "is dropped, nothing is left of storage %q that it had", n.Storage)
		case n.Kind != dag.Active && n.Storage != "":
			h.mend(aboutName(n.Key), "a %s name has no storage, %q is forgotten", n.Kind, n.Storage)
			n.Storage = ""
			h.names[n.Key] = n
		}
	}
}

// mendSort makes a storage anonymous or not, as its name says.
func (h *salvager) mendSort(s *dag.Storage) {
	key, is := dag.AnonymousKey(s.Name)
	if is && s.Anonymous && s.Key == "" && s.Rehoming != nil {
		return // between two keys
	}
	if !is {
		key = s.Key
	}
	if dag.ValidName("snapshot", key) != nil {
		key = ""
	}
	if s.Key != key {
		h.mend(aboutStorage(s.Name), "has key %q and not %q", key, s.Key)
	}
	s.Key, s.Anonymous = key, is
}

// hold gives a key one of the storages that have it: the one that the name of the key knows, or the first one. A name
// that is lost is made again. The other storages have no key any longer.
func (h *salvager) hold(key string, claims []string) {
	n, ok := h.names[key]
	holder := claims[0]
	switch {
	case ok && n.Kind != dag.Active:
		holder = ""
	case slices.Contains(claims, n.Storage):
		holder = n.Storage
	case !ok:
		n = dag.Name{Key: key, Kind: dag.Active, Created: h.now, Updated: h.now}
		n.Node = h.nodes[h.storages[holder].Head].Base
		n.Parent = h.committed(n.Node)
		n.Identity = h.identity(n, h.storages[holder])
		h.mend(aboutName(key), "is made anew for storage %q", holder)
	default:
		h.mend(aboutName(key), "has storage %q and not %q", holder, n.Storage)
	}
	if holder != "" {
		n.Storage = holder
		h.names[key] = n
	}
	for _, name := range claims {
		if name != holder {
			h.letGo(h.storages[name])
		}
	}
}

// letGo takes its key from a storage. One that ends with its key gets a name of its own.
func (h *salvager) letGo(s dag.Storage) {
	old := s
	s.Key = ""
	if s.Anonymous {
		delete(h.storages, s.Name)
		s.Anonymous = false
		s.Name = h.freeName(s)
		h.heads[s.Head] = s.Name
		for _, u := range dag.InOrder(h.updates) {
			if _, ok := u.Outcomes[old.Name]; ok {
				h.updates[u.ID] = u.Renamed(old.Name, s.Name)
			}
		}
	}
	h.put(s)
	h.mend(aboutStorage(old.Name), "is storage %q without a key, %q is not its own", s.Name, old.Key)
}

// committed returns the first committed name of a layer, empty if there is none.
func (h *salvager) committed(layer dag.NodeID) (key string) {
	for _, n := range h.names {
		if layer != 0 && n.Kind == dag.Committed && n.Node == layer && (key == "" || n.Key < key) {
			key = n.Key
		}
	}
	return key
}

// mendNames makes sure that what names refer to is there.
func (h *salvager) mendNames() {
	for _, n := range dag.InOrder(h.names) {
		s, ok := h.storages[n.Storage]
		if base := h.nodes[s.Head].Base; ok && s.Key == n.Key && n.Node != base {
			h.mend(aboutName(n.Key), "is on %v and not on %v, as its storage is", base, n.Node)
			n.Node = base
		}
		if n.Node != 0 || n.Kind == dag.Committed {
			n.Node = h.need(n.Node, dag.Layer, aboutName(n.Key), "layer")
		}
		if is := h.identity(n, s); is != n.Identity {
			h.mend(aboutName(n.Key), "its identity is %q and not %q, as its storage has it", is, n.Identity)
			n.Identity = is
		}
		h.names[n.Key] = n
	}
	// those whose parent is known best come first
	for _, kind := range []dag.NameKind{dag.Committed, dag.View, dag.Active} {
		for _, n := range dag.InOrder(h.names) {
			if n.Kind == kind {
				h.mendParent(n)
			}
		}
	}
	h.cutParents()
}

// identity of a name follows its storage.
func (h *salvager) identity(n dag.Name, s dag.Storage) dag.Identity {
	switch {
	case n.Kind == dag.Active && !s.Anonymous:
		return dag.Bound
	case n.Kind == dag.Active && n.Identity != dag.Plain:
		return dag.Unknown
	}
	return n.Identity
}

// cutParents cuts the parents of names that would be their own.
func (h *salvager) cutParents() {
	done := map[string]bool{}
	for _, key := range slices.Sorted(maps.Keys(h.names)) {
		var path []string
		at := key
		for ; at != "" && !done[at]; at = h.names[at].Parent {
			done[at] = true
			path = append(path, at)
		}
		if i := slices.Index(path, at); i >= 0 {
			n := h.names[slices.Min(path[i:])]
			h.mend(aboutName(n.Key), "is its own parent through %q, which is forgotten", n.Parent)
			n.Parent = ""
			h.names[n.Key] = n
		}
	}
}

// mendParent makes the lost parent of a name again, if its layer is known.
func (h *salvager) mendParent(n dag.Name) {
	p, ok := h.names[n.Parent]
	if n.Parent == "" || ok && p.Kind == dag.Committed {
		return
	}
	layer := h.nodes[n.Node]
	if n.Kind == dag.Committed {
		layer = h.nodes[layer.Parent]
	}
	if ok || layer.Kind != dag.Layer || layer.Lost() || dag.ValidName("snapshot", n.Parent) != nil {
		h.mend(aboutName(n.Key), "its parent %q is lost", n.Parent)
		n.Parent = ""
		h.names[n.Key] = n
		return
	}
	h.mend(aboutName(n.Parent), "is made anew on %v, as the parent of %q", layer.ID, n.Key)
	h.names[n.Parent] = dag.Name{
		Key: n.Parent, Kind: dag.Committed, Parent: h.committed(layer.Parent), Node: layer.ID, Created: h.now,
		Updated: h.now,
	}
}
