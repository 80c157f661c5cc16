// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package snapshotter is containerd's snapshotter interface over molt's graph, and the operations that containerd has no
// word for: updates of the base under a storage, their rollback, merging, forking.
//
// containerd knows names (its keys), the graph knows nodes. Walk, Stat and Remove speak of names only; a node lives as long
// as a name, another node, a storage or a rollback point needs it. See docs/architecture.md.
package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/dag/store"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/nodes"
)

// Snapshotter implements containerd's snapshots.Snapshotter. It is safe for concurrent use.
type Snapshotter struct {
	config
	store   *store.Store
	nodes   *nodes.Dir
	options []string // of every overlay mount
	boot    string

	locks   *locks
	busy    *pins
	handed  *handed
	doomed  *doomed
	kicked  chan struct{}
	life    context.Context // ends when the snapshotter is closed
	stop    context.CancelFunc
	tasks   sync.WaitGroup
	closing sync.Once
}

var _ snapshots.Snapshotter = (*Snapshotter)(nil)

// New returns a snapshotter that keeps its state below root, creating it where there is none. It recovers from a crash by
// itself: what was not committed is deleted in the background, updates that were under way go on.
func New(root string, opts ...Opt) (*Snapshotter, error) {
	c := defaults()
	for _, opt := range opts {
		if err := opt(&c); err != nil {
			return nil, err
		}
	}
	dir, err := nodes.Open(root)
	if err != nil {
		return nil, err
	}
	present, err := dir.List()
	if err != nil {
		return nil, err
	}
	st, err := store.Open(filepath.Join(dir.Root(), "graph.db"), slices.Max(append(present, 0)))
	if err != nil {
		return nil, err
	}
	s := &Snapshotter{
		config: c, store: st, nodes: dir,
		locks: newLocks(), busy: newPins(), handed: newHanded(c.grace), doomed: newDoomed(),
		kicked: make(chan struct{}, 1),
	}
	if err := s.start(present); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return s, nil
}

// start brings the state in order and begins the work in the background.
func (s *Snapshotter) start(present []dag.NodeID) error {
	var err error
	if s.options = s.mount; s.options == nil {
		if s.options, err = probeOptions(s.nodes.Root()); err != nil {
			return fmt.Errorf("probe overlayfs: %w", err)
		}
	}
	if s.boot, err = bootID(); err != nil {
		return err
	}
	if err := s.nodes.DropStaging(); err != nil {
		return err
	}
	s.life, s.stop = context.WithCancel(log.WithLogger(context.Background(), log.L.WithField("component", "background")))
	if err := s.recover(s.life, present); err != nil {
		s.stop()
		return err
	}
	s.background(s.life, s.maintain)
	s.kick()
	return nil
}

// background runs fn until the snapshotter is closed.
func (s *Snapshotter) background(ctx context.Context, fn func(context.Context)) {
	s.tasks.Go(func() { fn(ctx) })
}

// Close stops the work in the background and closes the database. It unmounts and deletes nothing: running containers do
// not notice. A second call does nothing.
func (s *Snapshotter) Close() error {
	var err error
	s.closing.Do(func() {
		s.stop()
		s.tasks.Wait()
		err = s.store.Close()
	})
	return err
}

// do carries out transformations as one change of the graph, and dooms the directories of what nothing needs any more.
func (s *Snapshotter) do(ts ...dag.Transformation) error {
	change, err := s.store.Do(ts...)
	if err != nil {
		return err
	}
	if gone := change.Unreachable(); len(gone) > 0 {
		s.doomed.add(gone...)
		s.kick()
	}
	return nil
}

// now is the time as it is recorded.
func now() time.Time { return time.Now().UTC() }
