// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// Rollbacks undoes updates.
type Rollbacks struct {
	state   *state.State
	tracker *use.Tracker
	tasks   *background.Tasks
	runner  *Runner
}

// RollbackRequest asks for an update to be undone.
type RollbackRequest struct {
	Update dag.UpdateID
	// Storages restricts the rollback to some storages of the update; all that an operator named when empty.
	Storages []string
	// Carry carries over what was written since the update. Otherwise it is set aside.
	Carry bool
	// Discard deletes what was written since the update, and its delta storage, instead of setting both aside.
	Discard bool
	// WithNew also takes the storages back that were begun on the new base, by an update from there to the old base
	// that keeps what was written. It goes with the update as a whole, not with Storages.
	WithNew bool
	// AssumeFree has the operator answer for the storages not being in use where nobody else can. See [UpdateRequest].
	AssumeFree bool
}

// Rollback is [Rollbacks.Undo] for callers that want all of it done: it fails when the update stays for some storage.
func (rb *Rollbacks) Rollback(ctx context.Context, r RollbackRequest) error {
	all, err := rb.Undo(ctx, r)
	errs := []error{err}
	for _, one := range all {
		errs = append(errs, one.Failure(r.Update))
	}
	return errors.Join(errs...)
}

// Undo undoes an update: storages that it moved return to their state from before, each by itself, at once or at
// their next start; storages that it has not moved are withdrawn from it. Without names it covers what an operator
// named for the update, and leaves out a storage whose container asks for the base that it would leave. From then on
// the update leads no new container to its new base, and takes in no further storage; the storages that were begun on
// that base are named, or, with WithNew, taken along. It fails, and changes nothing, when there is nothing to undo.
// Whatever the crash, each storage is exactly in its old or its new state.
func (rb *Rollbacks) Undo(ctx context.Context, r RollbackRequest) ([]Undone, error) {
	all, begun, err := rb.undoFates(r)
	if err != nil {
		return nil, err
	}
	if len(r.Storages) == 0 {
		if err := rb.state.Do(dag.EndUpdate{Update: r.Update, Retract: true, Now: clock.Now()}); err != nil {
			return nil, err
		}
	}
	all = rb.undo(r, all, undoFate, func(one Undone) Undone {
		if one.Fate == RollsBack {
			return rb.rollbackOne(ctx, one, r)
		}
		return one
	})
	if len(all) == 0 {
		all = append(all, Undone{Fate: Ends, Why: "the update leads no new container to its new base"})
	}
	if r.WithNew && len(begun) > 0 {
		begun = rb.takeAlong(ctx, r, begun)
	}
	return append(all, begun...), nil
}

// Cancel withdraws what has not happened of an update, so that its storages stay where they stand: the update for
// those that wait for it, are being serviced, or are held, and its rollback for those that wait for that. It wins
// until the transaction that moves a storage. A storage that the update has moved is left alone, and its fate is
// [Fails] with errdefs.ErrFailedPrecondition; so is one whose rollback was carried out in the meantime. Cancel fails,
// and changes nothing, when a storage that is named, or every one, was rolled back before. A standing update that is
// withdrawn as a whole takes in no further storage; the storages that it has moved are no failure then.
func (rb *Rollbacks) Cancel(_ context.Context, id dag.UpdateID, storages []string) ([]Undone, error) {
	r := RollbackRequest{Update: id, Storages: storages}
	stands := rb.stands(r)
	fates, err := rb.fates(r, cancelFate, stands)
	if err != nil {
		return nil, err
	}
	back := func(one Undone) bool { return one.Fate == IsRolledBack }
	if at := slices.IndexFunc(fates, back); !stands && at >= 0 && (len(storages) > 0 || allOf(fates, back)) {
		return nil, fates[at].carriedOut()
	}
	if stands {
		if err := rb.state.Do(dag.EndUpdate{Update: id, Now: clock.Now()}); err != nil {
			return nil, err
		}
		fates = slices.DeleteFunc(fates, func(one Undone) bool { return one.Fate == Fails || back(one) })
	}
	all := rb.undo(r, fates, cancelFate, func(one Undone) Undone { return one })
	rb.runner.endRun(id)
	if stands {
		all = append(all, Undone{Fate: Ends, Why: "the update takes in no further storages"})
	}
	return all, nil
}

