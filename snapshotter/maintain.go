// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"errors"

	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/mounttable"
)

// maintain does, until the context ends, what nobody waits for: it has storages join standing updates, carries out what
// waited for a use to end, takes labels away that are no longer true, puts layers on disk, forgets rollback points that are
// too old or too many, merges what nothing keeps apart any more, and deletes what nothing needs.
func (s *Snapshotter) maintain(ctx context.Context) {
	s.tasks.Maintain(ctx, []background.Step{
		{What: "copy the records of the graph", Do: func(context.Context) error { return s.mirror.catchUpIfLate() }},
		{What: "take up updates", Do: func(context.Context) error { s.takeUp(); return nil }},
		{What: "take storages into standing updates", Do: s.joinStanding},
		{What: "carry out what waits for storages", Do: s.carryOutWaiting},
		{What: "label the records of containers whose storage was held", Do: s.unmark},
		{What: "delete work directories of frozen nodes", Do: func(context.Context) error { return s.dropKept() }},
		{What: "put layers on disk", Do: func(context.Context) error { return s.syncLayers() }},
		{What: "retire rollback points", Do: s.retire},
		{What: "merge nodes that nothing keeps apart", Do: s.mergeFree},
		{What: "measure frozen nodes", Do: s.measure},
		{What: "sum up frozen nodes", Do: s.attestContents},
		{What: "delete removed nodes", Do: s.Cleanup},
		{What: "forget old updates", Do: s.forget},
	}, func() bool { return s.uses.held })
}

// syncLayers puts on disk what waits for that, and notes which layers it is too late for.
func (s *Snapshotter) syncLayers() error {
	var waiting []dag.NodeID
	s.Graph(func(g *dag.Graph) { waiting = s.unsynced(g) })
	var err error
	if len(waiting) > 0 {
		err = s.sync()
	}
	return errors.Join(err, s.distrust())
}

// distrust quarantines the layers that the disk failed in before they were on it. The kernel tells of that once: a later daemon
// would take them for written.
func (s *Snapshotter) distrust() error {
	var lost []dag.Transformation
	s.Graph(func(g *dag.Graph) {
		for _, id := range g.Unsynced() {
			if n, _ := g.Node(id); n.Damage == "" && s.nodes.Incomplete(id) {
				lost = append(lost, dag.Quarantine{Node: id, Reason: diskFailed})
			}
		}
	})
	if len(lost) == 0 {
		return nil
	}
	return s.do(lost...)
}

// Cleanup deletes the directories of nodes that the graph no longer has, except those that a mount or a servicing still
// uses or somebody is about to mount; they are looked at again later.
func (s *Snapshotter) Cleanup(ctx context.Context) error {
	var errs []error
	ids := s.doomed.list()
	if len(ids) > 0 {
		kept := s.handed.kept() // before the mount tables: what is no longer kept then shows in them
		table, err := mounttable.Read(s.nodes.Published())
		if err != nil {
			return err
		}
		for _, id := range ids {
			if table.Used(id) || kept[id] || s.busy.pinned(id) {
				continue
			}
			// One that cannot be deleted must not keep the others.
			if err := s.nodes.Trash(id); err != nil {
				errs = append(errs, err)
				continue
			}
			s.doomed.remove(id)
		}
	}
	if err := ctx.Err(); err != nil {
		return errors.Join(append(errs, err)...)
	}
	return errors.Join(append(errs, s.nodes.Sweep(s.sweepBefore()))...)
}

// recover brings what a crash left in order: nodes that were published and never committed are doomed, layers that a power
// cut may have left incomplete are quarantined, and updates that were under way go on in the background.
func (s *Snapshotter) recover(present []dag.NodeID) error {
	var (
		lost  []dag.Transformation
		there = map[dag.NodeID]bool{}
	)
	s.Graph(func(g *dag.Graph) {
		for _, id := range present {
			there[id] = true
			if _, ok := g.Node(id); !ok {
				s.doomed.add(id)
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
		if err := s.do(lost...); err != nil { // the disk is full, perhaps
			log.L.WithError(err).Error("failed to quarantine damaged nodes; they are refused all the same, and moltctl repair tries again")
		}
	}
	if err := s.giveUpBinds(); err != nil {
		log.L.WithError(err).Error("failed to give up updates of containers whose start was cut short")
	}
	s.takeUp()
	return nil
}

// giveUpBinds ends the updates that the start of a container had begun when the daemon stopped. The next start begins again:
// what a container asked for is not done in its absence.
func (s *Snapshotter) giveUpBinds() error {
	var records []dag.Transformation
	s.Graph(func(g *dag.Graph) {
		for _, u := range g.Updates() {
			for name, o := range u.Outcomes {
				if u.Cause == dag.ByBind && (o.State == dag.Staging || o.State == dag.Staged) {
					records = append(records, dag.Record{
						Update: u.ID, Storage: name, State: dag.Aborted, Now: clock.Now(),
						Reasons: []string{"the daemon stopped while the container was being started; its next start tries again"},
					})
				}
			}
		}
	})
	if len(records) == 0 {
		return nil
	}
	return s.do(records...)
}

// damage says why a node cannot be used, empty if it can.
func (s *Snapshotter) damage(n dag.Node, present map[dag.NodeID]bool) string {
	switch {
	case n.Lost(), n.Damage == diskFailed:
		return n.Damage // what it stood on, or what is missing of it, is not known
	case !present[n.ID]:
		return "its directory is missing"
	case s.halfWritten(n):
		return halfWritten
	}
	return ""
}
