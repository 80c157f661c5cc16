// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"
)

// BeginUpdate records the transition of a base layer to another one, and the storages whose side effects are to be
// determined. Without storages the update is applied as it is recorded: new containers stand on the new base.
type BeginUpdate struct {
	ID             UpdateID
	From, To       NodeID
	FromRef, ToRef string
	Cause          Cause
	AllOrNothing   bool
	AssumeFree     bool
	Standing       bool
	Anonymous      bool
	Settings       json.RawMessage
	Storages       []string
	// Until is Announced or Staged for an update that goes no further by itself, see [Proceed]; empty for one that is
	// applied.
	Until State
	// Of is the layer that To updates where the storages do not stand on that, see [Update]; else 0.
	Of NodeID
	// Claimed says that only an image says so, see [Update].
	Claimed bool
	// Instead are updates that are superseded for the storages as far as they are announced or staged.
	Instead []UpdateID
	Now     time.Time
}

func (t BeginUpdate) transform(d *draft) error {
	for _, id := range []NodeID{t.From, t.To} {
		if n, ok := d.node(id); id != 0 && (!ok || n.Kind != Layer) {
			return fmt.Errorf("layer %v: %w", id, errdefs.ErrNotFound)
		}
	}
	if sameBase(d.node, t.From, t.To) {
		return fmt.Errorf("%v and %v are the same base, there is nothing to update: %w", t.From, t.To,
			errdefs.ErrInvalidArgument)
	}
	if t.Until != "" && t.Until != Announced && t.Until != Staged {
		return fmt.Errorf("update of %v: it cannot end at %q: %w", t.From, t.Until, errdefs.ErrInvalidArgument)
	}
	if t.To == 0 {
		return fmt.Errorf("update of %v: nothing can be updated to an empty base: %w", t.From,
			errdefs.ErrInvalidArgument)
	}
	u := Update{
		ID: t.ID, From: t.From, To: t.To, Claim: Claim{Of: t.Of, Claimed: t.Claimed}, FromRef: t.FromRef,
		ToRef: t.ToRef, Cause: t.Cause,
		Terms: Terms{
			AllOrNothing: t.AllOrNothing, AssumeFree: t.AssumeFree, Standing: t.Standing, Anonymous: t.Anonymous,
		},
		Settings: t.Settings, State: Applied, Created: t.Now, Updated: t.Now,
	}
	for _, name := range t.Storages {
		if _, ok := d.storage(name); !ok {
			return fmt.Errorf("storage %q: %w", name, errdefs.ErrNotFound)
		}
		u = u.With(name, begun(t.Until, t.Now))
	}
	d.putUpdate(u)
	d.supersede(t.Instead, t.Storages, u.ID, t.Now)
	return nil
}

// Record says how far an update has come for a storage that it has not moved: Announced, Planned, Staging, Staged, Held
// or Aborted. A Planned storage waits until it is no longer in use; an earlier update that it waited for is given up.
// It fails with errdefs.ErrAborted when the update was withdrawn for the storage.
type Record struct {
	Update  UpdateID
	Storage string
	State   State
	Reasons []string
	Use     string // of a Planned storage: the kind of use that it waits for
	Report  string
	Now     time.Time
}

func (t Record) transform(d *draft) error {
	u, ok := d.update(t.Update)
	if !ok {
		return fmt.Errorf("update %v: %w", t.Update, errdefs.ErrNotFound)
	}
	if t.State == Applied || t.State == RolledBack {
		return fmt.Errorf("update %v: state %s needs the storage to move: %w", t.Update, t.State,
			errdefs.ErrInvalidArgument)
	}
	s, ok := d.storage(t.Storage)
	if !ok && !t.State.Final() {
		return fmt.Errorf("storage %q: %w", t.Storage, errdefs.ErrNotFound)
	}
	if ok && d.moved(s, u) {
		return movedError(s, u)
	}
	if u.Outcomes[t.Storage].State == Withdrawn {
		return withdrawnError(t.Storage, u)
	}
	if !t.State.Final() {
		if err := d.layersOf(u); err != nil {
			return err
		}
	}
	switch {
	case !ok:
	case t.State == Planned:
		d.await(s, Pending{Update: t.Update}, t.Now)
	case t.State.Final() && s.Pending != nil && s.Pending.Update == t.Update:
		s.Pending = nil
		d.putStorage(s)
	}
	u, _ = d.update(t.Update)
	o := Outcome{State: t.State, Reasons: t.Reasons, Use: t.Use, Report: t.Report, Time: t.Now}
	if t.State == Staging || t.State == Announced {
		o.Until = u.Outcomes[t.Storage].Until
	}
	d.putUpdate(u.With(t.Storage, o))
	return nil
}