// undo withdraws what has not happened, and calls fn for every other storage.
func (rb *Rollbacks) undo(r RollbackRequest, all []Undone, fate fateOf, fn func(Undone) Undone) []Undone {
	for i, one := range all {
		for t := one.withdrawal(r.Update); t != nil; t = one.withdrawal(r.Update) {
			err := rb.state.Do(t)
			if err == nil {
				break
			}
			if !errdefs.IsFailedPrecondition(err) {
				one.Fate, one.Err = Fails, err
				break
			}
			rb.state.Graph(func(g *dag.Graph) { one = fate(g, r, one.Storage) }) // it was carried out in the meantime
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

func (rb *Rollbacks) rollbackOne(ctx context.Context, one Undone, r RollbackRequest) Undone {
	err := rb.tracker.WhenFree(ctx, one.Storage, r.AssumeFree, func(st dag.Storage, u use.Use) error {
		if _, err := st.Newest(r.Update); err != nil {
			return err
		}
		if !u.Free() {
			one.Fate, one.Why = Awaits, u.Waiting("rolled back")
			return rb.state.Do(dag.AwaitRollback{
				Update: r.Update, Storage: one.Storage, Carry: r.Carry, Discard: r.Discard,
				Reason: one.Why, Use: string(u.Code), Now: clock.Now(),
			})
		}
		how := dag.Pending{Update: r.Update, Rollback: true, Carry: r.Carry, Discard: r.Discard}
		return rb.runner.rollbackFree(ctx, st, how)
	})
	if err != nil {
		one.Fate, one.Err = Fails, fmt.Errorf("storage %q: %w", one.Storage, err)
	}
	return one
}

// undoFates returns what undoing an update would come to for each storage that it concerns, and, for the update as a
// whole, for each storage that was begun on its new base.
func (rb *Rollbacks) undoFates(r RollbackRequest) (all, begun []Undone, err error) {
	switch {
	case r.Carry && r.Discard:
		return nil, nil, fmt.Errorf("what was written since can be carried over or discarded, not both: %w",
			errdefs.ErrInvalidArgument)
	case r.WithNew && len(r.Storages) > 0:
		return nil, nil, fmt.Errorf("the storages begun on the new base are taken along with the update as a whole, "+
			"not with storages by name: %w", errdefs.ErrInvalidArgument)
	}
	otherwise := rb.stands(r)
	if len(r.Storages) == 0 {
		rb.state.Graph(func(g *dag.Graph) {
			u, _ := g.Update(r.Update)
			otherwise = otherwise || len(u.Outcomes) == 0 && u.State == dag.Applied
			for _, st := range g.Storages() {
				if u.Begun(g, st) && u.Covers(st) && contained(g, st) {
					begun = append(begun, Undone{
						Storage: st.Name, Fate: BegunThere,
						Why: "it was made on the new base, and stays there; --with-new takes it to the old base",
					})
				}
			}
		})
		otherwise = otherwise || r.WithNew && len(begun) > 0
	}
	all, err = rb.fates(r, undoFate, otherwise)
	return all, begun, err
}

// stands reports whether the update is a standing one, and is to be undone as a whole.
func (rb *Rollbacks) stands(r RollbackRequest) (stands bool) {
	rb.state.Graph(func(g *dag.Graph) {
		u, _ := g.Update(r.Update)
		stands = u.Standing && len(r.Storages) == 0
	})
	return stands
}

// takingAlong is the update that takes storages back that were begun on the new base of another one.
func takingAlong(u dag.Update, id dag.UpdateID) dag.BeginUpdate {
	return dag.BeginUpdate{ID: id, From: u.To, To: u.From}
}

// takeAlong updates the storages that were begun on the new base of an update to its old base, and waits for that.
// What was written in them stays. Should the caller not wait as long, it goes on.
func (rb *Rollbacks) takeAlong(ctx context.Context, r RollbackRequest, begun []Undone) []Undone {
	var u dag.Update
	rb.state.Graph(func(g *dag.Graph) { u, _ = g.Update(r.Update) })
	back := Request{
		From: u.To, To: u.From, FromRef: u.ToRef, ToRef: u.FromRef, Anonymous: u.Anonymous, AssumeFree: r.AssumeFree,
	}
	for _, one := range begun {
		back.Storages = append(back.Storages, one.Storage)
	}
	options, err := readOptions(u.Settings)
	back.Options = options
	var id dag.UpdateID
	if err == nil {
		id, err = rb.runner.record(ctx, back)
	}
	if err == nil {
		_, err = background.Outlive(ctx, rb.tasks, func(ctx context.Context) (struct{}, error) {
			rb.runner.Run(ctx, id)
			return struct{}{}, nil
		})
	}
	rb.state.Graph(func(g *dag.Graph) {
		along, _ := g.Update(id)
		for i, one := range begun {
			begun[i] = tookAlong(one, along, err)
		}
	})
	return begun
}

// tookAlong returns what an update that takes storages along has come to for one of them.
func tookAlong(one Undone, along dag.Update, err error) Undone {
	o := along.Outcomes[one.Storage]
	one.By, one.Why = along.ID, strings.Join(o.Reasons, "; ")
	switch {
	case o.State == dag.Applied:
		one.Fate = TakenAlong
	case o.State == dag.Planned:
		one.Fate = Awaits
	case err != nil:
		one.Fate, one.Err = Fails, fmt.Errorf("storage %q stays on the new base: %w", one.Storage, err)
	case o.State == dag.Held:
		one.Fate = Fails
		one.Err = fmt.Errorf("storage %q stays on the new base, it is held (%s); see moltctl update report %v "+
			"--storage %s: %w",
			one.Storage, one.Why, along.ID, one.Storage, errdefs.ErrFailedPrecondition)
	default:
		one.Fate, one.Err = Fails, fmt.Errorf("storage %q stays on the new base: update %v is %s: %s: %w",
			one.Storage, along.ID, o.State, one.Why, errdefs.ErrFailedPrecondition)
	}
	return one
}
