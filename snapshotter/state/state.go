// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package state keeps a directory with its graph: the nodes on disk, the graph that says what they are, and the
// copies of its records. It changes both together, checks them, and deletes what nothing needs. It knows neither
// containerd nor what servicing is.
package state

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/dag/store"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/locks"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/mounttable"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/nodes"
)

// Options say how a state directory is kept.
type Options struct {
	// Shared leaves the mode of a root that is there already.
	Shared bool
	// Retention says how long old states of storages are kept.
	Retention Retention
	// Clock reads the clocks of the machine.
	Clock func() (clock.Reading, error)
	// Expiries returns when what the settings of a storage say ends.
	Expiries func(settings json.RawMessage) []time.Time
	// Refused adds to an error that refuses the content of a node what can be done about it.
	Refused func(error) error
	// Watched reports whether each change of the graph is to be looked at by the maintenance.
	Watched func() bool
}

// State is a directory with its graph: nodes on disk, and what the graph says of them. It is safe for concurrent use.
type State struct {
	store   *store.Store
	nodes   *nodes.Dir
	mirror  *mirror
	tasks   *background.Tasks
	refused func(error) error
	watched func() bool
	boot    string
	present []dag.NodeID // that had a directory when the state was opened, until it has recovered
	first   dag.NodeID   // the highest of them

	locks   *locks.Keyed // of storages
	leases  *leases
	doomed  *nodes.Set
	witness *witness
	ageing  *Ageing
}

