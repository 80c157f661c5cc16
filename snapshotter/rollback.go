// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// RollbackRequest asks for an update to be undone.
type RollbackRequest struct {
	Update dag.UpdateID
	// Storages restricts the rollback to some storages of the update; all it was applied to when empty.
	Storages []string
	// Carry carries over what was written since the update. Otherwise it is set aside.
	Carry bool
}

// Failures are what a rollback could not do, one error for each storage. The other storages were rolled back.
type Failures []error

// Error implements error.
func (f Failures) Error() string { return errors.Join(f...).Error() }

// Unwrap returns the errors.
func (f Failures) Unwrap() []error { return f }

// Rollback undoes an update for its storages, each by itself. A storage in use is rolled back at its next start. The
// outcome of each storage shows in the record of the update. It fails with [Failures] when not all of them could be rolled
// back.
func (s *Snapshotter) Rollback(ctx context.Context, r RollbackRequest) error {
	names, err := s.rollbackable(r)
	if err != nil {
		return err
	}
	var failures Failures
	for _, name := range names {
		if err := s.rollbackOne(ctx, name, r); err != nil {
			failures = append(failures, fmt.Errorf("storage %q: %w", name, err))
		}
	}
	if len(failures) > 0 {
		return failures
	}
	return nil
}

// PreviewRollback calls fn with what a rollback would come to for each storage, until fn fails, without changing
// anything. An exact rollback has no report: it gives back the tree from before.
func (s *Snapshotter) PreviewRollback(ctx context.Context, r RollbackRequest, fn func(Preview) error) error {
	names, err := s.rollbackable(r)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(s.previewRollback(ctx, name, r)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Snapshotter) previewRollback(ctx context.Context, name string, r RollbackRequest) Preview {
	var (
		st dag.Storage
		ok bool
	)
	s.store.View(func(g *dag.Graph) { st, ok = g.Storage(name) })
	if !ok {
		return Preview{Storage: name, Err: fmt.Errorf("storage %q: %w", name, errdefs.ErrNotFound)}
	}
	if _, err := st.Newest(r.Update); err != nil {
		return Preview{Storage: name, Err: err}
	}
	if !r.Carry {
		return Preview{Storage: name, Waits: s.waits(ctx, st)}
	}
	return s.preview(ctx, name, func(g *dag.Graph, st dag.Storage) (stacks, error) {
		if _, err := st.Newest(r.Update); err != nil {
			return stacks{}, err
		}
		return carryStacks(g, st), nil
	})
}

func (s *Snapshotter) rollbackable(r RollbackRequest) (names []string, err error) {
	s.store.View(func(g *dag.Graph) {
		u, ok := g.Update(r.Update)
		if !ok {
			err = fmt.Errorf("update %v: %w", r.Update, errdefs.ErrNotFound)
			return
		}
		for name, o := range u.Outcomes {
			if o.State == dag.Applied {
				names = append(names, name)
			}
		}
	})
	slices.Sort(names)
	if err != nil || len(r.Storages) == 0 {
		if err == nil && len(names) == 0 {
			err = fmt.Errorf("update %v is applied to no storage: %w", r.Update, errdefs.ErrFailedPrecondition)
		}
		return names, err
	}
	for _, name := range r.Storages {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("update %v is not applied to storage %q: %w", r.Update, name, errdefs.ErrFailedPrecondition)
		}
	}
	return r.Storages, nil
}

func (s *Snapshotter) rollbackOne(ctx context.Context, name string, r RollbackRequest) error {
	return s.whenFree(ctx, name, func(st dag.Storage, u use) error {
		if _, err := st.Newest(r.Update); err != nil {
			return err
		}
		if u.by != "" {
			reason := u.by + "; it will be rolled back at its next start"
			return s.do(dag.AwaitRollback{Update: r.Update, Storage: name, Carry: r.Carry, Reason: reason, Now: now()})
		}
		return s.rollbackFree(ctx, st, r.Carry)
	})
}

// rollbackWaiting carries out the rollback that a free storage, whose lock the caller holds, waits for. If that fails, the
// storage goes on waiting, and the record of the update says why.
func (s *Snapshotter) rollbackWaiting(ctx context.Context, st dag.Storage) error {
	err := s.rollbackFree(ctx, st, st.Pending.Carry)
	if err == nil || ctx.Err() != nil {
		return err
	}
	reason := err.Error() + "; it will be tried again at its next start"
	return errors.Join(err, s.do(dag.AwaitRollback{Update: st.Pending.Update, Storage: st.Name, Carry: st.Pending.Carry, Reason: reason, Now: now()}))
}

