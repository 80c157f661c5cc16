// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// UpdateRequest asks for the storages on one base to be moved to another one.
type UpdateRequest struct {
	From, To       dag.NodeID
	FromRef, ToRef string
	// Storages restricts the update to some storages on the base; all with a name when empty.
	Storages []string
	// Anonymous includes containers whose storage has no name.
	Anonymous bool
	// Standing has the update take in the storages that come to stand on the old base later, too, until it is rolled back as a
	// whole or cancelled. It goes neither with Storages nor with AllOrNothing.
	Standing bool
	// AllOrNothing aborts the whole update when one storage is held or in use.
	AllOrNothing bool
	// AssumeFree has the operator answer for the storages not being in use where nobody else can: the kernel reports a
	// use that no mount table shows, or one of those who are asked gives no answer. A mount that is seen, and a task
	// that runs, are not overridden.
	AssumeFree bool
	// Options are what servicing is told for this update, over what it is told for each storage.
	Options servicing.Options
}

// Preview is what an update or a rollback would come to for one storage.
type Preview struct {
	Storage string
	Holds   []string
	// Waits is how the storage is in use, so that it would have to wait for its next start.
	Waits  use.Use
	Report *servicing.Report
	// Undone is what undoing Update would come to; nil for an update.
	Undone *Undone
	Update dag.UpdateID
	// Err says why nothing can be told.
	Err error
}

// BeginUpdate records an update and services the storages in the background. It returns as soon as the update is on
// record; its progress shows in the record. After a crash it goes on by itself.
func (s *Snapshotter) BeginUpdate(ctx context.Context, r UpdateRequest) (dag.UpdateID, error) {
	id, err := s.recordUpdate(ctx, r)
	if err != nil {
		return 0, err
	}
	s.tasks.Go(func(ctx context.Context) { s.runUpdate(ctx, id) })
	return id, nil
}

// recordUpdate records an update, and leaves it to the caller to run it.
func (s *Snapshotter) recordUpdate(ctx context.Context, r UpdateRequest) (dag.UpdateID, error) {
	names, err := s.affected(r)
	if err != nil {
		return 0, err
	}
	settings, err := writeOptions(r.Options)
	if err != nil {
		return 0, err
	}
	id := s.state.NewUpdate()
	err = s.state.Do(dag.BeginUpdate{
		ID: id, From: r.From, To: r.To, FromRef: r.FromRef, ToRef: r.ToRef, Cause: dag.ByCommand,
		AllOrNothing: r.AllOrNothing, AssumeFree: r.AssumeFree, Standing: r.Standing, Anonymous: r.Anonymous,
		Settings: settings, Storages: names, Now: clock.Now(),
	})
	if err != nil {
		return 0, err
	}
	log.G(ctx).WithFields(log.Fields{"update": id.String(), "from": r.FromRef, "to": r.ToRef, "storages": len(names)}).Info("update begun")
	return id, nil
}

// PreviewUpdate calls fn with what an update would come to for each storage, until fn fails, without changing
// anything. For a storage in use it is a guess: what the container writes until its next start is not known. Each storage
// is looked at by itself: with AllOrNothing one that is held or waits keeps all others from being updated.
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
		err := fn(s.preview(ctx, name, r.AssumeFree, func(g *dag.Graph, st dag.Storage) (stacks, error) {
			return updateStacks(g, st, r.To, settings), nil
		}))
		if err != nil {
			return err
		}
	}
	return nil
}

// updateStacks are the stacks for an update of a storage to another base, as far as it is planned.
func updateStacks(g *dag.Graph, st dag.Storage, to dag.NodeID, settings json.RawMessage) stacks {
	user := g.Stack(st.Head)
	return stacks{
		old: g.Chain(g.Base(st)), next: g.Chain(to), user: user, below: slices.Concat(user, g.Chain(to)),
		settings: settings, report: lastReport(g, st),
	}
}

