// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// LockStorages takes the locks of storages, by name, or none. See docs/architecture.md for the order of all locks.
func (s *State) LockStorages(ctx context.Context, names []string) (unlock func(), err error) {
	var unlocks []func()
	unlock = func() {
		for _, fn := range unlocks {
			fn()
		}
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		one, err := s.locks.Lock(ctx, "storage "+name)
		if err != nil {
			unlock()
			return nil, err
		}
		unlocks = append(unlocks, one)
	}
	return unlock, nil
}

// atWork is how long somebody who is at work with a storage is waited for by what can be done another time.
const atWork = time.Second

// Locked calls fn with a storage and its lock.
func (s *State) Locked(ctx context.Context, name string, fn func(dag.Storage) error) error {
	unlock, err := s.locks.Lock(ctx, "storage "+name)
	if err != nil {
		return err
	}
	defer unlock()
	st, ok := s.Storage(name)
	if !ok {
		return fmt.Errorf("storage %q: %w", name, errdefs.ErrNotFound)
	}
	return fn(st)
}

// TryLock takes the lock of a storage, unless somebody is at work with it.
func (s *State) TryLock(ctx context.Context, name string) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, atWork)
	defer cancel()
	return s.locks.Lock(ctx, "storage "+name)
}
