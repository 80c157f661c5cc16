// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag

import (
	"maps"
	"slices"
	"strings"
)

// mendKeys makes storages and the names that hold them know each other.
func (h *healer) mendKeys() {
	claims := map[string][]string{}
	for _, s := range sorted(h.storages) {
		h.mendSort(&s)
		h.put(s)
		if s.Key != "" {
			claims[s.Key] = append(claims[s.Key], s.Name)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(claims)) {
		h.hold(key, claims[key])
	}
	for _, n := range sorted(h.names) {
		s, ok := h.storages[n.Storage]
		switch {
		case n.Kind == Active && (!ok || s.Anonymous && s.Key != n.Key):
			delete(h.names, n.Key)
			h.mend(aboutName(n.Key), "is dropped, nothing is left of storage %q that it had", n.Storage)
		case n.Kind != Active && n.Storage != "":
			h.mend(aboutName(n.Key), "a %s name has no storage, %q is forgotten", n.Kind, n.Storage)
			n.Storage = ""
			h.names[n.Key] = n
		}
	}
}

// mendSort makes a storage anonymous or not, as its name says.
func (h *healer) mendSort(s *Storage) {
	key, is := strings.CutPrefix(s.Name, anonymous)
	if is && s.Anonymous && s.Key == "" && s.Rehoming != nil {
		return // between two keys
	}
	if !is {
		key = s.Key
	}
	if valid("snapshot", key) != nil {
		key = ""
	}
	if s.Key != key {
		h.mend(aboutStorage(s.Name), "has key %q and not %q", key, s.Key)
	}
	s.Key, s.Anonymous = key, is
}

// hold gives a key one of the storages that have it: the one that the name of the key knows, or the first one. A name that
// is lost is made anew. The other storages have no key any more.
func (h *healer) hold(key string, claims []string) {
	n, ok := h.names[key]
	holder := claims[0]
	switch {
	case ok && n.Kind != Active:
		holder = ""
	case slices.Contains(claims, n.Storage):
		holder = n.Storage
	case !ok:
		n = Name{Key: key, Kind: Active, Created: h.now, Updated: h.now}
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
func (h *healer) letGo(s Storage) {
	old := s
	s.Key = ""
	if s.Anonymous {
		delete(h.storages, s.Name)
		s.Anonymous = false
		s.Name = h.freeName(s)
		h.heads[s.Head] = s.Name
		for _, u := range sorted(h.updates) {
			if _, ok := u.Outcomes[old.Name]; ok {
				h.updates[u.ID] = u.renamed(old.Name, s.Name)
			}
		}
	}
	h.put(s)
	h.mend(aboutStorage(old.Name), "is storage %q without a key, %q is not its own", s.Name, old.Key)
}

// committed returns the first committed name of a layer, empty if there is none.
func (h *healer) committed(layer NodeID) (key string) {
	for _, n := range h.names {
		if layer != 0 && n.Kind == Committed && n.Node == layer && (key == "" || n.Key < key) {
			key = n.Key
		}
	}
	return key
}

// mendNames makes sure that what names refer to is there.
func (h *healer) mendNames() {
	for _, n := range sorted(h.names) {
		s, ok := h.storages[n.Storage]
		if base := h.nodes[s.Head].Base; ok && s.Key == n.Key && n.Node != base {
			h.mend(aboutName(n.Key), "is on %v and not on %v, as its storage is", base, n.Node)
			n.Node = base
		}
		if n.Node != 0 || n.Kind == Committed {
			n.Node = h.need(n.Node, Layer, aboutName(n.Key), "layer")
		}
		if is := h.identity(n, s); is != n.Identity {
			h.mend(aboutName(n.Key), "its identity is %q and not %q, as its storage has it", is, n.Identity)
			n.Identity = is
		}
		h.names[n.Key] = n
	}
	for _, kind := range []NameKind{Committed, View, Active} { // those whose parent is known best come first
		for _, n := range sorted(h.names) {
			if n.Kind == kind {
				h.mendParent(n)
			}
		}
	}
	h.cutParents()
}

// identity of a name follows its storage.
func (h *healer) identity(n Name, s Storage) Identity {
	switch {
	case n.Kind == Active && !s.Anonymous:
		return Bound
	case n.Kind == Active && n.Identity != Plain:
		return Unknown
	}
	return n.Identity
}

// cutParents cuts the parents of names that would be their own.
func (h *healer) cutParents() {
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

// mendParent makes the lost parent of a name anew, if its layer is known.
func (h *healer) mendParent(n Name) {
	p, ok := h.names[n.Parent]
	if n.Parent == "" || ok && p.Kind == Committed {
		return
	}
	layer := h.nodes[n.Node]
	if n.Kind == Committed {
		layer = h.nodes[layer.Parent]
	}
	if ok || layer.Kind != Layer || layer.Lost() || valid("snapshot", n.Parent) != nil {
		h.mend(aboutName(n.Key), "its parent %q is lost", n.Parent)
		n.Parent = ""
		h.names[n.Key] = n
		return
	}
	h.mend(aboutName(n.Parent), "is made anew on %v, as the parent of %q", layer.ID, n.Key)
	h.names[n.Parent] = Name{
		Key: n.Parent, Kind: Committed, Parent: h.committed(layer.Parent), Node: layer.ID, Created: h.now, Updated: h.now,
	}
}