func (s *Snapshotter) preview(
	ctx context.Context, name string, assumeFree bool, of func(*dag.Graph, dag.Storage) (stacks, error),
) Preview {
	p := Preview{Storage: name}
	var (
		st dag.Storage
		ok bool
		k  stacks
	)
	defer s.state.Lease(func(g *dag.Graph) []dag.NodeID {
		if st, ok = g.Storage(name); !ok {
			p.Err = fmt.Errorf("storage %q: %w", name, errdefs.ErrNotFound)
			return nil
		}
		if k, p.Err = of(g, st); p.Err == nil {
			p.Err = s.state.Usable(g, k.all())
		}
		return k.all()
	})()
	if p.Err != nil {
		return p
	}
	if len(k.below) > 0 {
		p.Holds = s.overlay.TooDeep(st, k.below)
	}
	p.Waits = s.tracker.Waits(ctx, st, assumeFree)
	in, err := s.input(st, k)
	if err != nil {
		p.Err = err
		return p
	}
	in.Live = true // a storage that is free now may be started at any time
	plan, err := servicing.NewPlan(ctx, in)
	if report, ok := servicing.RefusedReport(err); ok {
		p.Report, p.Holds = report, append(p.Holds, report.Holds[0].Message)
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

// affected returns the names of the storages that an update concerns: those that stand on the old base, or wait for an
// update to it.
func (s *Snapshotter) affected(r UpdateRequest) (names []string, err error) {
	if r.Standing && (len(r.Storages) > 0 || r.AllOrNothing) {
		return nil, fmt.Errorf("a standing update is of every storage on its old base, each by itself; "+
			"it takes neither names of storages nor all-or-nothing: %w", errdefs.ErrInvalidArgument)
	}
	var on []string
	s.state.Graph(func(g *dag.Graph) {
		if _, err = g.Plan(dag.BeginUpdate{ID: 1, From: r.From, To: r.To}); err != nil {
			return
		}
		if err = s.state.Usable(g, g.Chain(r.To)); err != nil {
			return
		}
		for _, st := range g.Storages() {
			if standsOn(g, st, r.From) {
				on = append(on, st.Name)
			}
			if standsOn(g, st, r.From) && (!st.Anonymous || r.Anonymous && !keys.Parse(st.Key).Extraction()) {
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

// updateFor returns the record of the update that moves a storage to the base that its container asks for: one that failed
// or was held for this storage before, or a new one. It never is one that an operator made. The caller calls done when it no
// longer works on it.
func (s *Snapshotter) updateFor(st dag.Storage, to dag.NodeID) (u dag.Update, done func(), err error) {
	var (
		found bool
		from  dag.NodeID
	)
	s.state.Graph(func(g *dag.Graph) {
		from = g.Base(st)
		for _, known := range g.Updates() {
			if known.Cause == dag.ByBind && known.From == from && known.To == to && triedFor(known, st) {
				u, found = known, true
			}
		}
	})
	if !found {
		u = dag.Update{ID: s.state.NewUpdate(), From: from, To: to}
	}
	s.underway.Store(u.ID, context.CancelFunc(func() {}))
	done = func() { s.underway.Delete(u.ID) }
	if found {
		err = s.state.Do(dag.Record{Update: u.ID, Storage: st.Name, State: dag.Staging, Now: clock.Now()})
	} else {
		err = s.state.Do(dag.BeginUpdate{ID: u.ID, From: from, To: to, Cause: dag.ByBind, Storages: []string{st.Name}, Now: clock.Now()})
	}
	if err != nil {
		done()
	}
	return u, done, err
}

// triedFor reports whether an update is of one storage only, and was given up or held for it.
func triedFor(u dag.Update, st dag.Storage) bool {
	o, in := u.Outcomes[st.Name]
	moved := slices.ContainsFunc(st.Points, func(p dag.Point) bool { return p.Update == u.ID })
	return in && len(u.Outcomes) == 1 && !moved && (o.State == dag.Held || o.State == dag.Aborted)
}
