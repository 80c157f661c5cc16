// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package salvage

import (
	"maps"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// mendUpdates makes updates and the storages in them know the same of each other. What a storage says counts: it was
// moved if it has a rollback point.
func (h *salvager) mendUpdates() {
	for _, s := range dag.InOrder(h.storages) {
		for _, p := range s.Points {
			u, ok := h.updates[p.Update]
			if o := u.Outcomes[s.Name]; ok && o.State != dag.Applied {
				h.outcome(u, s.Name, dag.Outcome{State: dag.Applied, Delta: h.deltaOn(s.Head, p.Head), Report: o.Report,
					FixesWaiting: o.FixesWaiting, Time: h.now}, "it has a rollback point for it")
			}
		}
		h.mendPending(s)
	}
	// of several that a storage is to wait for, the latest counts
	for _, u := range slices.Backward(dag.InOrder(h.updates)) {
		for _, name := range slices.Sorted(maps.Keys(u.Outcomes)) {
			h.mendOutcome(u.ID, name)
		}
		u = h.updates[u.ID]
		if state := u.Settled(u.Updated).State; state != u.State {
			h.mend(aboutUpdate(u.ID), "is %s and not %s, as its storages are", state, u.State)
			u.State = state
		}
		if len(u.Refs(h.node)) > 0 {
			u.From, u.To = h.layer(u.From, u.ID), h.layer(u.To, u.ID)
		}
		h.updates[u.ID] = u
	}
}

// deltaOn returns the delta storage that an open node has directly on a rollback point, 0 if there is none.
func (h *salvager) deltaOn(head, point dag.NodeID) dag.NodeID {
	for _, id := range h.stack(head) {
		if n := h.nodes[id]; n.Kind == dag.Delta && n.Parent == point {
			return id
		}
	}
	return 0
}

// layer returns the layer of an update under way.
func (h *salvager) layer(id dag.NodeID, of dag.UpdateID) dag.NodeID {
	if id == 0 {
		return 0
	}
	return h.need(id, dag.Layer, aboutUpdate(of), "layer")
}

// outcome replaces what an update came to for a storage.
func (h *salvager) outcome(u dag.Update, storage string, o dag.Outcome, why string) {
	h.mend(aboutUpdate(u.ID), "is %s for storage %q and not %s: %s", o.State, storage, u.Outcomes[storage].State, why)
	h.updates[u.ID] = u.With(storage, o)
}

// mendPending forgets what a storage waits for and cannot get.
func (h *salvager) mendPending(s dag.Storage) {
	if s.Pending == nil {
		return
	}
	u, ok := h.updates[s.Pending.Update]
	o, in := u.Outcomes[s.Name]
	why := ""
	if !ok {
		why = "the update is lost"
	} else if _, err := s.Newest(u.ID); s.Pending.Rollback && err != nil {
		why = err.Error()
	} else if !s.Pending.Rollback && (!in || o.State.Final()) {
		why = "the update is not under way for it"
	}
	if why != "" {
		h.mend(aboutStorage(s.Name), "does not wait for %v any more: %s", *s.Pending, why)
		s.Pending = nil
		h.put(s)
	}
}

// mendOutcome gives up what an update can no longer do to a storage, and has a storage wait for it that is to.
func (h *salvager) mendOutcome(id dag.UpdateID, name string) {
	u := h.updates[id]
	o := u.Outcomes[name]
	s, ok := h.storages[name]
	aborted := func(why string) {
		h.outcome(u, name, dag.Outcome{State: dag.Aborted, Reasons: []string{why}, Time: h.now}, why)
	}
	switch o.State {
	case dag.Applied, dag.Held, dag.Aborted, dag.RolledBack, dag.Withdrawn:
	case dag.Announced:
		if !ok {
			aborted("the storage is lost")
		}
	case dag.Planned, dag.Staging, dag.Staged:
		waits := ok && s.Pending != nil && s.Pending.Update == id && !s.Pending.Rollback
		switch {
		case !ok:
			aborted("the storage is lost")
		case o.Ahead() && !u.Ready(h.node, s, o):
			h.outcome(u, name, dag.Outcome{State: dag.Announced, Time: h.now}, "what was staged for it is lost")
		case o.State != dag.Planned || waits:
		case s.Pending != nil:
			aborted("the storage waits for " + s.Pending.String())
		default:
			s.Pending = &dag.Pending{Update: id}
			h.put(s)
			h.mend(aboutStorage(name), "waits for %v again", id)
		}
	default:
		aborted("its record had no state that is known")
	}
}
