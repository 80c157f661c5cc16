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
	"slices"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/dag/store"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/nodes"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/overlay"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/reports"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// Snapshotter implements containerd's snapshots.Snapshotter. It is safe for concurrent use.
type Snapshotter struct {
	config
	store    *store.Store
	nodes    *nodes.Dir
	mirror   *mirror
	reports  *reports.Dir
	computed *computed
	overlay  *overlay.Mounts
	boot     string
	first    dag.NodeID // the highest id that had a directory when the snapshotter was started

	locks    *locks
	busy     *pins
	handed   *handed
	uses     *uses
	doomed   *doomed
	kept     *doomed // frozen nodes whose work directories could not be deleted yet
	young    *young
	ageing   *ageing
	witness  *witness
	leaving  time.Duration // see the constant; tests wait for less
	holds    *holds
	ahead    *ahead
	marks    *marks
	turns    chan struct{} // of the workers that service storages
	underway sync.Map      // by the id of an update that somebody runs, what ends that: a context.CancelFunc
	tasks    *background.Tasks

	unmeasured pauses // of the maintenance alone

}

var _ snapshots.Snapshotter = (*Snapshotter)(nil)

// New returns a snapshotter that keeps its state below root, creating it where there is none. It recovers from a crash by
// itself: what was not committed is deleted in the background, updates that were under way go on. When the database is lost,
// damaged or older than the directories, the graph is rebuilt from those, see [Snapshotter.Check] for what that came to.
func New(root string, opts ...Opt) (*Snapshotter, error) {
	c, err := configured(opts)
	if err != nil {
		return nil, err
	}
	open := nodes.Open
	if c.shared {
		open = nodes.OpenShared
	}
	dir, err := open(root)
	if err != nil {
		return nil, err
	}
	st, files, present, err := openGraph(dir)
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	s := &Snapshotter{
		config: c, store: st, nodes: dir, mirror: &mirror{store: st, nodes: dir, files: files},
		reports: reports.Open(dir.Reports(), dir.Remove), computed: &computed{store: st},
		locks: newLocks(), busy: newPins(), handed: newHanded(c.grace), doomed: newDoomed(), kept: newDoomed(), holds: newHolds(), ahead: newAhead(), marks: newMarks(),
		unmeasured: make(pauses), tasks: background.New(), turns: make(chan struct{}, c.workers),
		ageing: newAgeing(dir, c.clock), witness: newWitness(), young: newYoung(c.grace), leaving: leaving,
	}
	s.first = slices.Max(append(present, 0))
	if err := s.start(present); err != nil {
		s.tasks.Close()
		return nil, errors.Join(err, st.Close(), dir.Close())
	}
	return s, nil
}

// start brings the state in order and begins the work in the background.
func (s *Snapshotter) start(present []dag.NodeID) error {
	var err error
	if s.overlay, err = overlay.New(s.nodes, s.mount, s.lower); err != nil {
		return err
	}
	if s.boot, err = clock.Boot(); err != nil {
		return err
	}
	s.warnExposed()
	s.mirror.boot = s.boot
	s.uses = newUses(use.NewKernel(s.nodes, s.overlay.Options()))
	if err := s.nodes.DropStaging(); err != nil {
		return err
	}
	if err := s.mirror.catchUpAtStart(); err != nil {
		return err
	}
	if err := s.restoreWork(); err != nil {
		return err
	}
	s.handed.afresh(s.store)
	if err := s.recover(present); err != nil {
		return err
	}
	s.tasks.Go(s.dropWork)
	s.tasks.Go(s.maintain)
	if ids := s.unvouched(); len(ids) > 0 {
		s.tasks.Go(func(ctx context.Context) { s.vouch(ctx, ids) })
	}
	if len(s.rehomings()) > 0 && s.host != nil {
		s.tasks.Go(s.resumeRehomings)
	}
	s.tasks.Kick()
	return nil
}

// pin keeps nodes that of finds in the graph from being deleted, until release is called. They are pinned before the graph
// can change again.
func (s *Snapshotter) pin(of func(*dag.Graph) []dag.NodeID) (release func()) {
	s.Graph(func(g *dag.Graph) { release = s.busy.pin(of(g)...) })
	return release
}

// Failed returns a channel that is closed when no change can be made any more until the snapshotter is made anew, which mends
// what is the matter: the database is damaged, or the disk failed while it was written to. What exists can still be mounted.
func (s *Snapshotter) Failed() <-chan struct{} { return s.store.Failed() }

// Close stops the work in the background and closes the database. It unmounts and deletes nothing: running containers do
// not notice. A second call does nothing.
func (s *Snapshotter) Close() error {
	if !s.tasks.Close() {
		return nil
	}
	s.ageing.close()
	return errors.Join(s.store.Close(), s.nodes.Close())
}

// do carries out transformations as one change of the graph, copies the records that changed, and dooms the directories of
// what nothing needs any more.
func (s *Snapshotter) do(ts ...dag.Transformation) error {
	change, err := s.mirror.do(ts...)
	if err != nil {
		return err
	}
	gone := change.Unreachable()
	s.doomed.add(gone...)
	joins := false // a storage may have come to stand on the old base of a standing update
	if len(change.Storages) > 0 {
		s.Graph(func(g *dag.Graph) { joins = g.HasStanding() })
	}
	if len(gone) > 0 || joins || s.marks.some() { // a label may no longer be true
		s.tasks.Kick()
	}
	return nil
}

// Backup writes the graph as it is now to a database at path, in the place of what is there. Changes go on meanwhile. The
// content of nodes is not part of it: restored over a state directory it is taken only if that has no newer graph.
func (s *Snapshotter) Backup(_ context.Context, path string) error { return s.store.Backup(path) }
