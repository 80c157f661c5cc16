// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
)

// Apply has an update that was announced or staged move its storages, or those that are named, in the background. It
// fails with errdefs.ErrFailedPrecondition where the update waits for nobody to ask for it.
func (rn *Runner) Apply(_ context.Context, id dag.UpdateID, storages []string) error {
	err := rn.state.Do(dag.Proceed{Update: id, Storages: storages, Now: clock.Now()})
	if errors.Is(err, errdefs.ErrFailedPrecondition) {
		return fmt.Errorf("%w; `moltctl update inspect %v` shows what it came to", err, id)
	}
	if err != nil {
		return err
	}
	rn.tasks.Go(func(ctx context.Context) { rn.Run(ctx, id) })
	return nil
}

// Request asks for the storages on one base to be moved to another one.
type Request struct {
	From, To       dag.NodeID
	FromRef, ToRef string
	// Storages restricts the update to some storages on the base; all with a name when empty.
	Storages []string
	// Anonymous includes containers whose storage has no name.
	Anonymous bool
	// Standing has the update take in the storages that come to stand on the old base later, too, until it is rolled
	// back as a whole or cancelled. It goes neither with Storages nor with AllOrNothing.
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

// Begin records an update and services the storages in the background. It returns as soon as the update is on
// record; its progress shows in the record. After a crash it goes on by itself.
func (rn *Runner) Begin(ctx context.Context, r Request) (dag.UpdateID, error) {
	id, err := rn.record(ctx, r)
	if err != nil {
		return 0, err
	}
	rn.tasks.Go(func(ctx context.Context) { rn.Run(ctx, id) })
	return id, nil
}

// record records an update, and leaves it to the caller to run it.
func (rn *Runner) record(ctx context.Context, r Request) (dag.UpdateID, error) {
	names, err := rn.affected(r)
	if err != nil {
		return 0, err
	}
	settings, err := writeOptions(r.Options)
	if err != nil {
		return 0, err
	}
	id := rn.state.NewUpdate()
	err = rn.state.Do(dag.BeginUpdate{
		ID: id, From: r.From, To: r.To, FromRef: r.FromRef, ToRef: r.ToRef, Cause: dag.ByCommand,
		AllOrNothing: r.AllOrNothing, AssumeFree: r.AssumeFree, Standing: r.Standing, Anonymous: r.Anonymous,
		Settings: settings, Storages: names, Now: clock.Now(),
	})
	if err != nil {
		return 0, err
	}
	log.G(ctx).WithFields(log.Fields{
		"update": id.String(), "from": r.FromRef, "to": r.ToRef, "storages": len(names),
	}).Info("update begun")
	return id, nil
}

// updateStacks are the stacks for an update of a storage to another base, as far as it is planned.
func updateStacks(g *dag.Graph, st dag.Storage, to dag.NodeID, settings json.RawMessage) stacks {
	user := g.Stack(st.Head)
	return stacks{
		old: g.Chain(g.Base(st)), next: g.Chain(to), user: user, below: slices.Concat(user, g.Chain(to)),
		settings: settings, report: lastReport(g, st),
	}
}

// affected returns the names of the storages that an update concerns: those that stand on the old base, or wait for an
// update to it.
func (rn *Runner) affected(r Request) (names []string, err error) {
	if r.Standing && (len(r.Storages) > 0 || r.AllOrNothing) {
		return nil, fmt.Errorf("a standing update is of every storage on its old base, each by itself; "+
			"it takes neither names of storages nor all-or-nothing: %w", errdefs.ErrInvalidArgument)
	}
	var on []string
	rn.state.Graph(func(g *dag.Graph) {
		if _, err = g.Plan(dag.BeginUpdate{ID: 1, From: r.From, To: r.To}); err != nil {
			return
		}
		if err = rn.state.Usable(g, g.Chain(r.To)); err != nil {
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
			return nil, fmt.Errorf("storage %q does not stand on the base that is to be updated: %w", name,
				errdefs.ErrFailedPrecondition)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(r.Storages))), nil
}

// For returns the record of the update that moves a storage to the base that its container asks for: one that failed
// or was held for this storage before, or a new one. It never is one that an operator made. The caller calls done
// when it no longer works on it.
func (rn *Runner) For(st dag.Storage, to dag.NodeID) (u dag.Update, done func(), err error) {
	var (
		found bool
		from  dag.NodeID
	)
	rn.state.Graph(func(g *dag.Graph) {
		from = g.Base(st)
		for _, known := range g.Updates() {
			if known.Cause == dag.ByBind && known.From == from && known.To == to && triedFor(known, st) {
				u, found = known, true
			}
		}
	})
	if !found {
		u = dag.Update{ID: rn.state.NewUpdate(), From: from, To: to}
	}
	rn.underway.Store(u.ID, context.CancelFunc(func() {}))
	done = func() { rn.underway.Delete(u.ID) }
	if found {
		err = rn.state.Do(dag.Record{Update: u.ID, Storage: st.Name, State: dag.Staging, Now: clock.Now()})
	} else {
		err = rn.state.Do(dag.BeginUpdate{
			ID: u.ID, From: from, To: to, Cause: dag.ByBind, Storages: []string{st.Name}, Now: clock.Now(),
		})
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
