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

// RemoveStorage ends a storage with all that was written in it. It is refused while a container has it, or anything
// uses it.
func (s *Snapshotter) RemoveStorage(ctx context.Context, name string, opts ...use.Option) error {
	return s.tracker.WhenFree(ctx, name, use.Assumed(opts), func(_ dag.Storage, u use.Use) error {
		if !u.Free() {
			return fmt.Errorf("storage %q: %s: %w", name, u, errdefs.ErrFailedPrecondition)
		}
		return s.removeFree(ctx, name)
	})
}

// Fork begins a storage named target that has all that source has now. Source must not be in use.
func (s *Snapshotter) Fork(ctx context.Context, source, target string, opts ...use.Option) error {
	return s.tracker.WhenFree(ctx, source, use.Assumed(opts), func(st dag.Storage, u use.Use) error {
		if !u.Free() {
			return fmt.Errorf("storage %q: %s; stop what uses it first: %w", source, u, errdefs.ErrFailedPrecondition)
		}
		return s.state.Fork(ctx, st, target)
	})
}

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
		return 0, fmt.Errorf("image %q cannot be looked up without a containerd; set containerd.address: %w", image, errdefs.ErrFailedPrecondition)
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
		return 0, fmt.Errorf("image %q is unpacked as %s, which is no layer here; is this daemon the snapshotter that containerd calls by the configured name? %w", image, key, errdefs.ErrNotFound)
	}
	return slices.Max(found), nil
}
