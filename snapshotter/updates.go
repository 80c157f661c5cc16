// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
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
	id := s.store.NewUpdate()
	err = s.do(dag.BeginUpdate{
		ID: id, From: r.From, To: r.To, FromRef: r.FromRef, ToRef: r.ToRef, Cause: "command",
		AllOrNothing: r.AllOrNothing, Storages: names, Now: now(),
	})
	if err != nil {
		return 0, err
	}
	log.G(ctx).WithFields(log.Fields{"update": id.String(), "from": r.FromRef, "to": r.ToRef, "storages": len(names)}).Info("update begun")
	s.background(s.life, func(ctx context.Context) { s.runUpdate(ctx, id) })
	return id, nil
}

// PreviewUpdate tells what an update would come to, without changing anything. For a storage in use it is a guess, for
// what is written meanwhile is not known.
func (s *Snapshotter) PreviewUpdate(ctx context.Context, r UpdateRequest) ([]Preview, error) {
	names, err := s.affected(r)
	if err != nil {
		return nil, err
	}
	var previews []Preview
	for _, name := range names {
		previews = append(previews, s.preview(ctx, name, func(g *dag.Graph, st dag.Storage) stacks {
			return stacks{old: g.Chain(g.Base(st)), next: g.Chain(r.To), user: g.Stack(st.Head)}
		}))
	}
	return previews, nil
}

