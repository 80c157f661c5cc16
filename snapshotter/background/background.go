// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package background runs the work that nobody waits for, and ends it.
package background

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
)

// Every is how often the maintenance runs when nothing asks for it.
const Every = time.Minute

// Again is how soon a step of the maintenance that failed is tried again. A step that goes on failing is tried ever
// more rarely.
const Again = 5 * time.Second

// Tasks are what runs in the background until they are closed. They are safe for concurrent use.
type Tasks struct {
	life   context.Context // ends when the tasks are closed
	stop   context.CancelFunc
	kicked chan struct{}

	mu    sync.Mutex // guards ended, and that no task begins after it
	ended bool
	tasks sync.WaitGroup
}

// New returns tasks of which none runs.
func New() *Tasks {
	t := &Tasks{kicked: make(chan struct{}, 1)}
	t.life, t.stop = context.WithCancel(log.WithLogger(context.Background(),
		log.L.WithField("component", "background")))
	return t
}

// Go runs fn, whose context ends when the tasks are closed. It reports whether fn is run: not once they are closed.
func (t *Tasks) Go(fn func(context.Context)) bool { return t.start(t.life, fn) }

func (t *Tasks) start(ctx context.Context, fn func(context.Context)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended {
		t.tasks.Go(func() { fn(ctx) })
	}
	return !t.ended
}

// Close ends the context of all tasks and waits for them. It reports whether this was the first call; a second one
// does nothing.
func (t *Tasks) Close() bool {
	t.mu.Lock()
	ended := t.ended
	t.ended = true
	t.mu.Unlock()
	if ended {
		return false
	}
	t.stop()
	t.tasks.Wait()
	return true
}

// Outlive runs fn and waits for it. When ctx ends first, fn goes on in the background until the tasks are closed: a
// caller that asks again finds the work done, even if each caller waits only briefly.
func Outlive[R any](ctx context.Context, t *Tasks, fn func(context.Context) (R, error)) (result R, err error) {
	type answer struct {
		result R
		err    error
	}
	answered := make(chan answer, 1)
	run := func(ctx context.Context) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(t.life, func() { cancel(context.Cause(t.life)) })()
		r, err := fn(ctx)
		answered <- answer{r, err}
	}
	if !t.start(context.WithoutCancel(ctx), run) {
		return result, fmt.Errorf("the snapshotter is closed: %w", errdefs.ErrUnavailable)
	}
	select {
	case a := <-answered:
		return a.result, a.err
	case <-ctx.Done():
		return result, fmt.Errorf("the storage is being serviced, which goes on: %w: %w",
			errdefs.ErrUnavailable, context.Cause(ctx))
	}
}

// Sleep waits for a time. It fails with errdefs.ErrUnavailable when the context ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errdefs.ErrUnavailable, context.Cause(ctx))
	case <-timer.C:
		return nil
	}
}
