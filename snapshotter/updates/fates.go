// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
)

// Fate is what undoing an update comes to for one storage.
type Fate string

// The fates.
const (
	// RollsBack: the storage returns to the state from before the update.
	RollsBack Fate = "rolled back"
	// Awaits: the storage is in use, and is rolled back at its next start.
	Awaits Fate = "waits"
	// Withdraws: the update had not moved the storage, and no longer will.
	Withdraws Fate = "withdrawn"
	// WithdrawsRollback: the storage waited for the rollback of the update, and no longer does; it stays where it
	// stands.
	WithdrawsRollback Fate = "rollback withdrawn"
	// IsRolledBack: the update was undone before.
	IsRolledBack Fate = "is rolled back"
	// MovedOn: a later update has moved the storage since, and has to be rolled back first.
	MovedOn Fate = "moved on"
	// NeedsName: the storage is left alone unless it is named, because its container asks for the base that it would
	// leave.
	NeedsName Fate = "needs its name"
	// Ended: the storage was removed since.
	Ended Fate = "removed"
	// BegunThere: the storage was begun on the new base, and stays there.
	BegunThere Fate = "begun there"
	// TakenAlong: the storage was begun on the new base, and is updated to the old one.
	TakenAlong Fate = "taken along"
	// Ends: the update no longer concerns storages that come. It is the fate of the update, not of a storage.
	Ends Fate = "ends"
	// Fails: the storage stands where it stood, and the error says why.
	Fails Fate = "failed"
)

// Undone is what undoing an update came to, or would, for one storage.
type Undone struct {
	Storage string
	Fate    Fate
	// By is the later update that moved the storage on, or the one that takes it along.
	By dag.UpdateID
	// Why says more, for people.
	Why string
	// Err says why it failed. It is an errdefs error.
	Err error
}

// Failure returns why an update stays for a storage, nil where it is undone or will be.
func (u Undone) Failure(id dag.UpdateID) error {
	switch u.Fate {
	case MovedOn:
		return fmt.Errorf("storage %q was updated by %v since %v; roll that back first: %w", u.Storage, u.By, id,
			errdefs.ErrFailedPrecondition)
	case NeedsName:
		return fmt.Errorf("storage %q is left alone, %s; name it to roll it back: %w", u.Storage, u.Why,
			errdefs.ErrFailedPrecondition)
	}
	return u.Err
}

func allOf(all []Undone, is func(Undone) bool) bool {
	return !slices.ContainsFunc(all, func(one Undone) bool { return !is(one) })
}

// carriedOut says why a rollback can no longer be withdrawn, and what to do.
func (u Undone) carriedOut() error { return fmt.Errorf("%s: %w", u.Why, errdefs.ErrFailedPrecondition) }

// withdrawal returns what withdraws an update, or its rollback, for a storage; nil when there is nothing to withdraw.
func (u Undone) withdrawal(id dag.UpdateID) dag.Transformation {
	switch u.Fate {
	case Withdraws:
		return dag.Withdraw{Update: id, Storages: []string{u.Storage}, Reason: "an operator withdrew it",
			Now: clock.Now()}
	case WithdrawsRollback:
		return dag.WithdrawRollback{
			Update: id, Storage: u.Storage, Reason: "an operator withdrew its rollback", Now: clock.Now(),
		}
	}
	return nil
}

