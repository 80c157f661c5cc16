// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"sync"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// Set is a set of nodes. It is safe for concurrent use.
type Set struct {
	mu  sync.Mutex
	ids map[dag.NodeID]bool
}

// NewSet returns an empty set.
func NewSet() *Set { return &Set{ids: map[dag.NodeID]bool{}} }

// Add adds nodes.
func (s *Set) Add(ids ...dag.NodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		s.ids[id] = true
	}
}

// Remove removes a node.
func (s *Set) Remove(id dag.NodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ids, id)
}

// Has reports whether a node is in the set.
func (s *Set) Has(id dag.NodeID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids[id]
}

// List returns the nodes, in no order.
func (s *Set) List() []dag.NodeID {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]dag.NodeID, 0, len(s.ids))
	for id := range s.ids {
		ids = append(ids, id)
	}
	return ids
}