// Open opens the state directory at root, which it makes where there is none. When the database is lost, damaged or
// older than the directories, the graph is rebuilt from those, see [Checker.Lost] for what that came to. What goes on
// in the background is done by tasks. The caller calls Recover before anything else.
func Open(root string, tasks *background.Tasks, o Options) (*State, error) {
	open := nodes.Open
	if o.Shared {
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
	s := &State{
		store: st, nodes: dir, mirror: &mirror{store: st, nodes: dir, files: files}, tasks: tasks,
		refused: o.Refused, watched: o.Watched, present: present, first: slices.Max(append(present, 0)),
		locks: locks.New(), leases: newLeases(), doomed: nodes.NewSet(),
	}
	s.witness, s.ageing = newWitness(s), newAgeing(s, o)
	if s.boot, err = clock.Boot(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.mirror.boot = s.boot
	s.warnExposed()
	return s, nil
}

// Recover brings what a crash left in order: what was never committed is deleted, in the background where it was
// published, the records are copied, and layers that a power cut may have left incomplete are quarantined.
func (s *State) Recover() error {
	if err := s.nodes.DropStaging(); err != nil {
		return err
	}
	if err := s.mirror.catchUpAtStart(); err != nil {
		return err
	}
	s.recover(s.present)
	s.present = nil
	return nil
}

// Close closes the database. The tasks have ended before.
func (s *State) Close() error {
	s.ageing.close()
	return errors.Join(s.store.Close(), s.nodes.Close())
}

// Nodes returns the directories of the nodes.
func (s *State) Nodes() *nodes.Dir { return s.nodes }

// Ageing returns what decides what is old.
func (s *State) Ageing() *Ageing { return s.ageing }

// StorageOf returns the storage of a key.
func (s *State) StorageOf(key string) (st dag.Storage, ok bool) {
	s.Graph(func(g *dag.Graph) {
		n, _ := g.Name(key)
		st, ok = g.Storage(n.Storage)
	})
	return st, ok
}

// has reports whether the graph has a node.
func (s *State) has(id dag.NodeID) (ok bool) {
	s.Graph(func(g *dag.Graph) { _, ok = g.Node(id) })
	return ok
}

// IsOpen reports whether the graph has a node that is not frozen.
func (s *State) IsOpen(id dag.NodeID) (open bool) {
	s.Graph(func(g *dag.Graph) {
		n, ok := g.Node(id)
		open = ok && !n.Frozen
	})
	return open
}

// Storage returns the storage with a name.
func (s *State) Storage(name string) (st dag.Storage, ok bool) {
	s.Graph(func(g *dag.Graph) { st, ok = g.Storage(name) })
	return st, ok
}

// Cleanup deletes the directories of nodes that the graph no longer has, except those that a mount or a servicing still
// uses or somebody is about to mount, as handedOut says; they are looked at again later.
func (s *State) Cleanup(ctx context.Context, handedOut func() map[dag.NodeID]bool) error {
	var errs []error
	ids := s.doomed.List()
	if len(ids) > 0 {
		kept := handedOut() // before the mount tables: what is no longer kept then shows in them
		table, err := mounttable.Read(s.nodes.Published())
		if err != nil {
			return err
		}
		for _, id := range ids {
			if table.Used(id) || kept[id] || s.leases.leased(id) {
				continue
			}
			// One that cannot be deleted must not keep the others.
			if err := s.nodes.Trash(id); err != nil {
				errs = append(errs, err)
				continue
			}
			s.doomed.Remove(id)
		}
	}
	if err := ctx.Err(); err != nil {
		return errors.Join(append(errs, err)...)
	}
	return errors.Join(append(errs, s.nodes.Sweep(s.ageing.sweepBefore()))...)
}

// recover brings the nodes in order that a crash left: nodes that were published and never committed are doomed, and
// layers that a power cut may have left incomplete are quarantined.
func (s *State) recover(present []dag.NodeID) {
	var (
		lost  []dag.Transformation
		there = map[dag.NodeID]bool{}
	)
	s.Graph(func(g *dag.Graph) {
		for _, id := range present {
			there[id] = true
			if _, ok := g.Node(id); !ok {
				s.doomed.Add(id)
			}
		}
		for _, n := range g.Nodes() {
			if why := s.damage(n, there); why != n.Damage {
				lost = append(lost, dag.Quarantine{Node: n.ID, Reason: why})
			}
		}
	})
	if len(lost) > 0 {
		log.L.WithField("nodes", len(lost)).Warn("the condition of nodes has changed since the last start")
		if err := s.Do(lost...); err != nil { // the disk is full, perhaps
			log.L.WithError(err).Error("failed to quarantine damaged nodes; they are refused all the same, " +
				"and moltctl repair tries again")
		}
	}
}

// Lease keeps nodes that of finds in the graph from being deleted, until release is called. They are leased before
// the graph can change again.
func (s *State) Lease(of func(*dag.Graph) []dag.NodeID) (release func()) {
	s.Graph(func(g *dag.Graph) { release = s.leases.lease(of(g)...) })
	return release
}

// LeaseNodes keeps nodes from being deleted, until release is called.
func (s *State) LeaseNodes(ids ...dag.NodeID) (release func()) { return s.leases.lease(ids...) }

// NewUpdate returns an id that no update has had.
func (s *State) NewUpdate() dag.UpdateID { return s.store.NewUpdate() }

// Boot names this boot of the machine.
func (s *State) Boot() string { return s.boot }

// Sequence returns the number of the newest change of the graph.
func (s *State) Sequence() uint64 { return s.store.Sequence() }

// Changed returns a channel that is closed by the next change of the graph. Who waits for something asks for it before
// looking at the graph, so that no change is missed in between.
func (s *State) Changed() <-chan struct{} { return s.store.Changed() }

// CatchUp copies the records of the graph that could not be copied.
func (s *State) CatchUp() error { return s.mirror.catchUpIfLate() }

// SumUp sums up what is in frozen nodes, in the background.
func (s *State) SumUp(ctx context.Context) error { return s.witness.attestContents(ctx) }

// Failed returns a channel that is closed when no change can be made until the state is opened again, which
// mends what is the matter: the database is damaged, or the disk failed while it was written to. What exists can
// still be mounted.
func (s *State) Failed() <-chan struct{} { return s.store.Failed() }

// Do carries out transformations as one change of the graph, copies the records that changed, and dooms the
// directories of what nothing needs any longer.
func (s *State) Do(ts ...dag.Transformation) error {
	change, err := s.mirror.do(ts...)
	if err != nil {
		return err
	}
	gone := change.Unreachable()
	s.doomed.Add(gone...)
	joins := false // a storage may have come to stand on the old base of a standing update
	if len(change.Storages) > 0 {
		s.Graph(func(g *dag.Graph) { joins = g.HasStanding() })
	}
	if len(gone) > 0 || joins || s.watched() { // a label may no longer be true
		s.tasks.Kick()
	}
	return nil
}

// Backup writes the graph as it is now to a database at path, in the place of what is there. Changes go on in the
// meantime. The content of nodes is not part of it: restored over a state directory it is taken only if that has no
// newer graph.
func (s *State) Backup(_ context.Context, path string) error { return s.store.Backup(path) }

// Graph calls fn with the graph, which does not change until fn returns. fn must neither keep it nor block.
func (s *State) Graph(fn func(*dag.Graph)) { s.store.View(fn) }
