// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"sync"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// pins counts who is reading or making a node, so that its directory is not deleted meanwhile.
type pins struct {
	mu    sync.Mutex
	count map[dag.NodeID]int
}

func newPins() *pins { return &pins{count: map[dag.NodeID]int{}} }

// pin keeps nodes until release is called. Calling release again does nothing.
func (p *pins) pin(ids ...dag.NodeID) (release func()) {
	p.add(ids, 1)
	return sync.OnceFunc(func() { p.add(ids, -1) })
}

func (p *pins) add(ids []dag.NodeID, by int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		if p.count[id] += by; p.count[id] == 0 {
			delete(p.count, id)
		}
	}
}

func (p *pins) pinned(id dag.NodeID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count[id] > 0
}

// doomed is the set of nodes that the graph no longer has and whose directories are to be deleted.
type doomed struct {
	mu  sync.Mutex
	ids map[dag.NodeID]bool
}

func newDoomed() *doomed { return &doomed{ids: map[dag.NodeID]bool{}} }

func (d *doomed) add(ids ...dag.NodeID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		d.ids[id] = true
	}
}

func (d *doomed) remove(id dag.NodeID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.ids, id)
}

func (d *doomed) list() []dag.NodeID {
	d.mu.Lock()
	defer d.mu.Unlock()
	ids := make([]dag.NodeID, 0, len(d.ids))
	for id := range d.ids {
		ids = append(ids, id)
	}
	return ids
}
