// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// MergeLayers merges delta layers that no storage stands on with the layer that depends on them, until no such pair is
// left, and returns the pairs it merged. What any container sees stays the same.
func (s *Snapshotter) MergeLayers(ctx context.Context) ([]dag.Pair, error) {
	return s.mergeAll(ctx, func(n dag.Node) bool { return n.Kind == dag.Layer })
}

// MergeableLayers returns the pairs of layers that could be merged now. Merging one pair may make another one mergeable.
func (s *Snapshotter) MergeableLayers() (pairs []dag.Pair) {
	s.store.View(func(g *dag.Graph) {
		for _, p := range g.Mergeable() {
			if n, _ := g.Node(p.Upper); n.Kind == dag.Layer {
				pairs = append(pairs, p)
			}
		}
	})
	return pairs
}

// mergeStorages merges the storage nodes that no rollback point keeps apart any more, so that the stack of a storage that
// is updated often stays bounded.
func (s *Snapshotter) mergeStorages(ctx context.Context) error {
	_, err := s.mergeAll(ctx, func(n dag.Node) bool { return n.Kind != dag.Layer })
	return err
}

func (s *Snapshotter) mergeAll(ctx context.Context, wanted func(upper dag.Node) bool) ([]dag.Pair, error) {
	unlock, err := s.locks.lock(ctx, "merge")
	if err != nil {
		return nil, err
	}
	defer unlock()
	var done []dag.Pair
	put := map[dag.Pair]bool{} // put off: cannot be merged for now
	for ctx.Err() == nil {
		pair, views, found := s.nextPair(wanted, put)
		if !found {
			return done, nil
		}
		err := s.mergePair(ctx, pair, views)
		switch {
		case err == nil:
			done = append(done, pair)
		case errors.Is(err, tree.ErrViewsDiffer), errdefs.IsFailedPrecondition(err):
			log.G(ctx).WithError(err).WithField("nodes", fmt.Sprint(pair)).Debug("merge put off")
			put[pair] = true
		default:
			return done, err
		}
	}
	return done, ctx.Err()
}

// nextPair returns a pair to merge, and what stands below it in every view that shows it.
func (s *Snapshotter) nextPair(wanted func(dag.Node) bool, put map[dag.Pair]bool) (pair dag.Pair, views [][]dag.NodeID, found bool) {
	s.store.View(func(g *dag.Graph) {
		for _, p := range g.Mergeable() {
			upper, _ := g.Node(p.Upper)
			if put[p] || !wanted(upper) {
				continue
			}
			lower, _ := g.Node(p.Lower)
			if lower.Kind == dag.Layer {
				views = [][]dag.NodeID{g.Chain(lower.Parent)}
			}
			for _, base := range g.BasesAbove(p.Upper) {
				views = append(views, append(g.Stack(lower.Parent), g.Chain(base)...))
			}
			pair, found = p, true
			return
		}
	})
	return pair, views, found
}

// mergePair builds the node that takes the place of two and puts it there. After a crash either the two are there or the
// one; the other is deleted.
func (s *Snapshotter) mergePair(ctx context.Context, p dag.Pair, views [][]dag.NodeID) (err error) {
	pinned := []dag.NodeID{p.Lower, p.Upper}
	below := make([]tree.Stack, 0, len(views))
	for _, v := range views {
		pinned = append(pinned, v...)
		below = append(below, s.nodes.Stack(v))
	}
	defer s.busy.pin(pinned...)()
	into := s.store.NewNode()
	defer func() {
		if err != nil {
			err = errors.Join(err, s.nodes.Discard(into))
		}
	}()
	dir, err := s.nodes.Stage(into)
	if err != nil {
		return err
	}
	if err := s.nodes.Describe(into, described{Node: s.mergedNode(p, into)}); err != nil {
		return err
	}
	for _, id := range []dag.NodeID{p.Lower, p.Upper} {
		if refused, err := s.seal(ctx, id); err != nil || refused != "" {
			return errors.Join(err, fmt.Errorf("%v cannot be merged: %s: %w", id, refused, errdefs.ErrFailedPrecondition))
		}
	}
	if err := tree.Merge(ctx, s.nodes.FS(p.Upper), s.nodes.FS(p.Lower), below, dir); err != nil {
		return fmt.Errorf("merge %v into %v: %w", p.Upper, p.Lower, err)
	}
	size, inodes, err := tree.Usage(ctx, dir)
	if err != nil {
		return err
	}
	if err := s.nodes.Publish(into); err != nil {
		return err
	}
	if err := s.sync(); err != nil {
		return err
	}
	return s.do(dag.Merge{Pair: p, Into: into, Size: size, Inodes: inodes, Now: now()})
}

func (s *Snapshotter) mergedNode(p dag.Pair, into dag.NodeID) (n dag.Node) {
	s.store.View(func(g *dag.Graph) {
		lower, _ := g.Node(p.Lower)
		n, _ = g.Node(p.Upper)
		n.ID, n.Parent = into, lower.Parent
	})
	return n
}
