// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// RollbackRequest asks for an update to be undone.
type RollbackRequest struct {
	Update dag.UpdateID
	// Storages restricts the rollback to some storages of the update; all that an operator named when empty.
	Storages []string
	// Carry carries over what was written since the update. Otherwise it is set aside.
	Carry bool
	// Discard deletes what was written since the update, and its delta storage, instead of setting both aside.
	Discard bool
	// WithNew also takes the storages back that were begun on the new base, by an update from there to the old base that
	// keeps what was written. It goes with the update as a whole, not with Storages.
	WithNew bool
	// AssumeFree has the operator answer for the storages not being in use where nobody else can. See [UpdateRequest].
	AssumeFree bool
}

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
	// WithdrawsRollback: the storage waited for the rollback of the update, and no longer does; it stays where it stands.
	WithdrawsRollback Fate = "rollback withdrawn"
	// IsRolledBack: the update was undone before.
	IsRolledBack Fate = "is rolled back"
	// MovedOn: a later update has moved the storage since, and has to be rolled back first.
	MovedOn Fate = "moved on"
	// NeedsName: the storage is left alone unless it is named, because its container asks for the base that it would leave.
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

// Rollback is [Snapshotter.Undo] for callers that want all of it done: it fails when the update stays for some storage.
func (s *Snapshotter) Rollback(ctx context.Context, r RollbackRequest) error {
	all, err := s.Undo(ctx, r)
	errs := []error{err}
	for _, one := range all {
		errs = append(errs, one.Failure(r.Update))
	}
	return errors.Join(errs...)
}

// Failure returns why an update stays for a storage, nil where it is undone or will be.
func (u Undone) Failure(id dag.UpdateID) error {
	switch u.Fate {
	case MovedOn:
		return fmt.Errorf("storage %q was updated by %v since %v; roll that back first: %w", u.Storage, u.By, id, errdefs.ErrFailedPrecondition)
	case NeedsName:
		return fmt.Errorf("storage %q is left alone, %s; name it to roll it back: %w", u.Storage, u.Why, errdefs.ErrFailedPrecondition)
	}
	return u.Err
}

// Undo undoes an update: storages that it moved return to their state from before, each by itself, at once or at their
// next start; storages that it has not moved are withdrawn from it. Without names it covers what an operator named for the
// update, and leaves out a storage whose container asks for the base that it would leave. From then on the update leads no new
// container to its new base, and takes in no further storage; the storages that were begun on that base are named, or, with
// WithNew, taken along. It fails, and changes nothing, when there is nothing to undo. Whatever the crash, each storage is exactly
// in its old or its new state.
func (s *Snapshotter) Undo(ctx context.Context, r RollbackRequest) ([]Undone, error) {
	all, begun, err := s.undoFates(r)
	if err != nil {
		return nil, err
	}
	if len(r.Storages) == 0 {
		if err := s.state.Do(dag.EndUpdate{Update: r.Update, Retract: true, Now: clock.Now()}); err != nil {
			return nil, err
		}
	}
	all = s.undo(r, all, undoFate, func(one Undone) Undone {
		if one.Fate == RollsBack {
			return s.rollbackOne(ctx, one, r)
		}
		return one
	})
	if len(all) == 0 {
		all = append(all, Undone{Fate: Ends, Why: "the update leads no new container to its new base"})
	}
	if r.WithNew && len(begun) > 0 {
		begun = s.takeAlong(ctx, r, begun)
	}
	return append(all, begun...), nil
}

// Cancel withdraws what has not happened of an update, so that its storages stay where they stand: the update for those that
// wait for it, are being serviced, or are held, and its rollback for those that wait for that. It wins until the transaction
// that moves a storage. A storage that the update has moved is left alone, and its fate is [Fails] with
// errdefs.ErrFailedPrecondition; so is one whose rollback was carried out in the meantime. Cancel fails, and changes nothing,
// when a storage that is named, or every one, was rolled back before. A standing update that is withdrawn as a whole takes in no
// further storage; the storages that it has moved are no failure then.
func (s *Snapshotter) Cancel(_ context.Context, id dag.UpdateID, storages []string) ([]Undone, error) {
	r := RollbackRequest{Update: id, Storages: storages}
	stands := s.stands(r)
	fates, err := s.fates(r, cancelFate, stands)
	if err != nil {
		return nil, err
	}
	back := func(one Undone) bool { return one.Fate == IsRolledBack }
	if at := slices.IndexFunc(fates, back); !stands && at >= 0 && (len(storages) > 0 || allOf(fates, back)) {
		return nil, fates[at].carriedOut()
	}
	if stands {
		if err := s.state.Do(dag.EndUpdate{Update: id, Now: clock.Now()}); err != nil {
			return nil, err
		}
		fates = slices.DeleteFunc(fates, func(one Undone) bool { return one.Fate == Fails || back(one) })
	}
	all := s.undo(r, fates, cancelFate, func(one Undone) Undone { return one })
	s.endRun(id)
	if stands {
		all = append(all, Undone{Fate: Ends, Why: "the update takes in no further storages"})
	}
	return all, nil
}