func (s *Snapshotter) preview(ctx context.Context, name string, of func(*dag.Graph, dag.Storage) stacks) Preview {
	p := Preview{Storage: name}
	var (
		st dag.Storage
		k  stacks
	)
	s.store.View(func(g *dag.Graph) {
		st, _ = g.Storage(name)
		k = of(g, st)
	})
	defer s.busy.pin(slices.Concat(k.old, k.next, k.user)...)()
	p.Waits = s.waits(ctx, st)
	plan, err := servicing.NewPlan(ctx, s.input(k))
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
		if err = usable(g, g.Chain(r.To)); err != nil {
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
			if known.From == from && known.To == to && !known.AllOrNothing && known.State != dag.Aborted && !taken {
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

// runUpdate services the storages of an update that are not yet done.
func (s *Snapshotter) runUpdate(ctx context.Context, id dag.UpdateID) {
	var (
		names        []string
		allOrNothing bool
	)
	s.store.View(func(g *dag.Graph) {
		u, _ := g.Update(id)
		allOrNothing = u.AllOrNothing
		for name, o := range u.Outcomes {
			if o.State == dag.Staging || o.State == dag.Staged {
				names = append(names, name)
			}
		}
	})
	slices.Sort(names)
	entry := log.G(ctx).WithField("update", id.String())
	if allOrNothing {
		if err := s.updateTogether(ctx, id, names); err != nil {
			entry.WithError(err).Warn("update given up for all its storages")
		}
		return
	}
	turns := make(chan struct{}, s.config.workers)
	var wg sync.WaitGroup
	for _, name := range names {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			state, err := s.updateOne(ctx, name, id)
			entry.WithFields(log.Fields{"storage": name, "state": state}).WithError(err).Info("storage serviced")
		})
	}
	wg.Wait()
}

// updateOne services one storage, or leaves it to be serviced at its next start when it is in use.
func (s *Snapshotter) updateOne(ctx context.Context, name string, id dag.UpdateID) (dag.State, error) {
	unlock, err := s.locks.lock(ctx, "storage "+name)
	if err != nil {
		return dag.Staging, err // goes on after a restart: only the end of the daemon ends this context
	}
	defer unlock()
	st, err := s.concerned(name, id)
	if err != nil {
		return dag.Aborted, s.giveUp(id, name, err)
	}
	if u := s.free(ctx, st); u.by != "" {
		reason := u.by + "; it will be updated at its next start"
		return dag.Planned, s.do(dag.Record{Update: id, Storage: name, State: dag.Planned, Reasons: []string{reason}, Now: now()})
	}
	return s.updateFree(ctx, st, id)
}

// concerned returns a storage, if an update still concerns it: it may have been moved, or have ended, since the update began.
func (s *Snapshotter) concerned(name string, id dag.UpdateID) (st dag.Storage, err error) {
	s.store.View(func(g *dag.Graph) {
		u, _ := g.Update(id)
		var ok bool
		if st, ok = g.Storage(name); !ok {
			err = fmt.Errorf("storage %q: %w", name, errdefs.ErrNotFound)
			return
		}
		waits := st.Pending != nil && st.Pending.Update == id
		if !waits && !standsOn(g, st, u.From) {
			err = fmt.Errorf("storage %q stands on %v meanwhile: %w", name, g.Base(st), errdefs.ErrFailedPrecondition)
		}
	})
	return st, err
}

// updateFree services a storage that is free and whose lock the caller holds.
func (s *Snapshotter) updateFree(ctx context.Context, st dag.Storage, id dag.UpdateID) (dag.State, error) {
	var u dag.Update
	s.store.View(func(g *dag.Graph) { u, _ = g.Update(id) })
	p, err := s.stage(ctx, st, u)
	if err != nil {
		return dag.Aborted, s.giveUp(id, st.Name, err)
	}
	if len(p.holds) > 0 {
		return dag.Held, errors.Join(s.discard(p), s.do(p.held(st.Name)))
	}
	if err := s.commitStaged(p, p.switched(st.Name)); err != nil {
		return dag.Aborted, s.giveUp(id, st.Name, err)
	}
	return dag.Applied, nil
}

// updateTogether services storages so that all of them switch in one transaction, or none does.
func (s *Snapshotter) updateTogether(ctx context.Context, id dag.UpdateID, names []string) (err error) {
	var (
		parts   []staged
		changes []dag.Transformation
	)
	defer func() {
		if err == nil {
			return
		}
		for _, p := range parts {
			err = errors.Join(err, s.discard(p))
		}
		for _, name := range names {
			err = errors.Join(err, s.do(dag.Record{Update: id, Storage: name, State: dag.Aborted, Reasons: []string{err.Error()}, Now: now()}))
		}
	}()
	unlock, err := s.lockStorages(ctx, names)
	if err != nil {
		return err
	}
	defer unlock()
	for _, name := range names {
		p, err := s.stageTogether(ctx, name, id)
		if err != nil {
			return err
		}
		parts = append(parts, p)
		changes = append(changes, p.switched(name))
	}
	if err := s.do(changes...); err != nil {
		return err
	}
	for _, p := range parts {
		p.release()
	}
	s.kick()
	return nil
}

// lockStorages takes the locks of storages, which are sorted by name, or none.
func (s *Snapshotter) lockStorages(ctx context.Context, names []string) (unlock func(), err error) {
	var unlocks []func()
	unlock = func() {
		for _, fn := range unlocks {
			fn()
		}
	}
	for _, name := range names {
		one, err := s.locks.lock(ctx, "storage "+name)
		if err != nil {
			unlock()
			return nil, err
		}
		unlocks = append(unlocks, one)
	}
	return unlock, nil
}

func (s *Snapshotter) stageTogether(ctx context.Context, name string, id dag.UpdateID) (staged, error) {
	st, err := s.concerned(name, id)
	if err != nil {
		return staged{}, err
	}
	var u dag.Update
	s.store.View(func(g *dag.Graph) { u, _ = g.Update(id) })
	if use := s.free(ctx, st); use.by != "" {
		return staged{}, fmt.Errorf("storage %q: %s: %w", name, use.by, errdefs.ErrFailedPrecondition)
	}
	p, err := s.stage(ctx, st, u)
	if err != nil {
		return staged{}, err
	}
	if len(p.holds) > 0 {
		err := fmt.Errorf("storage %q is held: %s: %w", name, strings.Join(p.holds, "; "), errdefs.ErrFailedPrecondition)
		return staged{}, errors.Join(err, s.discard(p))
	}
	return p, nil
}
