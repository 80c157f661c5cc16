// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/manifest"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/nodes"
)

// witness knows what is in nodes that are about to be frozen, and which ones cannot be attested.
type witness struct {
	state *State
	nodes *nodes.Dir
	tasks *background.Tasks

	mu      sync.Mutex
	digests map[dag.NodeID]digest.Digest
	failed  map[dag.NodeID]bool
	working bool // somebody sums up contents
}

func newWitness(s *State) *witness {
	return &witness{
		state: s, nodes: s.nodes, tasks: s.tasks,
		digests: map[dag.NodeID]digest.Digest{}, failed: map[dag.NodeID]bool{},
	}
}

// attest writes down in a file what is in the directory of a node that is about to be frozen, its content not read.
// Until the node is frozen this is worth nothing; it is done again then. The caller puts it on disk together with the
// node.
func (w *witness) attest(ctx context.Context, id dag.NodeID, dir, path string) error {
	sum, err := manifest.Write(path, factsOf(ctx, dir))
	if err != nil {
		return fmt.Errorf("write down what is in %v: %w", id, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.digests[id] = sum
	return nil
}

// take returns the transformations that record what was in nodes, for the change that freezes them.
func (w *witness) take(ids ...dag.NodeID) (ts []dag.Transformation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		if sum := w.digests[id]; sum != "" {
			ts = append(ts, dag.Attest{Node: id, Digest: sum})
		}
		delete(w.digests, id)
	}
	return ts
}

func factsOf(ctx context.Context, dir string) manifest.Walk {
	return func(fn func(path, sum string) error) error { return tree.Facts(ctx, dir, fn) }
}

func contentsOf(ctx context.Context, dir string) manifest.Walk {
	return func(fn func(path, sum string) error) error { return tree.Contents(ctx, dir, fn) }
}

// attestContents sums up, in the background, what is in the files of frozen storage nodes, and what is in those that
// were frozen without a walk through them, by an exact rollback or an earlier version. That reads all of it, once,
// which may take long and holds up nobody. Layers are left to [Checker.Deep].
func (w *witness) attestContents(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.working || len(w.unread()) == 0 {
		return nil
	}
	w.working = w.tasks.Go(func(ctx context.Context) {
		defer func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.working = false
		}()
		w.readContents(ctx)
	})
	return nil
}

// unread returns the storage nodes whose files were not summed up. The caller holds the lock of the witness.
func (w *witness) unread() (ids []dag.NodeID) {
	w.state.Graph(func(g *dag.Graph) { ids = g.Unattested() })
	return slices.DeleteFunc(ids, func(id dag.NodeID) bool { return w.failed[id] })
}

// readContents sums up nodes until there are none left. A node for which that fails is told of once, and left to check.
func (w *witness) readContents(ctx context.Context) {
	for ctx.Err() == nil {
		w.mu.Lock()
		ids := w.unread()
		w.mu.Unlock()
		if len(ids) == 0 {
			return
		}
		if err := w.readContent(ctx, ids[0]); err != nil && ctx.Err() == nil {
			log.G(ctx).WithError(err).WithField("node", ids[0].String()).
				Error("failed to sum up the files of a frozen node; see moltctl check --deep")
			w.mu.Lock()
			w.failed[ids[0]] = true
			w.mu.Unlock()
		}
	}
}

// readContent sums up the files of a frozen node, which must be what it was when it was frozen as far as that is known.
// A node that is gone by then is no error.
func (w *witness) readContent(ctx context.Context, id dag.NodeID) error {
	defer w.state.LeaseNodes(id)()
	var (
		n     dag.Node
		known bool
	)
	w.state.Graph(func(g *dag.Graph) { n, known = g.Node(id) })
	if !known {
		return nil
	}
	t := dag.Attest{Node: id}
	diffs := newDifferences()
	var err error
	if n.Digest == "" {
		t.Digest, err = manifest.Write(w.nodes.Manifest(id), factsOf(ctx, w.nodes.FS(id)))
	} else {
		err = manifest.Compare(w.nodes.Manifest(id), n.Digest, factsOf(ctx, w.nodes.FS(id)), diffs.add)
	}
	if err == nil && diffs.count > 0 {
		return fmt.Errorf("it was changed after it was frozen: %s", diffs)
	}
	if err == nil {
		t.Contents, err = manifest.Write(w.nodes.Contents(id), contentsOf(ctx, w.nodes.FS(id)))
	}
	if err == nil {
		err = w.state.Do(t)
	}
	if errdefs.IsNotFound(err) || errors.Is(err, fs.ErrNotExist) && !w.state.has(id) {
		return nil
	}
	return err
}
