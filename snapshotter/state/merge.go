// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/locks"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/mounttable"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/nodes"
)

// unwritten refuses frozen nodes that a mount table shows as mounted to be written. No mount of ours is; one that was
// made by hand would write into what a merge makes of them, through hard links.
func (r *Merger) unwritten(ids ...dag.NodeID) error {
	table, err := mounttable.Read(r.nodes.Published())
	if err != nil {
		return err
	}
	for _, id := range ids {
		if table.Upper(id) {
			return fmt.Errorf("%v is mounted to be written, though it is immutable: %w", id,
				errdefs.ErrFailedPrecondition)
		}
	}
	return nil
}

// Merger merges nodes that nothing keeps apart.
type Merger struct {
	state *State
	nodes *nodes.Dir
	locks *locks.Keyed // of merging: one at a time
}

// NewMerger returns what merges the nodes of a state directory.
func NewMerger(s *State) *Merger { return &Merger{state: s, nodes: s.nodes, locks: locks.New()} }

// LayerMerge is what merging layers came to, or would come to.
type LayerMerge struct {
	// Merged are the pairs that were merged, or that could be merged first.
	Merged []dag.Pair
	// Kept are the pairs of layers that stay as they are, the lowest first, with why.
	Kept []KeptPair
}

// KeptPair is two layers that are not merged.
type KeptPair struct {
	dag.LayerPair
	// Err says why two layers that nothing else needs are not merged; nil for two layers with obstacles.
	Err error
}

// Layers merges delta layers that no storage stands on with the layer that depends on them, until no such pair is
// left, and returns which it merged and why it left the others. What any container sees stays the same.
func (r *Merger) Layers(ctx context.Context) (LayerMerge, error) {
	done, put, err := r.mergeAll(ctx, func(n dag.Node) bool { return n.Kind == dag.Layer })
	if err != nil {
		return LayerMerge{}, err
	}
	all := r.PlanLayers()
	for _, p := range all.Merged {
		why := put[p]
		if why == nil {
			why = fmt.Errorf("%v and %v have become free since: %w", p.Lower, p.Upper, errdefs.ErrUnavailable)
		}
		all.Kept = append(all.Kept, KeptPair{LayerPair: dag.LayerPair{Pair: p}, Err: why})
	}
	all.Merged = done
	return all, nil
}

// PlanLayers returns what MergeLayers would come to. Merging one pair may make another one mergeable.
func (r *Merger) PlanLayers() (all LayerMerge) {
	r.state.Graph(func(g *dag.Graph) {
		for _, p := range dag.LayerPairs(g) {
			if len(p.Obstacles) > 0 {
				all.Kept = append(all.Kept, KeptPair{LayerPair: p})
				continue
			}
			if err := r.state.Usable(g, g.Chain(p.Upper)); err != nil {
				all.Kept = append(all.Kept, KeptPair{LayerPair: p, Err: err})
				continue
			}
			all.Merged = append(all.Merged, p.Pair)
		}
	})
	return all
}

// MergeFree merges the nodes that nothing keeps apart any longer: of storages, when no rollback point does, and delta
// layers, when they have no name in containerd either. So the stack of a storage that is updated often stays bounded.
func (r *Merger) MergeFree(ctx context.Context) error {
	_, _, err := r.mergeAll(ctx, func(dag.Node) bool { return true })
	return err
}

// Pause waits for nodes that are being merged, and keeps others from it until resume is called.
func (r *Merger) Pause(ctx context.Context) (resume func(), err error) {
	return r.locks.Lock(ctx, "merge")
}

