// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
)

// undoFates returns what undoing an update would come to for each storage that it concerns, and, for the update as a whole, for
// each storage that was begun on its new base.
func (s *Snapshotter) undoFates(r RollbackRequest) (all, begun []Undone, err error) {
	switch {
	case r.Carry && r.Discard:
		return nil, nil, fmt.Errorf("what was written since can be carried over or discarded, not both: %w", errdefs.ErrInvalidArgument)
	case r.WithNew && len(r.Storages) > 0:
		return nil, nil, fmt.Errorf("the storages begun on the new base are taken along with the update as a whole, "+
			"not with storages by name: %w", errdefs.ErrInvalidArgument)
	}
	otherwise := s.stands(r)
	if len(r.Storages) == 0 {
		s.state.Graph(func(g *dag.Graph) {
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
	all, err = s.fates(r, undoFate, otherwise)
	return all, begun, err
}

// stands reports whether the update is a standing one, and is to be undone as a whole.
func (s *Snapshotter) stands(r RollbackRequest) (stands bool) {
	s.state.Graph(func(g *dag.Graph) {
		u, _ := g.Update(r.Update)
		stands = u.Standing && len(r.Storages) == 0
	})
	return stands
}

// takingAlong is the update that takes storages back that were begun on the new base of another one.
func takingAlong(u dag.Update, id dag.UpdateID) dag.BeginUpdate {
	return dag.BeginUpdate{ID: id, From: u.To, To: u.From}
}

// takeAlong updates the storages that were begun on the new base of an update to its old base, and waits for that. What was
// written in them stays. Should the caller not wait as long, it goes on.
func (s *Snapshotter) takeAlong(ctx context.Context, r RollbackRequest, begun []Undone) []Undone {
	var u dag.Update
	s.state.Graph(func(g *dag.Graph) { u, _ = g.Update(r.Update) })
	back := UpdateRequest{
		From: u.To, To: u.From, FromRef: u.ToRef, ToRef: u.FromRef, Anonymous: u.Anonymous, AssumeFree: r.AssumeFree,
	}
	for _, one := range begun {
		back.Storages = append(back.Storages, one.Storage)
	}
	options, err := readOptions(u.Settings)
	back.Options = options
	var id dag.UpdateID
	if err == nil {
		id, err = s.recordUpdate(ctx, back)
	}
	if err == nil {
		_, err = background.Outlive(ctx, s.tasks, func(ctx context.Context) (struct{}, error) {
			s.runUpdate(ctx, id)
			return struct{}{}, nil
		})
	}
	s.state.Graph(func(g *dag.Graph) {
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
		one.Err = fmt.Errorf("storage %q stays on the new base, it is held (%s); see moltctl update report %v --storage %s: %w",
			one.Storage, one.Why, along.ID, one.Storage, errdefs.ErrFailedPrecondition)
	default:
		one.Fate, one.Err = Fails, fmt.Errorf("storage %q stays on the new base: update %v is %s: %s: %w",
			one.Storage, along.ID, o.State, one.Why, errdefs.ErrFailedPrecondition)
	}
	return one
}
