// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"sync"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// leases counts who is reading or making a node, so that its directory is not deleted.
type leases struct {
	mu    sync.Mutex
	count map[dag.NodeID]int
}

func newLeases() *leases { return &leases{count: map[dag.NodeID]int{}} }

// lease keeps nodes until release is called. Calling release again does nothing.
func (p *leases) lease(ids ...dag.NodeID) (release func()) {
	p.add(ids, 1)
	return sync.OnceFunc(func() { p.add(ids, -1) })
}

func (p *leases) add(ids []dag.NodeID, by int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		if p.count[id] += by; p.count[id] == 0 {
			delete(p.count, id)
		}
	}
}

func (p *leases) leased(id dag.NodeID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count[id] > 0
}