func (r *Merger) mergeAll(
	ctx context.Context, wanted func(upper dag.Node) bool,
) (done []dag.Pair, put map[dag.Pair]error, err error) {
	unlock, err := r.Pause(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	return r.mergeEach(ctx, wanted)
}

// mergeEach merges pairs until none is left that can be merged now, and returns which it merged, and which it put off
// and why. The caller holds the lock of merging.
func (r *Merger) mergeEach(
	ctx context.Context, wanted func(upper dag.Node) bool,
) (done []dag.Pair, put map[dag.Pair]error, _ error) {
	var errs []error
	put = map[dag.Pair]error{}
	for ctx.Err() == nil {
		merging, found := r.nextPair(wanted, put)
		if !found {
			return done, put, errors.Join(errs...)
		}
		err := r.mergePair(ctx, merging)
		switch {
		case err == nil:
			done = append(done, merging.Pair)
			continue
		case errors.Is(err, tree.ErrViewsDiffer), errdefs.IsFailedPrecondition(err), errdefs.IsUnavailable(err):
			log.G(ctx).WithError(err).WithField("nodes", fmt.Sprint(merging.Pair)).Debug("merge put off")
		default:
			errs = append(errs, err) // which must not keep others from being merged
		}
		put[merging.Pair] = err
	}
	return done, put, errors.Join(append(errs, ctx.Err())...)
}

// merging is a pair to merge, leased with what it is seen over.
type merging struct {
	dag.Pair
	views    [][]dag.NodeID // what stands below it in every view that shows it
	storages []string       // whose views they are
	draft    *Draft
}

// nextPair returns a pair to merge that was not put off: the one with the fewest files, so that what many nodes
// become is not made again for each of them.
func (r *Merger) nextPair(wanted func(dag.Node) bool, put map[dag.Pair]error) (m merging, found bool) {
	m.draft = r.state.Begin(func(g *dag.Graph) []dag.NodeID {
		pairs := g.Mergeable()
		files := func(p dag.Pair) int64 {
			lower, _ := g.Node(p.Lower)
			upper, _ := g.Node(p.Upper)
			return lower.Inodes + upper.Inodes
		}
		slices.SortStableFunc(pairs, func(a, b dag.Pair) int { return cmp.Compare(files(a), files(b)) })
		for _, p := range pairs {
			upper, _ := g.Node(p.Upper)
			if put[p] != nil || !wanted(upper) {
				continue
			}
			views, storages := viewsOf(g, p)
			nodes := slices.Concat(append(views, []dag.NodeID{p.Lower, p.Upper})...)
			if r.state.Usable(g, nodes) != nil {
				continue
			}
			m.Pair, m.views, m.storages, found = p, views, storages, true
			return nodes
		}
		return nil
	})
	if !found {
		m.draft.release()
	}
	return m, found
}

// viewsOf returns what stands below a pair in every view that shows it, and the storages that have such a view.
func viewsOf(g *dag.Graph, p dag.Pair) (views [][]dag.NodeID, storages []string) {
	lower, _ := g.Node(p.Lower)
	if lower.Kind == dag.Layer {
		return [][]dag.NodeID{g.Chain(lower.Parent)}, nil
	}
	for _, base := range g.BasesAbove(p.Upper) {
		views = append(views, append(g.Stack(lower.Parent), g.Chain(base)...))
	}
	for _, st := range g.Storages() {
		heads := []dag.NodeID{st.Head}
		for _, point := range slices.Concat(st.Points, st.Aside) {
			heads = append(heads, point.Head)
		}
		if slices.ContainsFunc(heads, func(head dag.NodeID) bool { return slices.Contains(g.Stack(head), p.Upper) }) {
			storages = append(storages, st.Name)
		}
	}
	return views, storages
}

// mergePair builds the node that takes the place of two and puts it there. After a crash either the two are there or
// the one; the other is deleted.
func (r *Merger) mergePair(ctx context.Context, m merging) (err error) {
	defer func() { err = errors.Join(err, m.draft.Close()) }()
	p := m.Pair
	below := make([]tree.Stack, 0, len(m.views))
	for _, v := range m.views {
		below = append(below, r.nodes.Stack(v))
	}
	into, dir, err := m.draft.Make()
	if err != nil {
		return err
	}
	if err := r.unwritten(p.Lower, p.Upper); err != nil {
		return err
	}
	for _, id := range []dag.NodeID{p.Lower, p.Upper} {
		if err := r.state.Seal(ctx, id); err != nil {
			return fmt.Errorf("%v cannot be merged: %w", id, r.state.refused(err))
		}
	}
	if err := tree.Merge(ctx, r.nodes.FS(p.Upper), r.nodes.FS(p.Lower), below, dir); err != nil {
		return fmt.Errorf("merge %v into %v: %w", p.Upper, p.Lower, err)
	}
	if err := r.nodes.Flags().Inherit(into, p.Upper, p.Lower); err != nil {
		return err
	}
	size, inodes, err := tree.Usage(ctx, dir)
	if err != nil {
		return err
	}
	if err := m.draft.Freeze(ctx, into); err != nil {
		return err
	}
	if err := m.draft.Publish(); err != nil {
		return err
	}
	if err := m.draft.Sync(); err != nil {
		return err
	}
	return r.commitMerge(ctx, m, dag.Merge{Pair: p, Into: into, Size: size, Inodes: inodes, Now: clock.Now()})
}

// commitMerge puts a merged node in the place of two, unless a storage has come to show them over something else
// since: the merged node holds just what is needed over what it was made for.
func (r *Merger) commitMerge(ctx context.Context, m merging, t dag.Merge) error {
	ctx, cancel := context.WithTimeout(ctx, atWork)
	defer cancel()
	unlock, err := r.state.LockStorages(ctx, m.storages)
	if err != nil {
		return err
	}
	defer unlock()
	var same bool
	r.state.Graph(func(g *dag.Graph) {
		views, storages := viewsOf(g, m.Pair)
		same = slices.EqualFunc(views, m.views, slices.Equal) && slices.Equal(storages, m.storages)
	})
	if !same {
		return fmt.Errorf("%v and %v are seen over something else meanwhile: %w", m.Lower, m.Upper,
			errdefs.ErrFailedPrecondition)
	}
	return m.draft.Commit(t)
}
