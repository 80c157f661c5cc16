// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// Images returns the names that containerd has for layers, by their origin. Without a containerd there are none.
func (s *Snapshotter) Images(ctx context.Context) (map[string][]string, error) {
	if s.host == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, use.AskTimeout)
	defer cancel()
	return s.host.Images(ctx)
}

// LayerOf returns the node of the topmost layer of an image in a containerd namespace, unpacked if need be.
func (s *Snapshotter) LayerOf(ctx context.Context, namespace, image string) (dag.NodeID, error) {
	if s.host == nil {
		return 0, fmt.Errorf("image %q cannot be looked up without a containerd; set containerd.address: %w", image,
			errdefs.ErrFailedPrecondition)
	}
	key, err := s.host.Layer(ctx, namespace, image)
	if err != nil {
		return 0, fmt.Errorf("look up image %q: %w", image, err)
	}
	var found []dag.NodeID
	s.state.Graph(func(g *dag.Graph) {
		for _, n := range g.Names() {
			k := keys.Parse(n.Key)
			if n.Kind == dag.Committed && k.Namespace == namespace && k.Key == key {
				found = append(found, n.Node)
			}
		}
	})
	if len(found) == 0 {
		return 0, fmt.Errorf("image %q is unpacked as %s, which is no layer here; is this daemon the snapshotter that "+
			"containerd calls by the configured name? %w", image, key, errdefs.ErrNotFound)
	}
	return slices.Max(found), nil
}
