// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
)

// maintain does, until the context ends, what nobody waits for: it has storages join standing updates, carries out
// what waited for a use to end, takes labels away that are no longer true, puts layers on disk, forgets rollback
// points that are too old or too many, merges what nothing keeps apart any longer, and deletes what nothing needs.
func (s *Snapshotter) maintain(ctx context.Context) {
	s.tasks.Maintain(ctx, []background.Step{
		{What: "copy the records of the graph", Do: func(context.Context) error { return s.state.CatchUp() }},
		{What: "take up updates", Do: func(context.Context) error { s.updates.Runner.TakeUp(); return nil }},
		{What: "take storages into standing updates", Do: s.updates.Runner.JoinStanding},
		{What: "carry out what waits for storages", Do: s.updates.Runner.CarryOutWaiting},
		{What: "label the records of containers whose storage was held", Do: s.bindings.Labels.Unmark},
		{What: "delete work directories of frozen nodes",
			Do: func(context.Context) error { return s.tracker.DropKept() }},
		{What: "put layers on disk", Do: func(context.Context) error { return s.state.SyncLayers() }},
		{What: "retire rollback points", Do: s.state.Ageing().Retire},
		{What: "merge nodes that nothing keeps apart", Do: s.merger.MergeFree},
		{What: "measure frozen nodes", Do: s.meter.Measure},
		{What: "sum up frozen nodes", Do: s.state.SumUp},
		{What: "delete removed nodes", Do: s.Cleanup},
		{What: "forget old updates", Do: s.updates.Reports.Forget},
	}, s.updates.Runner.LooksAgain)
}

// Cleanup deletes what nothing needs any longer, see [state.State.Cleanup].
func (s *Snapshotter) Cleanup(ctx context.Context) error {
	return s.state.Cleanup(ctx, s.tracker.HandedOut)
}