func allOf(all []Undone, is func(Undone) bool) bool {
	return !slices.ContainsFunc(all, func(one Undone) bool { return !is(one) })
}

// carriedOut says why a rollback can no longer be withdrawn, and what to do.
func (u Undone) carriedOut() error { return fmt.Errorf("%s: %w", u.Why, errdefs.ErrFailedPrecondition) }

// undo withdraws what has not happened, and calls fn for every other storage.
func (s *Snapshotter) undo(r RollbackRequest, all []Undone, fate fateOf, fn func(Undone) Undone) []Undone {
	for i, one := range all {
		for t := one.withdrawal(r.Update); t != nil; t = one.withdrawal(r.Update) {
			err := s.state.Do(t)
			if err == nil {
				break
			}
			if !errdefs.IsFailedPrecondition(err) {
				one.Fate, one.Err = Fails, err
				break
			}
			s.state.Graph(func(g *dag.Graph) { one = fate(g, r, one.Storage) }) // it was carried out in the meantime
			switch one.Fate {
			case IsRolledBack:
				one.Fate, one.Err = Fails, one.carriedOut()
			case nothingToUndo:
				one.Fate, one.Err = Fails, err
			}
		}
		if one.withdrawal(r.Update) == nil {
			one = fn(one)
		}
		all[i] = one
	}
	return all
}

// withdrawal returns what withdraws an update, or its rollback, for a storage; nil when there is nothing to withdraw.
func (u Undone) withdrawal(id dag.UpdateID) dag.Transformation {
	switch u.Fate {
	case Withdraws:
		return dag.Withdraw{Update: id, Storages: []string{u.Storage}, Reason: "an operator withdrew it", Now: clock.Now()}
	case WithdrawsRollback:
		return dag.WithdrawRollback{Update: id, Storage: u.Storage, Reason: "an operator withdrew its rollback", Now: clock.Now()}
	}
	return nil
}

// fates returns what undoing an update would come to for each storage that it concerns. It fails when there is none, unless
// there is something else to undo.
func (s *Snapshotter) fates(r RollbackRequest, fate fateOf, otherwise bool) (all []Undone, err error) {
	var (
		u  dag.Update
		ok bool
	)
	s.state.Graph(func(g *dag.Graph) { u, ok = g.Update(r.Update) })
	if !ok {
		return nil, fmt.Errorf("update %v: %w", r.Update, errdefs.ErrNotFound)
	}
	if u.Cause == dag.ByBind && len(r.Storages) == 0 {
		return nil, fmt.Errorf("update %v followed the specification of a container; name the storage (%s) to undo it: %w",
			u.ID, strings.Join(slices.Sorted(maps.Keys(u.Outcomes)), ", "), errdefs.ErrFailedPrecondition)
	}
	names := slices.Clone(r.Storages)
	if len(names) == 0 {
		names = slices.Sorted(maps.Keys(u.Outcomes))
	}
	for _, name := range names {
		var one Undone
		s.state.Graph(func(g *dag.Graph) { one = fate(g, r, name) })
		switch o, in := u.Outcomes[name]; {
		case !in:
			return nil, fmt.Errorf("update %v is not applied to storage %q, which is no part of it: %w", u.ID, name, errdefs.ErrFailedPrecondition)
		case one.Fate != nothingToUndo:
			all = append(all, one)
		case len(r.Storages) > 0:
			return nil, fmt.Errorf("update %v is not applied to storage %q, it is %s: %w", u.ID, name, o.State, errdefs.ErrFailedPrecondition)
		}
	}
	if len(all) == 0 && !otherwise {
		return nil, fmt.Errorf("update %v is applied to no storage, and waits for none: %w", u.ID, errdefs.ErrFailedPrecondition)
	}
	return all, nil
}

// fateOf returns what undoing an update would come to for a storage, in one of the ways to undo it.
type fateOf func(*dag.Graph, RollbackRequest, string) Undone

// nothingToUndo: the update neither has moved the storage nor will.
const nothingToUndo Fate = ""

