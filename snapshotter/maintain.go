// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
)

// maintain does, until the context ends, what nobody waits for: it has storages join standing updates, carries out what
// waited for a use to end, takes labels away that are no longer true, puts layers on disk, forgets rollback points that are
// too old or too many, merges what nothing keeps apart any more, and deletes what nothing needs.
func (s *Snapshotter) maintain(ctx context.Context) {
	s.tasks.Maintain(ctx, []background.Step{
		{What: "copy the records of the graph", Do: func(context.Context) error { return s.state.CatchUp() }},
		{What: "take up updates", Do: func(context.Context) error { s.takeUp(); return nil }},
		{What: "take storages into standing updates", Do: s.joinStanding},
		{What: "carry out what waits for storages", Do: s.carryOutWaiting},
		{What: "label the records of containers whose storage was held", Do: s.unmark},
		{What: "delete work directories of frozen nodes", Do: func(context.Context) error { return s.tracker.DropKept() }},
		{What: "put layers on disk", Do: func(context.Context) error { return s.state.SyncLayers() }},
		{What: "retire rollback points", Do: s.ageing.Retire},
		{What: "merge nodes that nothing keeps apart", Do: s.merger.MergeFree},
		{What: "measure frozen nodes", Do: s.meter.Measure},
		{What: "sum up frozen nodes", Do: s.state.SumUp},
		{What: "delete removed nodes", Do: s.Cleanup},
		{What: "forget old updates", Do: s.forget},
	}, s.looksAgain)
}

// Cleanup deletes what nothing needs any more, see [Snapshotter.cleanUp].
func (s *Snapshotter) Cleanup(ctx context.Context) error {
	return s.state.Cleanup(ctx, s.tracker.HandedOut)
}

// giveUpBinds ends the updates that the start of a container had begun when the daemon stopped. The next start begins again:
// what a container asked for is not done in its absence.
func (s *Snapshotter) giveUpBinds() error {
	var records []dag.Transformation
	s.state.Graph(func(g *dag.Graph) {
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
	return s.state.Do(records...)
}
