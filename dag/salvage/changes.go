// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package salvage

import (
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// The methods of this file find storages whose record is older than a change that other records know of.

// dropRenamed drops the records of anonymous storages that have a name of their own by now, or that of another key.
func (f *finder) dropRenamed() {
	for _, old := range dag.InOrder(f.h.storages) {
		s, ok := f.h.storages[f.h.found[old.Head].Storage]
		if ok && dag.IsAnonymous(old.Name) && s.Name != old.Name && s.Head == old.Head {
			delete(f.h.storages, old.Name)
			f.h.mend(aboutStorage(old.Name), "is storage %q by now", s.Name)
		}
	}
	for _, s := range dag.InOrder(f.h.storages) {
		old, ok := f.h.storages[dag.AnonymousName(s.Key)]
		named := !dag.IsAnonymous(s.Name)
		if ok && named && old.Head == s.Head && old.Key == s.Key {
			delete(f.h.storages, old.Name)
			f.h.mend(aboutStorage(old.Name), "is storage %q by now", s.Name)
		}
	}
}

// settleCommits makes storages and layers agree where a storage is older than the commit that ended it: with a name for
// the layer it has ended, without one it was not committed yet. Only what has no history was committed.
func (f *finder) settleCommits() {
	for _, s := range dag.InOrder(f.h.storages) {
		n := f.h.nodes[s.Head]
		if n.Kind != dag.Layer || n.Base != 0 || !dag.IsAnonymous(s.Name) || len(s.Points) > 0 {
			continue
		}
		if f.candidate(s, nil) != 0 {
			continue // it is some other node that was meant
		}
		if name := f.h.committed(n.ID); name != "" {
			delete(f.h.storages, s.Name)
			f.h.mend(aboutStorage(s.Name), "was committed as %q", name)
			continue
		}
		if f.usedLayer(n.ID) {
			continue
		}
		n.Kind, n.Base, n.Parent, n.Frozen, n.Origin, n.Unsynced = dag.Persisted, n.Parent, 0, false, "", ""
		f.h.putNode(n)
		f.h.mend(aboutStorage(s.Name), "is not committed, there is no name for the layer %v; that is its open node",
			n.ID)
	}
}

// usedLayer reports whether anything stands on a layer, shows it, or is updated from it or to it.
func (f *finder) usedLayer(id dag.NodeID) bool {
	for _, n := range f.h.nodes {
		if n.Parent == id || n.Base == id {
			return true
		}
	}
	for _, n := range f.h.names {
		if n.Node == id && n.Kind != dag.Active {
			return true
		}
	}
	for _, u := range f.h.updates {
		if u.From == id || u.To == id {
			return true
		}
	}
	return false
}

// advance moves a storage on to the open node that it got by a change which its record does not have: an update, a
// rollback or a fork. What it had is kept as the state that the change would have made of it.
func (f *finder) advance(s dag.Storage, to dag.NodeID) {
	had, has := f.h.nodes[s.Head], f.h.nodes[to]
	stack := f.h.stack(to)
	last := len(s.Points) - 1
	switch {
	case slices.Contains(stack, had.ID):
		if u := f.updateTo(s, has.Base); u != 0 && has.Base != had.Base {
			s.Points = append(slices.Clone(s.Points), dag.Point{Update: u, Head: had.ID, Time: f.h.now})
		}
	case last >= 0 && slices.Contains(stack, s.Points[last].Head):
		s.Aside = append(slices.Clone(s.Aside), dag.Point{Update: s.Points[last].Update, Head: had.ID, Time: f.h.now})
		s.Points = slices.Clone(s.Points[:last])
	default:
		s.Aside = append(slices.Clone(s.Aside), dag.Point{Head: had.ID, Time: f.h.now})
	}
	delete(f.h.heads, s.Head)
	s.Head = to
	f.h.heads[to] = s.Name
	f.h.put(s)
	f.h.mend(aboutStorage(s.Name), "its head %v was frozen since, it goes on with %v", had.ID, to)
}

// updateTo returns the latest update that may have moved a storage to a base, and not been rolled back; 0 if there is
// none.
func (f *finder) updateTo(s dag.Storage, base dag.NodeID) dag.UpdateID {
	for _, u := range slices.Backward(dag.InOrder(f.h.updates)) {
		o, ok := u.Outcomes[s.Name]
		given := o.State == dag.Held || o.State == dag.Aborted || o.State == dag.RolledBack || o.State == dag.Withdrawn
		moved := slices.ContainsFunc(s.Points, func(p dag.Point) bool { return p.Update == u.ID })
		if ok && !given && !moved && u.To == base {
			return u.ID
		}
	}
	return 0
}