// layersOf fails with errdefs.ErrNotFound when a layer of an update is gone.
func (d *draft) layersOf(u Update) error {
	for _, id := range []NodeID{u.From, u.To} {
		if _, there := d.node(id); id != 0 && !there {
			return fmt.Errorf("layer %v of update %v is gone: %w", id, u.ID, errdefs.ErrNotFound)
		}
	}
	return nil
}

// moved reports whether a storage is where an update moved it, or has a rollback point for that.
func (d *draft) moved(s Storage, u Update) bool {
	if slices.ContainsFunc(s.Points, func(p Point) bool { return p.Update == u.ID }) {
		return true
	}
	head, _ := d.node(s.Head)
	return u.Outcomes[s.Name].State == Applied && sameBase(d.node, head.Base, u.To)
}

func movedError(s Storage, u Update) error {
	return fmt.Errorf("storage %q has been moved by %v already: %w", s.Name, u.ID, errdefs.ErrFailedPrecondition)
}

func withdrawnError(storage string, u Update) error {
	return fmt.Errorf("update %v of storage %q was withdrawn: %w", u.ID, storage, errdefs.ErrAborted)
}

// Withdraw takes an update back for storages that it has not moved: those that wait, are being serviced or are held.
// What is being staged for them can no longer be switched to. It fails with errdefs.ErrFailedPrecondition for a storage
// that the update has moved, and then changes nothing.
type Withdraw struct {
	Update   UpdateID
	Storages []string
	Reason   string
	Now      time.Time
}

func (t Withdraw) transform(d *draft) error {
	for _, name := range t.Storages {
		u, ok := d.update(t.Update)
		if !ok {
			return fmt.Errorf("update %v: %w", t.Update, errdefs.ErrNotFound)
		}
		o := u.Outcomes[name]
		if !o.State.Withdrawable() {
			return fmt.Errorf("update %v of storage %q cannot be withdrawn, it is %s: %w", t.Update, name, o.State,
				errdefs.ErrFailedPrecondition)
		}
		if s, ok := d.storage(name); ok && s.Pending != nil && s.Pending.Update == t.Update {
			s.Pending = nil
			d.putStorage(s)
		}
		d.putUpdate(u.With(name, Outcome{State: Withdrawn, Reasons: []string{t.Reason}, Report: o.Report, Time: t.Now}))
	}
	return nil
}

// Withdrawable reports whether an update can be taken back for a storage in this state: it has not moved the storage,
// and may still do so, or would if it were asked again.
func (s State) Withdrawable() bool { return !s.Final() || s == Held || s == Announced }

// await notes what a storage is to do at its next start, in place of anything noted before.
func (d *draft) await(s Storage, p Pending, now time.Time) {
	if s.Pending != nil && s.Pending.Update != p.Update {
		d.abandon(s, "superseded by "+p.String(), now)
	}
	s.Pending = &p
	d.putStorage(s)
}

// abandon gives up the update, or the rollback, that a storage waits for.
func (d *draft) abandon(s Storage, reason string, now time.Time) {
	if s.Pending == nil {
		return
	}
	u, ok := d.update(s.Pending.Update)
	if !ok {
		return
	}
	o := Outcome{State: Aborted, Reasons: []string{reason}, Time: now}
	if s.Pending.Rollback {
		o = u.Outcomes[s.Name] // stays applied, and waits no more
		o.Reasons, o.Use, o.Time = nil, "", now
	}
	d.putUpdate(u.With(s.Name, o))
}

// Switch moves a storage to the base of an update: its open node is frozen, the delta storage is recorded on it if
// there are side effects, and an empty open node on the new base follows. The state from before becomes a rollback
// point.
type Switch struct {
	Update       UpdateID
	Storage      string
	Head         NodeID // the open node whose content the side effects were determined from
	Delta        NodeID // 0 when there are no side effects
	Open         NodeID
	Report       string
	FixesWaiting int // how many fixes of the new base wait
	// Ahead is the update for which Delta was staged, see [Stage]; 0 when it is new.
	Ahead UpdateID
	Now   time.Time
}

// updateOf returns an update and a storage, both of which must be there.
func (d *draft) updateOf(update UpdateID, storage string) (u Update, s Storage, err error) {
	u, ok := d.update(update)
	if !ok {
		return u, s, fmt.Errorf("update %v: %w", update, errdefs.ErrNotFound)
	}
	if s, ok = d.storage(storage); !ok {
		return u, s, fmt.Errorf("storage %q: %w", storage, errdefs.ErrNotFound)
	}
	return u, s, nil
}

