// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// UpdateRequest asks for the storages on one base to be moved to another one.
type UpdateRequest struct {
	From, To       dag.NodeID
	FromRef, ToRef string
	// Storages restricts the update to some storages on the base; all with a name when empty.
	Storages []string
	// Anonymous includes containers whose storage has no name.
	Anonymous bool
	// AllOrNothing aborts the whole update when one storage is held or in use.
	AllOrNothing bool
	// Options are what servicing is told for this update, over what it is told for each storage.
	Options servicing.Options
}

// Preview is what an update or a rollback would come to for one storage.
type Preview struct {
	Storage string
	Holds   []string
	// Waits says what uses the storage, so that it would have to wait for its next start.
	Waits  string
	Report *servicing.Report
	// Err says why nothing can be told.
	Err error
}

// BeginUpdate records an update and services the storages in the background. It returns as soon as the update is on
// record; its progress shows in the record. After a crash it goes on by itself.
func (s *Snapshotter) BeginUpdate(ctx context.Context, r UpdateRequest) (dag.UpdateID, error) {
	names, err := s.affected(r)
	if err != nil {
		return 0, err
	}
	settings, err := writeOptions(r.Options)
	if err != nil {
		return 0, err
	}
	id := s.store.NewUpdate()
	err = s.do(dag.BeginUpdate{
		ID: id, From: r.From, To: r.To, FromRef: r.FromRef, ToRef: r.ToRef, Cause: "command",
		AllOrNothing: r.AllOrNothing, Settings: settings, Storages: names, Now: now(),
	})
	if err != nil {
		return 0, err
	}
	log.G(ctx).WithFields(log.Fields{"update": id.String(), "from": r.FromRef, "to": r.ToRef, "storages": len(names)}).Info("update begun")
	s.background(s.life, func(ctx context.Context) { s.runUpdate(ctx, id) })
	return id, nil
}

// PreviewUpdate calls fn with what an update would come to for each storage, until fn fails, without changing
// anything. For a storage in use it is a guess: what the container writes until its next start is not known.
func (s *Snapshotter) PreviewUpdate(ctx context.Context, r UpdateRequest, fn func(Preview) error) error {
	names, err := s.affected(r)
	if err != nil {
		return err
	}
	settings, err := writeOptions(r.Options)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := fn(s.preview(ctx, name, func(g *dag.Graph, st dag.Storage) (stacks, error) {
			return stacks{
				old: g.Chain(g.Base(st)), next: g.Chain(r.To), user: g.Stack(st.Head),
				settings: settings, report: lastReport(g, st),
			}, nil
		}))
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Snapshotter) preview(ctx context.Context, name string, of func(*dag.Graph, dag.Storage) (stacks, error)) Preview {
	p := Preview{Storage: name}
	var (
		st dag.Storage
		ok bool
		k  stacks
	)
	defer s.pin(func(g *dag.Graph) []dag.NodeID {
		if st, ok = g.Storage(name); !ok {
			p.Err = fmt.Errorf("storage %q: %w", name, errdefs.ErrNotFound)
			return nil
		}
		if k, p.Err = of(g, st); p.Err == nil {
			p.Err = s.usable(g, k.all())
		}
		return k.all()
	})()
	if p.Err != nil {
		return p
	}
	p.Waits = s.waits(ctx, st)
	in, err := s.input(st, k)
	if err != nil {
		p.Err = err
		return p
	}
	plan, err := servicing.NewPlan(ctx, in)
	if refused, ok := errors.AsType[*tree.RefusedError](err); ok {
		p.Holds = []string{refused.Error()}
		return p
	}
	if err != nil {
		p.Err = err
		return p
	}
	p.Report = plan.Report()
	for _, reason := range plan.Held() {
		p.Holds = append(p.Holds, reason.Message)
	}
	p.Err = plan.Close()
	return p
}

// waits says what a storage would have to wait for, empty if nothing.
func (s *Snapshotter) waits(ctx context.Context, st dag.Storage) string {
	u := s.inUse(ctx, st)
	if u.soon {
		return ""
	}
	return u.by
}

// affected returns the names of the storages that an update concerns: those that stand on the old base, or wait for an
// update to it.
func (s *Snapshotter) affected(r UpdateRequest) (names []string, err error) {
	var on []string
	s.store.View(func(g *dag.Graph) {
		if _, err = g.Plan(dag.BeginUpdate{ID: 1, From: r.From, To: r.To}); err != nil {
			return
		}
		if err = s.usable(g, g.Chain(r.To)); err != nil {
			return
		}
		for _, st := range g.Storages() {
			if standsOn(g, st, r.From) {
				on = append(on, st.Name)
			}
			if standsOn(g, st, r.From) && (!st.Anonymous || r.Anonymous && !parseKey(st.Key).extraction()) {
				names = append(names, st.Name)
			}
		}
	})
	if err != nil || len(r.Storages) == 0 {
		return names, err
	}
	for _, name := range r.Storages {
		if !slices.Contains(on, name) {
			return nil, fmt.Errorf("storage %q does not stand on the base that is to be updated: %w", name, errdefs.ErrFailedPrecondition)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(r.Storages))), nil
}

func standsOn(g *dag.Graph, st dag.Storage, base dag.NodeID) bool {
	if g.SameBase(g.Base(st), base) {
		return true
	}
	if st.Pending == nil || st.Pending.Rollback {
		return false
	}
	u, ok := g.Update(st.Pending.Update)
	return ok && g.SameBase(u.To, base)
}

// updateFor returns the record of the update that moves a storage to a base: one from the same base that other storages
// took before, or a new one.
func (s *Snapshotter) updateFor(st dag.Storage, to dag.NodeID) (dag.Update, error) {
	var (
		u     dag.Update
		found bool
		from  dag.NodeID
	)
	s.store.View(func(g *dag.Graph) {
		from = g.Base(st)
		for _, known := range g.Updates() {
			taken := slices.ContainsFunc(st.Points, func(p dag.Point) bool { return p.Update == known.ID })
			// What an update was told for itself alone, to force it perhaps, was not meant for this storage.
			plain := !known.AllOrNothing && len(known.Settings) == 0
			if known.From == from && known.To == to && plain && known.State != dag.Aborted && !taken {
				u, found = known, true
			}
		}
	})
	if found {
		return u, s.do(dag.Record{Update: u.ID, Storage: st.Name, State: dag.Staging, Now: now()})
	}
	id := s.store.NewUpdate()
	if err := s.do(dag.BeginUpdate{ID: id, From: from, To: to, Cause: "bind", Storages: []string{st.Name}, Now: now()}); err != nil {
		return dag.Update{}, err
	}
	return dag.Update{ID: id, From: from, To: to}, nil
}
