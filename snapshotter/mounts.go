// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/binding"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/failpoint"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
)

// Mounts returns the mounts of a key. For the key of a container it first sees to it that the key has the storage it
// asks for, on the base it was prepared on, with what was waiting for the storage to be free carried out. Should that
// take longer than the client waits, it goes on, and the next call joins it.
func (s *Snapshotter) Mounts(ctx context.Context, key string) ([]mount.Mount, error) {
	n, err := s.name(key)
	switch {
	case err != nil:
		return nil, err
	case n.Kind == dag.Committed:
		return nil, fmt.Errorf("snapshot %q is committed and has no mounts of its own: %w", key,
			errdefs.ErrFailedPrecondition)
	case n.Kind == dag.View:
		return s.mountsOf(key)
	}
	unlock, err := s.locks.Lock(ctx, "snapshot "+key)
	if err != nil {
		return nil, err
	}
	return background.Outlive(ctx, s.tasks, func(ctx context.Context) ([]mount.Mount, error) {
		mounts, rehomes, err := s.atStart(ctx, key)
		unlock()
		if rehomes && err == nil {
			k := keys.Parse(key)
			return s.mountsAtHome(ctx, k)
		}
		return mounts, err
	})
}

// startKey has a key get its storage, as at the start of its container.
func (s *Snapshotter) startKey(ctx context.Context, key string) error {
	_, err := s.Mounts(ctx, key)
	return err
}

// atStart returns the mounts of a key that may be started with them, unless the key is to be prepared again first.
// The caller holds the lock of the key.
func (s *Snapshotter) atStart(ctx context.Context, key string) (mounts []mount.Mount, rehomes bool, err error) {
	n, err := s.name(key)
	if err != nil {
		return nil, false, err
	}
	claim, err := s.bindings.Binder.Identify(ctx, n)
	if err != nil {
		return nil, false, err
	}
	return s.handOut(ctx, n, claim, true)
}

// handOut returns the mounts of an active key after binding it to the storage that it claims, if any, and after
// carrying out what waits for its storage to be free. It may be the start of the container, see
// [binding.Placer.Begin], or not, while the key is being prepared. The storage's lock is held until the mounts are on
// record as handed out: a caller that has it knows that nobody is given the storage. Nothing is handed out when
// it reports that the key is to be prepared again first.
func (s *Snapshotter) handOut(
	ctx context.Context, n dag.Name, claim binding.Claim, start bool,
) (mounts []mount.Mount, rehomes bool, err error) {
	names := []string{n.Storage}
	if claim.Storage != "" {
		names = append(names, claim.Storage)
	}
	unlock, err := s.state.LockStorages(ctx, names)
	if err != nil {
		return nil, false, err
	}
	defer unlock()
	if claim.Storage != "" {
		if err := s.bindings.Binder.Bind(ctx, n.Key, claim); err != nil {
			return nil, false, err
		}
	}
	if start {
		if rehomes, err = s.bindings.Placer.Begin(ctx, n.Key); rehomes || err != nil {
			return nil, rehomes, err
		}
	}
	s.updates.Runner.CarryOut(ctx, n.Key)
	if err := s.state.SettleFlags(ctx, n.Key); err != nil {
		return nil, false, err
	}
	mounts, err = s.mountsOf(n.Key)
	return mounts, false, err
}

// mountsOf returns the mounts of a key as the graph stands. For an active key the caller holds the lock of its storage.
func (s *Snapshotter) mountsOf(key string) (mounts []mount.Mount, err error) {
	s.state.Graph(func(g *dag.Graph) {
		n, ok := g.Name(key)
		if !ok {
			err = fmt.Errorf("snapshot %q: %w", key, errdefs.ErrNotFound)
			return
		}
		if n.Kind == dag.View {
			layers := g.Chain(n.Node)
			if err = s.state.Usable(g, layers); err == nil {
				err = s.overlay.FitsView(layers)
			}
			if err != nil {
				return
			}
			s.tracker.HandOut(key, layers)
			mounts = s.overlay.View(layers)
			return
		}
		st, ok := g.Storage(n.Storage)
		if !ok {
			err = fmt.Errorf("storage %q of snapshot %q: %w", n.Storage, key, errdefs.ErrNotFound)
			return
		}
		stack := append(g.Stack(st.Head), g.Chain(g.Base(st))...)
		if err = s.state.Usable(g, stack); err == nil {
			err = s.overlay.Fits(stack)
		}
		if err != nil {
			return
		}
		// Noted while the graph cannot change, so that nobody takes the storage for free in between.
		s.tracker.HandOut(key, stack)
		s.bindings.Binder.Forget(st.Name)
		mounts = s.overlay.Active(stack)
	})
	return mounts, err
}

// mountsAtHome prepares the key of a container again that is being started, and returns the mounts of that.
// containerd asks for the mounts before it makes a task, with nothing of its own locked, and reads the container's
// record after that. What cannot be finished now is tried again in the background.
func (s *Snapshotter) mountsAtHome(ctx context.Context, key keys.Key) ([]mount.Mount, error) {
	failpoint.RehomeBegun.Hit()
	if err := s.bindings.Rehomer.Finish(ctx, key); err != nil {
		s.bindings.Rehomer.Resume()
		return nil, fmt.Errorf("container %q begins on a newer base, on which its key cannot be prepared now; "+
			"start it again: %w", key.Key, err)
	}
	for _, n := range binding.NamesByKey(s.state)[key] {
		if n.Kind == dag.Active {
			return s.Mounts(ctx, n.Key)
		}
	}
	return nil, fmt.Errorf("container %q was removed while it was being started: %w", key.Key, errdefs.ErrNotFound)
}
