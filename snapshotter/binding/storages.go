// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package binding

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// Storages ends and copies storages.
type Storages struct {
	state   *state.State
	tracker *use.Tracker
	host    Host // nil without a containerd
	young   *young
	leaving time.Duration // see the constant; tests wait for less
}

// Remove ends a storage with all that was written in it. It is refused while a container has it, or anything
// uses it.
func (s *Storages) Remove(ctx context.Context, name string, opts ...use.Option) error {
	return s.tracker.WhenFree(ctx, name, use.Assumed(opts), func(_ dag.Storage, u use.Use) error {
		if !u.Free() {
			return fmt.Errorf("storage %q: %s: %w", name, u, errdefs.ErrFailedPrecondition)
		}
		return s.removeFree(ctx, name)
	})
}

// Fork begins a storage named target that has all that source has now. Source must not be in use.
func (s *Storages) Fork(ctx context.Context, source, target string, opts ...use.Option) error {
	return s.tracker.WhenFree(ctx, source, use.Assumed(opts), func(st dag.Storage, u use.Use) error {
		if !u.Free() {
			return fmt.Errorf("storage %q: %s; stop what uses it first: %w", source, u, errdefs.ErrFailedPrecondition)
		}
		return s.state.Fork(ctx, st, target)
	})
}
