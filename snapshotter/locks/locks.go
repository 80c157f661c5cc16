// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package locks has locks by name.
package locks

import (
	"context"
	"fmt"
	"sync"

	"github.com/containerd/errdefs"
)

// Keyed holds one lock for each key in use. Waiting for one ends with the context.
type Keyed struct {
	mu   sync.Mutex
	held map[string]*lock
}

type lock struct {
	turn  chan struct{}
	users int
}

// New returns locks of which none is taken.
func New() *Keyed { return &Keyed{held: map[string]*lock{}} }

// Lock waits for the lock of a key and returns what gives it back.
func (l *Keyed) Lock(ctx context.Context, key string) (unlock func(), err error) {
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

func (l *Keyed) leave(key string, k *lock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.users--; k.users == 0 {
		delete(l.held, key)
	}
}