func (t Switch) transform(d *draft) error {
	u, s, err := d.updateOf(t.Update, t.Storage)
	if err != nil {
		return err
	}
	head, err := d.freeze(s, t.Head)
	if err != nil {
		return err
	}
	if _, ok := d.node(u.To); !ok {
		return fmt.Errorf("new base %v of update %v is gone: %w", u.To, u.ID, errdefs.ErrNotFound)
	}
	if d.moved(s, u) {
		return movedError(s, u)
	}
	if u.Outcomes[s.Name].State == Withdrawn {
		return withdrawnError(s.Name, u)
	}
	if sameBase(d.node, head.Base, u.To) {
		return fmt.Errorf("storage %q stands on %v already: %w", s.Name, head.Base, errdefs.ErrFailedPrecondition)
	}
	if s.Pending != nil && s.Pending.Update != u.ID {
		d.abandon(s, fmt.Sprintf("superseded by %v", u.ID), t.Now)
		u, _ = d.update(t.Update)
	}
	head, below, err := t.sideEffects(d, u, head)
	if err != nil {
		return err
	}
	if err := d.add(Node{ID: t.Open, Kind: Persisted, Parent: below, Base: u.To, Created: t.Now}); err != nil {
		return err
	}
	u, _ = d.update(t.Update)
	s.Points = append(slices.Clone(s.Points), Point{Update: u.ID, Head: head.ID, Time: t.Now})
	s.Head, s.Pending = t.Open, nil
	d.putStorage(s)
	d.follow(s, u.To, t.Now)
	d.fulfil(s.Name, u, t.Now)
	d.putUpdate(u.With(s.Name, Outcome{State: Applied, Delta: t.Delta, Report: t.Report, FixesWaiting: t.FixesWaiting,
		Time: t.Now}))
	return nil
}

// sideEffects records the delta storage, if there is one. It returns the node that becomes a rollback point, and the
// one that the open node stands on.
func (t Switch) sideEffects(d *draft, u Update, head Node) (point Node, below NodeID, err error) {
	switch {
	case t.Ahead != 0:
		if err := d.takeStaged(t, u); err != nil {
			return Node{}, 0, err
		}
		head, _ = d.node(head.Parent) // the one that was frozen then: nothing was written since
		return head, cmp.Or(t.Delta, head.ID), nil
	case t.Delta != 0:
		err := d.add(Node{ID: t.Delta, Kind: Delta, Parent: head.ID, Base: u.To, Frozen: true, Created: t.Now})
		return head, t.Delta, err
	}
	return head, head.ID, nil
}

// Forget drops the record of an update that is history: nothing of it is under way, no storage can return to a state by
// it, and no container that is made now would stand on its new base because of it.
type Forget struct{ Update UpdateID }

func (t Forget) transform(d *draft) error {
	u, ok := d.update(t.Update)
	if !ok {
		return fmt.Errorf("update %v: %w", t.Update, errdefs.ErrNotFound)
	}
	if !d.g.Forgettable(u) {
		return fmt.Errorf("update %v is still needed: %w", t.Update, errdefs.ErrFailedPrecondition)
	}
	d.Updates[t.Update] = nil
	return nil
}

// Forgettable reports whether an update is history, so that its record can be dropped with [Forget].
func (g *Graph) Forgettable(u Update) bool {
	if u.Standing {
		return false
	}
	_, to := g.nodes[u.To]
	for _, o := range u.Outcomes {
		if !o.State.Final() || o.State == Announced && to {
			return false
		}
	}
	for _, s := range g.storages {
		if s.Pending != nil && s.Pending.Update == u.ID {
			return false
		}
		for _, p := range slices.Concat(s.Points, s.Aside) {
			if p.Update == u.ID {
				return false
			}
		}
	}
	return u.State != Applied || u.Retracted || !links(g, u)
}

// links reports whether an update is a step on the way from a layer to another one, by it alone or with other updates
// that were applied: the layers in between may be gone, for example because they were merged. See [Graph.Newest].
func links(g *Graph, u Update) bool {
	there := func(ids map[NodeID]bool) bool {
		for id := range ids {
			if _, ok := g.nodes[id]; ok {
				return true
			}
		}
		return false
	}
	below, above := map[NodeID]bool{u.From: true}, map[NodeID]bool{u.To: true}
	all := g.Updates()
	for _, v := range slices.Backward(all) {
		if v.ID < u.ID && v.effective() && below[v.To] {
			below[v.From] = true
		}
	}
	for _, v := range all {
		if v.ID > u.ID && v.effective() && above[v.From] {
			above[v.To] = true
		}
	}
	return there(below) && there(above)
}
