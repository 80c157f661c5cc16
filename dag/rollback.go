// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag

import (
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"
)

// Rollback returns a storage to its newest rollback point. Nothing that was written since is deleted: it is set aside,
// and, when Carried is given, continues in a node that holds it, reconciled by the delta storage Delta. With Discard it
// is dropped with the delta storage of the update instead. A rollback that was awaited fails with errdefs.ErrAborted
// when it was withdrawn.
type Rollback struct {
	Update  UpdateID
	Storage string
	Head    NodeID // the open node of the storage, as the caller saw and synced it
	Carried NodeID // 0 for an exact rollback
	Delta   NodeID // 0 when carrying over had no side effects
	Open    NodeID
	Discard bool     // what was written since is dropped
	Awaited bool     // the storage waited for it when the caller began
	Reasons []string // why, where no operator asked for it
	Now     time.Time
}

func (t Rollback) transform(d *draft) error {
	s, ok := d.storage(t.Storage)
	if !ok {
		return fmt.Errorf("storage %q: %w", t.Storage, errdefs.ErrNotFound)
	}
	p, err := s.Newest(t.Update)
	if err != nil {
		return err
	}
	if t.Awaited && !s.AwaitsRollback(t.Update) {
		return rollbackWithdrawnError(s, t.Update)
	}
	head, err := d.freeze(s, t.Head)
	if err != nil {
		return err
	}
	point, ok := d.node(p.Head)
	if !ok {
		return fmt.Errorf("rollback point %v of storage %q: %w", p.Head, s.Name, errdefs.ErrNotFound)
	}
	if err := t.add(d, point); err != nil {
		return err
	}
	d.abandon(s, fmt.Sprintf("%v was rolled back", t.Update), t.Now)
	s.Points = slices.Clone(s.Points[:len(s.Points)-1])
	if !t.Discard {
		s.Aside = append(slices.Clone(s.Aside), Point{Update: t.Update, Head: head.ID, Time: t.Now})
	}
	s.Head, s.Pending = t.Open, nil
	d.putStorage(s)
	d.follow(s, point.Base, t.Now)
	if u, ok := d.update(t.Update); ok {
		o := u.Outcomes[s.Name]
		d.putUpdate(u.With(s.Name, Outcome{
			State: RolledBack, Reasons: t.Reasons, Delta: o.Delta, Report: o.Report, Time: t.Now,
		}))
	}
	return nil
}

// add puts the nodes that follow the rollback point.
func (t Rollback) add(d *draft, point Node) error {
	below := point.ID
	for _, n := range []Node{
		{ID: t.Carried, Kind: Persisted, Frozen: true}, {ID: t.Delta, Kind: Delta, Frozen: true},
		{ID: t.Open, Kind: Persisted},
	} {
		if n.ID == 0 && n.Frozen {
			continue
		}
		n.Parent, n.Base, n.Created = below, point.Base, t.Now
		if err := d.add(n); err != nil {
			return err
		}
		below = n.ID
	}
	return nil
}

// Newest returns the newest rollback point of a storage, which must be that of the given update.
func (s Storage) Newest(update UpdateID) (Point, error) {
	at := slices.IndexFunc(s.Points, func(p Point) bool { return p.Update == update })
	if at < 0 {
		return Point{}, fmt.Errorf("storage %q has no rollback point for update %v: %w", s.Name, update,
			errdefs.ErrNotFound)
	}
	if last := s.Points[len(s.Points)-1]; at != len(s.Points)-1 {
		return Point{}, fmt.Errorf("storage %q was updated by %v since %v; roll that back first: %w", s.Name,
			last.Update, update, errdefs.ErrFailedPrecondition)
	}
	return s.Points[at], nil
}

// AwaitRollback notes that a storage in use is to be rolled back at its next start.
type AwaitRollback struct {
	Update  UpdateID
	Storage string
	Carry   bool
	Discard bool
	// Again has the storage go on waiting. It fails with errdefs.ErrAborted when the rollback was withdrawn.
	Again  bool
	Reason string
	Use    string // the kind of use that the storage waits for
	Now    time.Time
}

func (t AwaitRollback) transform(d *draft) error {
	s, ok := d.storage(t.Storage)
	if !ok {
		return fmt.Errorf("storage %q: %w", t.Storage, errdefs.ErrNotFound)
	}
	if _, err := s.Newest(t.Update); err != nil {
		return err
	}
	if t.Again && !s.AwaitsRollback(t.Update) {
		return rollbackWithdrawnError(s, t.Update)
	}
	d.await(s, Pending{Update: t.Update, Rollback: true, Carry: t.Carry, Discard: t.Discard}, t.Now)
	if u, ok := d.update(t.Update); ok {
		o := u.Outcomes[t.Storage]
		o.Reasons, o.Use, o.Time = []string{t.Reason}, t.Use, t.Now
		d.putUpdate(u.With(t.Storage, o))
	}
	return nil
}

// WithdrawRollback takes a rollback back that a storage waits for: the storage stays where it stands. What is being
// staged for it can no longer be switched to. It fails with errdefs.ErrFailedPrecondition when the storage does not
// wait for that rollback.
type WithdrawRollback struct {
	Update  UpdateID
	Storage string
	Reason  string
	Now     time.Time
}

func (t WithdrawRollback) transform(d *draft) error {
	s, ok := d.storage(t.Storage)
	if !ok {
		return fmt.Errorf("storage %q: %w", t.Storage, errdefs.ErrNotFound)
	}
	if !s.AwaitsRollback(t.Update) {
		return fmt.Errorf("storage %q does not wait for the rollback of update %v: %w", s.Name, t.Update,
			errdefs.ErrFailedPrecondition)
	}
	s.Pending = nil
	d.putStorage(s)
	if u, ok := d.update(t.Update); ok {
		o := u.Outcomes[s.Name]
		o.Reasons, o.Use, o.Time = []string{t.Reason}, "", t.Now
		d.putUpdate(u.With(s.Name, o))
	}
	return nil
}

// AwaitsRollback reports whether a storage waits for the rollback of an update.
func (s Storage) AwaitsRollback(update UpdateID) bool {
	return s.Pending != nil && s.Pending.Rollback && s.Pending.Update == update
}

func rollbackWithdrawnError(s Storage, update UpdateID) error {
	return fmt.Errorf("the rollback of update %v of storage %q was withdrawn: %w", update, s.Name, errdefs.ErrAborted)
}
