// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// counts is what a run did.
type counts struct {
	operations, refused, crashes, damages, comparisons atomic.Int64
	withdrawn                                          atomic.Int64 // updates that waited or were under way
	lateFailed, lateSucceeded                          atomic.Int64 // mounts that came later than the grace
	underway                                           gauge
}

// String says how much that was.
func (c *counts) String() string {
	return fmt.Sprintf("%d operations (%d refused, at most %d under way at once), "+
		"%d crashes, %d of them with a damaged database, %d comparisons of a whole storage, "+
		"%d updates withdrawn, %d late mounts failed and %d succeeded",
		c.operations.Load(), c.refused.Load(), c.underway.highest(), c.crashes.Load(), c.damages.Load(),
		c.comparisons.Load(), c.withdrawn.Load(), c.lateFailed.Load(), c.lateSucceeded.Load())
}

// gauge counts the operations that are under way.
type gauge struct {
	full chan struct{} // gets a value when all clients have something under way

	mu        sync.Mutex
	now, most int
}

func (g *gauge) enter() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now++
	g.most = max(g.most, g.now)
	if g.now < clients {
		return
	}
	select {
	case g.full <- struct{}{}:
	default:
	}
}

func (g *gauge) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now--
}

func (g *gauge) highest() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.most
}
