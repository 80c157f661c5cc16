// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/nodes"
)

// Meter measures what nodes occupy on disk.
type Meter struct {
	state      *State
	nodes      *nodes.Dir
	unmeasured pauses // of the maintenance alone
}

// NewMeter returns what measures the nodes of a state directory.
func NewMeter(s *State) *Meter { return &Meter{state: s, nodes: s.nodes, unmeasured: pauses{}} }

// Node measures what a node occupies on disk. It fails with errdefs.ErrNotFound when the node has no directory (any
// more).
func (m *Meter) Node(ctx context.Context, id dag.NodeID) (size, inodes int64, err error) {
	defer m.state.LeaseNodes(id)()
	size, inodes, err = tree.Usage(ctx, m.nodes.FS(id))
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("node %v has no directory: %w", id, errdefs.ErrNotFound)
	}
	return size, inodes, err
}

// MeasureNow walks nodes, and returns what they occupy together.
func (m *Meter) MeasureNow(ctx context.Context, ids []dag.NodeID) (size, inodes int64, err error) {
	defer m.state.LeaseNodes(ids...)()
	for _, id := range ids {
		oneSize, oneInodes, err := tree.Usage(ctx, m.nodes.FS(id))
		if err != nil {
			return 0, 0, err
		}
		size, inodes = size+oneSize, inodes+oneInodes
	}
	return size, inodes, nil
}

// Measure walks the nodes that became immutable since the last time, so that nobody has to walk them again. One that
// cannot be walked is tried again later and later: an error may stay for ever, and everything in it is a container's.
func (m *Meter) Measure(ctx context.Context) error {
	var ids []dag.NodeID
	m.state.Graph(func(g *dag.Graph) { ids = g.Unmeasured() })
	defer m.state.LeaseNodes(ids...)()
	m.unmeasured.keep(ids)
	var errs []error
	for _, id := range ids {
		if !m.unmeasured.due(id, time.Now()) {
			continue
		}
		size, inodes, err := tree.Usage(ctx, m.nodes.FS(id))
		if err == nil {
			err = m.state.Do(dag.Measure{Node: id, Size: size, Inodes: inodes})
		}
		// The node may be gone by now.
		if err != nil && !errdefs.IsNotFound(err) && !errors.Is(err, fs.ErrNotExist) {
			m.unmeasured.failed(id, time.Now())
			errs = append(errs, fmt.Errorf("node %v: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

// The pauses before a node that could not be measured is tried again: each is twice the one before.
const (
	firstPause = background.Again
	lastPause  = time.Hour
)

// pauses remembers what failed, and when to try again. It is for one goroutine. The zero value remembers nothing.
type pauses map[dag.NodeID]pause

type pause struct {
	until  time.Time // by the monotonic clock
	length time.Duration
}

// due reports whether a node may be tried now.
func (p pauses) due(id dag.NodeID, at time.Time) bool { return !at.Before(p[id].until) }

// failed notes that a node failed now.
func (p pauses) failed(id dag.NodeID, at time.Time) {
	length := min(max(2*p[id].length, firstPause), lastPause)
	p[id] = pause{at.Add(length), length}
}

// keep forgets all nodes but the given ones.
func (p pauses) keep(ids []dag.NodeID) {
	maps.DeleteFunc(p, func(id dag.NodeID, _ pause) bool { return !slices.Contains(ids, id) })
}
