// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
)

// Usage returns what a key occupies by itself: a layer without the layers below it, an active key what is written in it
// now and what an update history holds for it alone. Only nodes that are not known yet are walked, because CRI asks every
// few seconds.
func (s *Snapshotter) Usage(ctx context.Context, key string) (snapshots.Usage, error) {
	var (
		known   snapshots.Usage
		unknown []dag.NodeID
		err     error
	)
	s.Graph(func(g *dag.Graph) { known, unknown, err = usage(g, key) })
	if err != nil {
		return snapshots.Usage{}, err
	}
	defer s.busy.pin(unknown...)()
	for _, id := range unknown {
		size, inodes, err := tree.Usage(ctx, s.nodes.FS(id))
		if err != nil {
			return snapshots.Usage{}, fmt.Errorf("usage of snapshot %q: %w", key, err)
		}
		known.Add(snapshots.Usage{Size: size, Inodes: inodes})
	}
	return known, nil
}

// usage returns what is known of the nodes of a key, and those that have to be walked.
func usage(g *dag.Graph, key string) (known snapshots.Usage, unknown []dag.NodeID, err error) {
	n, ok := g.Name(key)
	if !ok {
		return known, nil, fmt.Errorf("snapshot %q: %w", key, errdefs.ErrNotFound)
	}
	var ids []dag.NodeID
	if st, ok := g.Storage(n.Storage); ok {
		ids = g.Stack(st.Head)
	} else if n.Kind == dag.Committed {
		ids = []dag.NodeID{n.Node}
	}
	for _, id := range ids {
		node, _ := g.Node(id)
		known.Add(snapshots.Usage{Size: node.Size, Inodes: node.Inodes})
		if node.Inodes == 0 {
			unknown = append(unknown, id)
		}
	}
	return known, unknown, nil
}

// measure walks the nodes that became immutable since the last time, so that nobody has to walk them again. One that
// cannot be walked is tried again later and later: an error may stay for ever, and everything in it is a container's.
func (s *Snapshotter) measure(ctx context.Context) error {
	var ids []dag.NodeID
	s.Graph(func(g *dag.Graph) { ids = g.Unmeasured() })
	defer s.busy.pin(ids...)()
	s.unmeasured.keep(ids)
	var errs []error
	for _, id := range ids {
		if !s.unmeasured.due(id, time.Now()) {
			continue
		}
		size, inodes, err := tree.Usage(ctx, s.nodes.FS(id))
		if err == nil {
			err = s.do(dag.Measure{Node: id, Size: size, Inodes: inodes})
		}
		// The node may have gone meanwhile.
		if err != nil && !errdefs.IsNotFound(err) && !errors.Is(err, fs.ErrNotExist) {
			s.unmeasured.failed(id, time.Now())
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