// fates returns what undoing an update would come to for each storage that it concerns. It fails when there is none,
// unless there is something else to undo.
func (rb *Rollbacks) fates(r RollbackRequest, fate fateOf, otherwise bool) (all []Undone, err error) {
	var (
		u  dag.Update
		ok bool
	)
	rb.state.Graph(func(g *dag.Graph) { u, ok = g.Update(r.Update) })
	if !ok {
		return nil, fmt.Errorf("update %v: %w", r.Update, errdefs.ErrNotFound)
	}
	if u.Cause == dag.ByBind && len(r.Storages) == 0 {
		return nil, fmt.Errorf("update %v followed the specification of a container; name the storage (%s) to undo "+
			"it: %w",
			u.ID, strings.Join(slices.Sorted(maps.Keys(u.Outcomes)), ", "), errdefs.ErrFailedPrecondition)
	}
	names := slices.Clone(r.Storages)
	if len(names) == 0 {
		names = slices.Sorted(maps.Keys(u.Outcomes))
	}
	for _, name := range names {
		var one Undone
		rb.state.Graph(func(g *dag.Graph) { one = fate(g, r, name) })
		switch o, in := u.Outcomes[name]; {
		case !in:
			return nil, fmt.Errorf("update %v is not applied to storage %q, which is no part of it: %w", u.ID, name,
				errdefs.ErrFailedPrecondition)
		case one.Fate != nothingToUndo:
			all = append(all, one)
		case len(r.Storages) > 0:
			return nil, fmt.Errorf("update %v is not applied to storage %q, it is %s: %w", u.ID, name, o.State,
				errdefs.ErrFailedPrecondition)
		}
	}
	if len(all) == 0 && !otherwise {
		return nil, fmt.Errorf("update %v is applied to no storage, and waits for none: %w", u.ID,
			errdefs.ErrFailedPrecondition)
	}
	return all, nil
}

// fateOf returns what undoing an update would come to for a storage, in one of the ways to undo it.
type fateOf func(*dag.Graph, RollbackRequest, string) Undone

// nothingToUndo: the update neither has moved the storage nor will.
const nothingToUndo Fate = ""

// undoFate is the fate of a storage in [Rollbacks.Undo].
func undoFate(g *dag.Graph, r RollbackRequest, name string) (one Undone) {
	one.Storage = name
	u, _ := g.Update(r.Update)
	switch state := u.Outcomes[name].State; {
	case state.Withdrawable():
		one.Fate = Withdraws
		return one
	case state != dag.Applied:
		return one
	}
	st, exists := g.Storage(name)
	exists = exists && !u.Outcomes[name].Gone // there may be another one of that name
	at := slices.IndexFunc(st.Points, func(p dag.Point) bool { return p.Update == u.ID })
	_, err := st.Newest(u.ID)
	switch {
	case !exists && len(r.Storages) == 0:
		one.Fate = Ended
	case !exists:
		one.Fate, one.Err = Fails, fmt.Errorf("storage %q was removed since: %w", name, errdefs.ErrNotFound)
	case at >= 0 && at < len(st.Points)-1:
		one.Fate, one.By = MovedOn, st.Points[at+1].Update
	case err != nil:
		one.Fate, one.Err = Fails, err
	default:
		one.Fate, one.Why = RollsBack, leavesAsked(g, st, st.Points[at])
		if one.Why != "" && len(r.Storages) == 0 {
			one.Fate = NeedsName
		}
	}
	return one
}

// cancelFate is the fate of a storage in [Rollbacks.Cancel].
func cancelFate(g *dag.Graph, r RollbackRequest, name string) Undone {
	st, _ := g.Storage(name)
	if st.AwaitsRollback(r.Update) {
		return Undone{Storage: name, Fate: WithdrawsRollback, Why: "the storage stays where the update moved it"}
	}
	one := undoFate(g, r, name)
	u, _ := g.Update(r.Update)
	switch one.Fate {
	case RollsBack, MovedOn, NeedsName:
		one.Fate, one.Err = Fails, fmt.Errorf("update %v of storage %q is already applied, use rollback: %w", u.ID,
			name,
			errdefs.ErrFailedPrecondition)
	case nothingToUndo:
		if u.Outcomes[name].State == dag.RolledBack {
			one.Fate = IsRolledBack
			one.Why = fmt.Sprintf("the rollback of update %v of storage %q is already carried out; "+
				"`moltctl update create --storage %s --to %s` updates the storage again",
				u.ID, name, name, cmp.Or(u.ToRef, "IMAGE"))
		}
	}
	return one
}

// leavesAsked says so when returning to a rollback point takes a storage away from the base that its container asks
// for.
func leavesAsked(g *dag.Graph, st dag.Storage, p dag.Point) string {
	point, _ := g.Node(p.Head)
	if !g.IsAsked(st, g.Base(st)) || g.IsAsked(st, point.Base) {
		return ""
	}
	return "its last container asks for the base that the storage would leave"
}
