// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package use

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
)

// WhenFree calls fn with a storage, and its lock, as soon as the storage is free or known to be in use for longer than
// the grace time. The lock is not held while that is waited for: the start of the storage's container needs it. What fn
// freezes can no longer be mounted to be written.
func (t *Tracker) WhenFree(ctx context.Context, name string, assumeFree bool, fn func(dag.Storage, Use) error) error {
	for {
		var change <-chan struct{}
		err := t.state.Locked(ctx, name, func(st dag.Storage) error {
			c, u := t.Claim(ctx, st, assumeFree)
			if u.Soon() {
				change = t.handed.change(st.Key)
				return nil
			}
			return errors.Join(fn(st, t.Named(ctx, u)), c.Close())
		})
		if err != nil || change == nil {
			return err
		}
		if err := wait(ctx, change); err != nil {
			return fmt.Errorf("wait for storage %q to be free: %w", name, err)
		}
	}
}

// wait waits for a channel to be ready. It fails with errdefs.ErrUnavailable when the context ends first.
func wait(ctx context.Context, ready <-chan struct{}) error {
	select {
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errdefs.ErrUnavailable, context.Cause(ctx))
	case <-ready:
		return nil
	}
}

// TaskSeen notes that containerd had a task for a container at a time: whatever mounts were handed out for it before
// have been mounted by then, so that from now on the mount tables show whether they are in use. Storages that wait are
// looked at.
func (t *Tracker) TaskSeen(namespace, container string, at time.Time) {
	var taken []string
	waits := false
	t.state.Graph(func(g *dag.Graph) {
		waits = len(g.ToStage()) > 0
		for _, st := range g.Storages() {
			waits = waits || st.Pending != nil
			if k := keys.Parse(st.Key); k.Namespace == namespace && k.Key == container {
				taken = append(taken, st.Key)
			}
		}
	})
	for _, key := range taken {
		t.Released(key, at)
	}
	if waits {
		t.tasks.Kick()
	}
}
