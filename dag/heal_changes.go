// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag

import (
	"slices"
	"strings"
)

// The methods of this file find storages whose record is older than a change that other records know of.

// dropRenamed drops the records of anonymous storages that have a name of their own by now, or that of another key.
func (h *healer) dropRenamed() {
	for _, old := range sorted(h.storages) {
		s, ok := h.storages[h.found[old.Head].Storage]
		if ok && strings.HasPrefix(old.Name, anonymous) && s.Name != old.Name && s.Head == old.Head {
			delete(h.storages, old.Name)
			h.mend(aboutStorage(old.Name), "is storage %q by now", s.Name)
		}
	}
	for _, s := range sorted(h.storages) {
		old, ok := h.storages[AnonymousName(s.Key)]
		named := !strings.HasPrefix(s.Name, anonymous)
		if ok && named && old.Head == s.Head && old.Key == s.Key {
			delete(h.storages, old.Name)
			h.mend(aboutStorage(old.Name), "is storage %q by now", s.Name)
		}
	}
}

// settleCommits makes storages and layers agree where a storage is older than the commit that ended it: with a name for the
// layer it has ended, without one it was not committed yet. Only what has no history was committed.
func (h *healer) settleCommits() {
	for _, s := range sorted(h.storages) {
		n := h.nodes[s.Head]
		if n.Kind != Layer || n.Base != 0 || !strings.HasPrefix(s.Name, anonymous) || len(s.Points) > 0 {
			continue
		}
		if h.candidate(s, nil) != 0 {
			continue // it is some other node that was meant
		}
		if name := h.committed(n.ID); name != "" {
			delete(h.storages, s.Name)
			h.mend(aboutStorage(s.Name), "was committed as %q", name)
			continue
		}
		if h.usedLayer(n.ID) {
			continue
		}
		n.Kind, n.Base, n.Parent, n.Frozen, n.Origin, n.Unsynced = Persisted, n.Parent, 0, false, "", ""
		h.putNode(n)
		h.mend(aboutStorage(s.Name), "is not committed, there is no name for the layer %v; that is its open node", n.ID)
	}
}

// usedLayer tells whether anything stands on a layer, shows it, or is updated from it or to it.
func (h *healer) usedLayer(id NodeID) bool {
	for _, n := range h.nodes {
		if n.Parent == id || n.Base == id {
			return true
		}
	}
	for _, n := range h.names {
		if n.Node == id && n.Kind != Active {
			return true
		}
	}
	for _, u := range h.updates {
		if u.From == id || u.To == id {
			return true
		}
	}
	return false
}

// advance moves a storage on to the open node that it got by a change which its record does not have: an update, a rollback
// or a fork. What it had is kept as the state that the change would have made of it.
func (h *healer) advance(s Storage, to NodeID) {
	had, has := h.nodes[s.Head], h.nodes[to]
	stack := h.stack(to)
	last := len(s.Points) - 1
	switch {
	case slices.Contains(stack, had.ID):
		if u := h.updateTo(s, has.Base); u != 0 && has.Base != had.Base {
			s.Points = append(slices.Clone(s.Points), Point{Update: u, Head: had.ID, Time: h.now})
		}
	case last >= 0 && slices.Contains(stack, s.Points[last].Head):
		s.Aside = append(slices.Clone(s.Aside), Point{Update: s.Points[last].Update, Head: had.ID, Time: h.now})
		s.Points = slices.Clone(s.Points[:last])
	default:
		s.Aside = append(slices.Clone(s.Aside), Point{Head: had.ID, Time: h.now})
	}
	delete(h.heads, s.Head)
	s.Head = to
	h.heads[to] = s.Name
	h.put(s)
	h.mend(aboutStorage(s.Name), "its head %v was frozen since, it goes on with %v", had.ID, to)
}

// updateTo returns the latest update that may have moved a storage to a base, and not been rolled back; 0 if there is none.
func (h *healer) updateTo(s Storage, base NodeID) UpdateID {
	for _, u := range slices.Backward(sorted(h.updates)) {
		o, ok := u.Outcomes[s.Name]
		given := o.State == Held || o.State == Aborted || o.State == RolledBack || o.State == Withdrawn
		moved := slices.ContainsFunc(s.Points, func(p Point) bool { return p.Update == u.ID })
		if ok && !given && !moved && u.To == base {
			return u.ID
		}
	}
	return 0
}
