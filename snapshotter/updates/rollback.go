// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/errtext"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// rollbackWaiting carries out the rollback that a free storage, whose lock the caller holds, waits for. If that
// fails, the storage goes on waiting, and the record of the update says why. An operator may withdraw the rollback
// until its transaction: then it is dag.Withdrawn, and the storage stays where it stands.
func (rn *Runner) rollbackWaiting(ctx context.Context, st dag.Storage) (dag.State, error) {
	err := rn.rollbackFree(ctx, st, *st.Pending)
	switch {
	case err == nil:
		return dag.RolledBack, nil
	case ctx.Err() != nil:
		return dag.Applied, err
	}
	again := rn.state.Do(dag.AwaitRollback{
		Update: st.Pending.Update, Storage: st.Name, Carry: st.Pending.Carry, Discard: st.Pending.Discard, Again: true,
		Reason: errtext.Of(err) + "; it will be tried again at its next start", Now: clock.Now(),
	})
	if errdefs.IsAborted(again) {
		log.G(ctx).WithError(err).WithField("storage",
			st.Name).Debug("a rollback was withdrawn while it was carried out")
		return dag.Withdrawn, nil
	}
	return dag.Applied, errors.Join(err, again)
}

// rollbackFree rolls back a storage that is free and whose lock the caller holds.
func (rn *Runner) rollbackFree(ctx context.Context, st dag.Storage, how dag.Pending) (err error) {
	p, err := rn.stager.Rollback(ctx, st, how.Carry)
	defer func() { err = errors.Join(err, p.Close()) }()
	if err != nil {
		return err
	}
	if len(p.Holds) > 0 {
		return p.CannotCarry(st.Name)
	}
	back := p.RolledBack(st.Name)
	back.Discard = how.Discard
	back.Awaited = st.AwaitsRollback(p.update)
	return rn.stager.Commit(p, back)
}

// Rollback writes what the newest rollback point of a free storage needs on top of it: an open node, and for what is
// carried over the nodes that hold it, reconciled with that point.
func (s *Stager) Rollback(ctx context.Context, st dag.Storage, carry bool) (*Staged, error) {
	point := st.Points[len(st.Points)-1]
	p := &Staged{update: point.Update, head: st.Head, at: s.ageing.Stamp(clock.Now())}
	var (
		k       stacks
		written []dag.NodeID
	)
	var unusable error
	p.Draft = s.state.Begin(func(g *dag.Graph) []dag.NodeID {
		k = carryStacks(g, st)
		written = k.user
		needed := k.below
		if carry {
			needed = k.all()
		}
		unusable = s.state.Usable(g, needed)
		return k.all()
	})
	if unusable != nil {
		return p, unusable
	}
	if !carry || len(written) == 0 {
		return p, s.openOn(p, k.below)
	}
	if err := s.state.Seal(ctx, st.Head); err != nil {
		return p, s.holdRefused(p, err)
	}
	var dir string
	var err error
	if p.carried, dir, err = p.Make(); err != nil {
		return p, err
	}
	if err := s.squash(ctx, written, s.nodes.Stack(k.next), dir); err != nil {
		return p, err
	}
	if err := s.nodes.Flags().Inherit(p.carried, written...); err != nil {
		return p, err
	}
	k.below = append([]dag.NodeID{}, k.next...)
	return p, s.write(ctx, st, p, k)
}

// carryStacks are the stacks for carrying over what was written since the newest rollback point: what the writer
// stood on (with the side effects of the update), what the point stands on, and what was written.
func carryStacks(g *dag.Graph, st dag.Storage) stacks {
	point, _ := g.Node(st.Points[len(st.Points)-1].Head)
	below := append(g.Stack(point.ID), g.Chain(point.Base)...)
	all := g.Stack(st.Head)
	above := all[:slices.Index(all, point.ID)]
	k := stacks{next: below, below: below}
	split := len(above)
	if last, _ := g.Node(above[split-1]); last.Kind == dag.Delta {
		split--
	}
	k.user = above[:split]
	k.old = append(slices.Clone(all[split:]), g.Chain(g.Base(st))...)
	return k
}

// squash merges storage nodes into one directory that shows the same over below.
func (s *Stager) squash(ctx context.Context, ids []dag.NodeID, below tree.Stack, dir string) (err error) {
	between := s.state.Begin(state.Nothing)
	defer func() { err = errors.Join(err, between.Close()) }()
	lower := s.nodes.Empty()
	for i, upper := range slices.Backward(ids) {
		into := dir
		if i > 0 {
			if _, into, err = between.Make(); err != nil {
				return err
			}
		}
		if err := tree.Merge(ctx, s.nodes.FS(upper), lower, []tree.Stack{below}, into); err != nil {
			return fmt.Errorf("squash %v: %w", upper, err)
		}
		lower = into
	}
	return nil
}
