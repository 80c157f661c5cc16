// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/overlay"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// Previews shows what an update or a rollback would come to, and changes nothing.
type Previews struct {
	state     *state.State
	tracker   *use.Tracker
	overlay   *overlay.Mounts
	stager    *Stager
	runner    *Runner
	rollbacks *Rollbacks
}

// Rollback calls fn with what a rollback would come to for each storage, until fn fails, without changing
// anything. An exact rollback has no report: it gives back the tree from before.
func (pv *Previews) Rollback(ctx context.Context, r RollbackRequest, fn func(Preview) error) error {
	all, begun, err := pv.rollbacks.undoFates(r)
	if err != nil {
		return err
	}
	for _, one := range append(all, begun...) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(pv.previewUndone(ctx, r, one)); err != nil {
			return err
		}
	}
	return nil
}

func (pv *Previews) previewUndone(ctx context.Context, r RollbackRequest, one Undone) Preview {
	p := Preview{Storage: one.Storage, Err: one.Err}
	if one.Fate == RollsBack {
		if !r.Carry {
			st, _ := pv.state.Storage(one.Storage)
			p.Waits = pv.tracker.Waits(ctx, st, r.AssumeFree)
		} else {
			p = pv.preview(ctx, one.Storage, r.AssumeFree, func(g *dag.Graph, st dag.Storage) (stacks, error) {
				if _, err := st.Newest(r.Update); err != nil {
					return stacks{}, err
				}
				return carryStacks(g, st), nil
			})
		}
	}
	if one.Fate == BegunThere && r.WithNew {
		one.Fate, one.Why = TakenAlong, ""
		p = pv.preview(ctx, one.Storage, r.AssumeFree, func(g *dag.Graph, st dag.Storage) (stacks, error) {
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

// Update calls fn with what an update would come to for each storage, until fn fails, without changing anything. For
// a storage in use it is a guess: what the container writes until its next start is not known. Each storage is looked
// at by itself: with AllOrNothing one that is held or waits keeps all others from being updated.
func (pv *Previews) Update(ctx context.Context, r Request, fn func(Preview) error) error {
	names, err := pv.runner.affected(r)
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
		err := fn(pv.preview(ctx, name, r.AssumeFree, func(g *dag.Graph, st dag.Storage) (stacks, error) {
			return updateStacks(g, st, r.To, settings), nil
		}))
		if err != nil {
			return err
		}
	}
	return nil
}

func (pv *Previews) preview(
	ctx context.Context, name string, assumeFree bool, of func(*dag.Graph, dag.Storage) (stacks, error),
) Preview {
	p := Preview{Storage: name}
	var (
		st dag.Storage
		ok bool
		k  stacks
	)
	defer pv.state.Lease(func(g *dag.Graph) []dag.NodeID {
		if st, ok = g.Storage(name); !ok {
			p.Err = fmt.Errorf("storage %q: %w", name, errdefs.ErrNotFound)
			return nil
		}
		if k, p.Err = of(g, st); p.Err == nil {
			p.Err = pv.state.Usable(g, k.all())
		}
		return k.all()
	})()
	if p.Err != nil {
		return p
	}
	if len(k.below) > 0 {
		p.Holds = pv.overlay.TooDeep(st, k.below)
	}
	p.Waits = pv.tracker.Waits(ctx, st, assumeFree)
	in, err := pv.stager.input(st, k)
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
