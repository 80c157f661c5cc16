// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/containerd/errdefs"
)

// locks holds one lock for each key in use. Waiting for one ends with the context.
//
// Whoever needs several takes that of a containerd key before that of a storage, and those of storages by name.
type locks struct {
	mu   sync.Mutex
	held map[string]*lock
}

type lock struct {
	turn  chan struct{}
	users int
}

func newLocks() *locks { return &locks{held: map[string]*lock{}} }

// lock waits for the lock of a key and returns what gives it back.
func (l *locks) lock(ctx context.Context, key string) (unlock func(), err error) {
	l.mu.Lock()
	k := l.held[key]
	if k == nil {
		k = &lock{turn: make(chan struct{}, 1)}
		l.held[key] = k
	}
	k.users++
	l.mu.Unlock()
	select {
	case k.turn <- struct{}{}:
		return func() { <-k.turn; l.leave(key, k) }, nil
	case <-ctx.Done():
		l.leave(key, k)
		return nil, fmt.Errorf("%s is busy: %w: %w", key, errdefs.ErrUnavailable, context.Cause(ctx))
	}
}

func (l *locks) leave(key string, k *lock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.users--; k.users == 0 {
		delete(l.held, key)
	}
}

// lockStorages takes the locks of storages, or none.
func (s *Snapshotter) lockStorages(ctx context.Context, names []string) (unlock func(), err error) {
	var unlocks []func()
	unlock = func() {
		for _, fn := range unlocks {
			fn()
		}
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		one, err := s.locks.lock(ctx, "storage "+name)
		if err != nil {
			unlock()
			return nil, err
		}
		unlocks = append(unlocks, one)
	}
	return unlock, nil
}