// rollbackFree rolls a storage back that is free and whose lock the caller holds.
func (s *Snapshotter) rollbackFree(ctx context.Context, st dag.Storage, carry bool) error {
	p, err := s.stageRollback(ctx, st, carry)
	if err != nil {
		return err
	}
	if len(p.holds) > 0 {
		return errors.Join(p.cannotCarry(st.Name), s.discard(p))
	}
	return s.commitStaged(p, p.rolledBack(st.Name))
}

func (p staged) cannotCarry(storage string) error {
	return fmt.Errorf("what was written in storage %q since %v cannot be carried over, roll back without carrying: %s: %w",
		storage, p.update, strings.Join(p.holds, "; "), errdefs.ErrFailedPrecondition)
}

// stageRollback writes what the newest rollback point of a free storage needs on top of it: an open node, and for what is
// carried over the nodes that hold it, reconciled with that point.
func (s *Snapshotter) stageRollback(ctx context.Context, st dag.Storage, carry bool) (staged, error) {
	point := st.Points[len(st.Points)-1]
	p := staged{update: point.Update, head: st.Head}
	var (
		k       stacks
		written []dag.NodeID
	)
	var unusable error
	p.release = s.pin(func(g *dag.Graph) []dag.NodeID {
		k = carryStacks(g, st)
		written = k.user
		needed := k.below
		if carry {
			needed = k.all()
		}
		unusable = s.usable(g, needed)
		return k.all()
	})
	if unusable != nil {
		return p, errors.Join(unusable, s.discard(p))
	}
	if !carry || len(written) == 0 {
		return s.stageExact(p, k)
	}
	refused, err := s.seal(ctx, st.Head)
	switch {
	case err != nil:
		return p, errors.Join(err, s.discard(p))
	case refused != "":
		p.holds = []string{refused}
		return p, nil
	}
	p.carried = s.store.NewNode()
	dir, err := s.nodes.Stage(p.carried)
	if err == nil {
		err = s.squash(ctx, written, s.nodes.Stack(k.next), dir)
	}
	if err != nil {
		return p, errors.Join(err, s.discard(p))
	}
	k.below = append([]dag.NodeID{}, k.next...)
	return s.write(ctx, st, p, k)
}

// carryStacks are the stacks for carrying over what was written since the newest rollback point: what the writer stood on
// (with the side effects of the update), what the point stands on, and what was written.
func carryStacks(g *dag.Graph, st dag.Storage) stacks {
	point, _ := g.Node(st.Points[len(st.Points)-1].Head)
	below := append(g.Stack(point.ID), g.Chain(point.Base)...)
	all := g.Stack(st.Head)
	above := all[:slices.Index(all, point.ID)]
	k := stacks{next: below, below: below, base: point.Base}
	split := len(above)
	if last, _ := g.Node(above[split-1]); last.Kind == dag.Delta {
		split--
	}
	k.user = above[:split]
	k.old = append(slices.Clone(all[split:]), g.Chain(g.Base(st))...)
	return k
}

// stageExact stages nothing but an open node on the rollback point.
func (s *Snapshotter) stageExact(p staged, k stacks) (staged, error) {
	p.open = s.store.NewNode()
	err := s.stageOpen(p.open, s.nodes.Stack(k.below))
	if err == nil {
		err = s.nodes.Publish(p.open)
	}
	if err == nil {
		err = s.sync(p.open)
	}
	if err != nil {
		return p, errors.Join(err, s.discard(p))
	}
	return p, nil
}

// squash merges storage nodes into one directory that shows the same over below.
func (s *Snapshotter) squash(ctx context.Context, ids []dag.NodeID, below tree.Stack, dir string) (err error) {
	var between []dag.NodeID
	defer func() {
		for _, id := range between {
			err = errors.Join(err, s.discardNodes(id))
		}
	}()
	lower := s.nodes.Empty()
	for i, upper := range slices.Backward(ids) {
		into := dir
		if i > 0 {
			id := s.store.NewNode()
			between = append(between, id)
			if into, err = s.nodes.Stage(id); err != nil {
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