// undoFate is that of [Snapshotter.Undo].
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

// cancelFate is that of [Snapshotter.Cancel].
func cancelFate(g *dag.Graph, r RollbackRequest, name string) Undone {
	st, _ := g.Storage(name)
	if st.AwaitsRollback(r.Update) {
		return Undone{Storage: name, Fate: WithdrawsRollback, Why: "the storage stays where the update moved it"}
	}
	one := undoFate(g, r, name)
	u, _ := g.Update(r.Update)
	switch one.Fate {
	case RollsBack, MovedOn, NeedsName:
		one.Fate, one.Err = Fails, fmt.Errorf("update %v of storage %q is already applied, use rollback: %w", u.ID, name, errdefs.ErrFailedPrecondition)
	case nothingToUndo:
		if u.Outcomes[name].State == dag.RolledBack {
			one.Fate = IsRolledBack
			one.Why = fmt.Sprintf("the rollback of update %v of storage %q is already carried out; "+
				"`moltctl update create --storage %s --to %s` updates the storage again", u.ID, name, name, cmp.Or(u.ToRef, "IMAGE"))
		}
	}
	return one
}

// leavesAsked says so when returning to a rollback point takes a storage away from the base that its container asks for.
func leavesAsked(g *dag.Graph, st dag.Storage, p dag.Point) string {
	point, _ := g.Node(p.Head)
	if !g.IsAsked(st, g.Base(st)) || g.IsAsked(st, point.Base) {
		return ""
	}
	return "its last container asks for the base that the storage would leave"
}

// PreviewRollback calls fn with what a rollback would come to for each storage, until fn fails, without changing
// anything. An exact rollback has no report: it gives back the tree from before.
func (s *Snapshotter) PreviewRollback(ctx context.Context, r RollbackRequest, fn func(Preview) error) error {
	all, begun, err := s.undoFates(r)
	if err != nil {
		return err
	}
	for _, one := range append(all, begun...) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(s.previewUndone(ctx, r, one)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Snapshotter) previewUndone(ctx context.Context, r RollbackRequest, one Undone) Preview {
	p := Preview{Storage: one.Storage, Err: one.Err}
	if one.Fate == RollsBack {
		if !r.Carry {
			st, _ := s.state.Storage(one.Storage)
			p.Waits = s.tracker.Waits(ctx, st, r.AssumeFree)
		} else {
			p = s.preview(ctx, one.Storage, r.AssumeFree, func(g *dag.Graph, st dag.Storage) (stacks, error) {
				if _, err := st.Newest(r.Update); err != nil {
					return stacks{}, err
				}
				return carryStacks(g, st), nil
			})
		}
	}
	if one.Fate == BegunThere && r.WithNew {
		one.Fate, one.Why = TakenAlong, ""
		p = s.preview(ctx, one.Storage, r.AssumeFree, func(g *dag.Graph, st dag.Storage) (stacks, error) {
			u, _ := g.Update(r.Update)
			if _, err := g.Plan(takingAlong(u, 1)); err != nil {
				return stacks{}, err
			}
			return updateStacks(g, st, u.From, u.Settings), nil
		})
	}
	p.Undone, p.Update = &one, r.Update
	return p
}

// stateOf returns how far an update has come for a storage, empty if that is no part of it.
func (s *Snapshotter) stateOf(id dag.UpdateID, storage string) (state dag.State) {
	s.state.Graph(func(g *dag.Graph) {
		u, _ := g.Update(id)
		state = u.Outcomes[storage].State
	})
	return state
}

func (s *Snapshotter) rollbackOne(ctx context.Context, one Undone, r RollbackRequest) Undone {
	err := s.tracker.WhenFree(ctx, one.Storage, r.AssumeFree, func(st dag.Storage, u use.Use) error {
		if _, err := st.Newest(r.Update); err != nil {
			return err
		}
		if !u.Free() {
			one.Fate, one.Why = Awaits, u.Waiting("rolled back")
			return s.state.Do(dag.AwaitRollback{
				Update: r.Update, Storage: one.Storage, Carry: r.Carry, Discard: r.Discard, Reason: one.Why, Use: string(u.Code), Now: clock.Now(),
			})
		}
		return s.rollbackFree(ctx, st, dag.Pending{Update: r.Update, Rollback: true, Carry: r.Carry, Discard: r.Discard})
	})
	if err != nil {
		one.Fate, one.Err = Fails, fmt.Errorf("storage %q: %w", one.Storage, err)
	}
	return one
}
