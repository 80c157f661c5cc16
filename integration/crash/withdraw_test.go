// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// undoing is a way to withdraw an update from a storage that waits for it.
type undoing func(ctx context.Context, w *world, id dag.UpdateID, storages []string) ([]updates.Undone, error)

func byCancel(ctx context.Context, w *world, id dag.UpdateID, storages []string) ([]updates.Undone, error) {
	return w.Rollbacks().Cancel(ctx, id, storages)
}

func byRollback(ctx context.Context, w *world, id dag.UpdateID, storages []string) ([]updates.Undone, error) {
	return w.Rollbacks().Undo(ctx, updates.RollbackRequest{Update: id, Storages: storages})
}

// withdraw has an update wait, because its storage is mounted, and withdraws it: the storage stays where it is. When the daemon
// dies while the update waits, the mount is gone, and the next one carries the update out. So the storage must have been on that
// base before, with the same content.
func withdraw(own, of, from, to, how string, undo undoing) step {
	return step{
		name:    fmt.Sprintf("update %s from %s to %s while it is mounted, and withdraw that by %s", of, from, to, how),
		waiting: []string{of}, elsewhere: []string{of},
		do: func(ctx context.Context, w *world) error {
			if err := w.standStill(ctx, of, from); err != nil {
				return err
			}
			mounts, err := w.Mounts(ctx, key(own))
			if err != nil {
				return err
			}
			return w.at(w.placeOf(key(own)), mounts, func(string) error {
				w.mounted(key(own))
				return w.withdrawn(ctx, of, from, to, undo)
			})
		},
	}
}

// withdrawn begins an update of a mounted storage, and withdraws it.
func (w *world) withdrawn(ctx context.Context, of, from, to string, undo undoing) error {
	r := updates.Request{Storages: []string{storage(of)}}
	w.State().Graph(func(g *dag.Graph) { r.From, r.To = nodeOf(g, from), nodeOf(g, to) })
	id, err := w.Updates().Begin(ctx, r)
	if err != nil {
		return err
	}
	if err := w.settled(); err != nil {
		return err
	}
	if state := w.outcome(id, of); state != dag.Planned {
		return fmt.Errorf("update %v of storage %s, which is mounted, is %s", id, of, state)
	}
	undone, err := undo(ctx, w, id, r.Storages)
	for _, one := range undone {
		err = errors.Join(err, one.Err)
	}
	if err != nil {
		return err
	}
	if state := w.outcome(id, of); state != dag.Withdrawn || !w.standsOn(of, from) {
		return fmt.Errorf("update %v of storage %s, which was withdrawn, is %s", id, of, state)
	}
	return nil
}

func (w *world) outcome(id dag.UpdateID, of string) (state dag.State) {
	w.State().Graph(func(g *dag.Graph) {
		u, _ := g.Update(id)
		state = u.Outcomes[storage(of)].State
	})
	return state
}

// standStill undoes what an earlier try has left: an update that waits, or was carried out when the daemon died.
func (w *world) standStill(ctx context.Context, of, base string) error {
	if err := w.settled(); err != nil {
		return err
	}
	var st dag.Storage
	w.State().Graph(func(g *dag.Graph) { st, _ = g.Storage(storage(of)) })
	if st.Pending != nil {
		undone, err := w.Rollbacks().Cancel(ctx, st.Pending.Update, []string{storage(of)})
		for _, one := range undone {
			err = errors.Join(err, tolerate(one.Err, errdefs.ErrFailedPrecondition)) // carried out in the meantime
		}
		if err != nil {
			return err
		}
	}
	return w.rollBack(ctx, of, base, false)
}
