// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

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
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/manifest"
)

// witness knows what is in nodes that are about to be frozen, and which ones cannot be attested.
type witness struct {
	mu      sync.Mutex
	digests map[dag.NodeID]digest.Digest
	failed  map[dag.NodeID]bool
	working bool // somebody sums up contents
}

func newWitness() *witness {
	return &witness{digests: map[dag.NodeID]digest.Digest{}, failed: map[dag.NodeID]bool{}}
}

// attest writes down in a file what is in the directory of a node that is about to be frozen, its content not read. Until the
// node is frozen this is worth nothing; it is done again then. The caller puts it on disk together with the node.
func (s *Snapshotter) attest(ctx context.Context, id dag.NodeID, dir, path string) error {
	sum, err := manifest.Write(path, factsOf(ctx, dir))
	if err != nil {
		return fmt.Errorf("write down what is in %v: %w", id, err)
	}
	s.witness.mu.Lock()
	defer s.witness.mu.Unlock()
	s.witness.digests[id] = sum
	return nil
}

// attested returns the transformations that record what was in nodes, for the change that freezes them.
func (s *Snapshotter) attested(ids ...dag.NodeID) (ts []dag.Transformation) {
	s.witness.mu.Lock()
	defer s.witness.mu.Unlock()
	for _, id := range ids {
		if sum := s.witness.digests[id]; sum != "" {
			ts = append(ts, dag.Attest{Node: id, Digest: sum})
		}
		delete(s.witness.digests, id)
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
// which may take long and holds up nobody. Layers are left to [Snapshotter.CheckDeep].
func (s *Snapshotter) attestContents(context.Context) error {
	s.witness.mu.Lock()
	defer s.witness.mu.Unlock()
	if s.witness.working || len(s.unread()) == 0 {
		return nil
	}
	s.witness.working = s.tasks.Go(func(ctx context.Context) {
		defer func() {
			s.witness.mu.Lock()
			defer s.witness.mu.Unlock()
			s.witness.working = false
		}()
		s.readContents(ctx)
	})
	return nil
}

// unread returns the storage nodes whose files were not summed up. The caller holds the lock of the witness.
func (s *Snapshotter) unread() (ids []dag.NodeID) {
	s.Graph(func(g *dag.Graph) { ids = g.Unattested() })
	return slices.DeleteFunc(ids, func(id dag.NodeID) bool { return s.witness.failed[id] })
}

// readContents sums up nodes until there are none left. A node for which that fails is told of once, and left to check.
func (s *Snapshotter) readContents(ctx context.Context) {
	for ctx.Err() == nil {
		s.witness.mu.Lock()
		ids := s.unread()
		s.witness.mu.Unlock()
		if len(ids) == 0 {
			return
		}
		if err := s.readContent(ctx, ids[0]); err != nil && ctx.Err() == nil {
			log.G(ctx).WithError(err).WithField("node", ids[0].String()).
				Error("failed to sum up the files of a frozen node; see moltctl check --deep")
			s.witness.mu.Lock()
			s.witness.failed[ids[0]] = true
			s.witness.mu.Unlock()
		}
	}
}

// readContent sums up the files of a frozen node, which must be what it was when it was frozen as far as that is known.
// One that has gone meanwhile is no error.
func (s *Snapshotter) readContent(ctx context.Context, id dag.NodeID) error {
	defer s.busy.pin(id)()
	var (
		n     dag.Node
		known bool
	)
	s.Graph(func(g *dag.Graph) { n, known = g.Node(id) })
	if !known {
		return nil
	}
	t := dag.Attest{Node: id}
	diffs := newDifferences()
	var err error
	if n.Digest == "" {
		t.Digest, err = manifest.Write(s.nodes.Manifest(id), factsOf(ctx, s.nodes.FS(id)))
	} else {
		err = manifest.Compare(s.nodes.Manifest(id), n.Digest, factsOf(ctx, s.nodes.FS(id)), diffs.add)
	}
	if err == nil && diffs.count > 0 {
		return fmt.Errorf("it was changed after it was frozen: %s", diffs)
	}
	if err == nil {
		t.Contents, err = manifest.Write(s.nodes.Contents(id), contentsOf(ctx, s.nodes.FS(id)))
	}
	if err == nil {
		err = s.do(t)
	}
	if errdefs.IsNotFound(err) || errors.Is(err, fs.ErrNotExist) && !s.has(id) {
		return nil
	}
	return err
}
