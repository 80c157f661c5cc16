// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package snapshotter is containerd's snapshotter interface over molt's graph, and the operations that containerd has
// no word for: updates of the base under a storage, their rollback, merging, forking.
//
// containerd knows names (its keys), the graph knows nodes. Walk, Stat and Remove speak of names only; a node lives
// as long as a name, another node, a storage or a rollback point needs it. See docs/architecture.md.
package snapshotter

import (
	"errors"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/binding"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/locks"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/overlay"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// Snapshotter implements containerd's snapshots.Snapshotter. It is safe for concurrent use.
type Snapshotter struct {
	config
	state    *state.State
	tracker  *use.Tracker
	updates  *updates.Updates
	bindings *binding.Bindings
	merger   *state.Merger
	meter    *state.Meter
	checks   *Checks
	computed *computed
	overlay  *overlay.Mounts
	locks    *locks.Keyed // of keys
	tasks    *background.Tasks
}

var _ snapshots.Snapshotter = (*Snapshotter)(nil)

// New returns a snapshotter that keeps its state below root, creating it where there is none. It recovers from a
// crash by itself: what was not committed is deleted in the background, updates that were under way go on. When the
// database is lost, damaged or older than the directories, the graph is rebuilt from those, see [Checks.Check] for
// what that came to.
func New(root string, opts ...Opt) (*Snapshotter, error) {
	c, err := configured(opts)
	if err != nil {
		return nil, err
	}
	s := &Snapshotter{config: c, locks: locks.New(), tasks: background.New()}
	marks := binding.NewMarks()
	s.state, err = state.Open(root, s.tasks, state.Options{
		Shared: c.shared, Retention: c.retention, Clock: c.clock,
		Expiries: updates.Expiries(c.servicing), Refused: updates.Refused, Watched: marks.Some,
	})
	if err != nil {
		return nil, err
	}
	err = s.assemble(marks)
	if err == nil {
		err = s.start()
	}
	if err != nil {
		s.tasks.Close()
		return nil, errors.Join(err, s.state.Close())
	}
	return s, nil
}

// assemble makes the parts that work on the state directory.
func (s *Snapshotter) assemble(marks *binding.Marks) (err error) {
	if s.overlay, err = overlay.New(s.state.Nodes(), s.mount, s.lower); err != nil {
		return err
	}
	s.computed = &computed{sequence: s.state.Sequence}
	s.merger, s.meter = state.NewMerger(s.state), state.NewMeter(s.state)
	s.tracker = use.NewTracker(s.state, s.tasks, s.host, s.overlay.Options(), s.grace)
	s.updates = updates.New(s.state, s.tracker, s.overlay, s.tasks, updates.Config{
		Host: s.host, OnCommit: s.onCommit, Servicing: s.servicing, Workers: s.workers,
	})
	s.bindings = binding.New(s.state, s.tracker, s.updates, s.tasks, binding.Config{
		Host: s.host, Policy: s.binding, Grace: s.grace, Marks: marks, Start: s.startKey,
	})
	s.checks = newChecks(s)
	return nil
}

// start brings the state in order and begins the work in the background.
func (s *Snapshotter) start() error {
	if err := s.state.Recover(); err != nil {
		return err
	}
	if err := s.tracker.Recover(); err != nil {
		return err
	}
	s.tasks.Go(s.tracker.DropWork)
	s.updates.Recover()
	s.tasks.Go(s.maintain)
	s.bindings.Rehomer.Resume()
	s.tasks.Kick()
	return nil
}

// State returns the state directory.
func (s *Snapshotter) State() *state.State { return s.state }

// Uses returns what knows how storages are in use.
func (s *Snapshotter) Uses() *use.Tracker { return s.tracker }

// Merger returns what merges nodes.
func (s *Snapshotter) Merger() *state.Merger { return s.merger }

// Sizes returns what measures nodes and storages.
func (s *Snapshotter) Sizes() *state.Meter { return s.meter }

// Checks returns what looks for what is not as it should be.
func (s *Snapshotter) Checks() *Checks { return s.checks }

// Storages returns what ends and copies storages.
func (s *Snapshotter) Storages() *binding.Storages { return s.bindings.Storages }

// Rehomer returns what prepares keys of containers again.
func (s *Snapshotter) Rehomer() *binding.Rehomer { return s.bindings.Rehomer }

// Updates returns what carries updates out.
func (s *Snapshotter) Updates() *updates.Runner { return s.updates.Runner }

// Rollbacks returns what undoes updates.
func (s *Snapshotter) Rollbacks() *updates.Rollbacks { return s.updates.Rollbacks }

// Previews returns what shows what an update or a rollback would come to.
func (s *Snapshotter) Previews() *updates.Previews { return s.updates.Previews }

// Inspector returns what looks into storages.
func (s *Snapshotter) Inspector() *updates.Inspector { return s.updates.Inspector }

// Settings returns the options of servicing.
func (s *Snapshotter) Settings() *updates.Settings { return s.updates.Settings }

// Reports returns what servicing found and did.
func (s *Snapshotter) Reports() *updates.Reports { return s.updates.Reports }

// Close stops the work in the background and closes the database. It unmounts and deletes nothing: running containers
// do not notice. A second call does nothing.
func (s *Snapshotter) Close() error {
	if !s.tasks.Close() {
		return nil
	}
	return s.state.Close()
}
