// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// Usage returns what a key occupies by itself: a layer without the layers below it, an active key what is written in
// it now and what an update history holds for it alone. Only nodes that are not known yet are walked, because CRI
// asks every few seconds.
func (s *Snapshotter) Usage(ctx context.Context, key string) (snapshots.Usage, error) {
	var (
		known   snapshots.Usage
		unknown []dag.NodeID
		err     error
	)
	s.state.Graph(func(g *dag.Graph) { known, unknown, err = usage(g, key) })
	if err != nil {
		return snapshots.Usage{}, err
	}
	size, inodes, err := s.meter.MeasureNow(ctx, unknown)
	if err != nil {
		return snapshots.Usage{}, fmt.Errorf("usage of snapshot %q: %w", key, err)
	}
	known.Add(snapshots.Usage{Size: size, Inodes: inodes})
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
