// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/molt-snapshotter/molt-snapshotter/dag"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// commitUpdate commits a layer that says it is an update of another one, and waits until that is staged for the storage on it.
func commitUpdate(own, base, of string, write func(*pen)) step {
	work := key("work-" + own)
	anonymous := dag.AnonymousName(work)
	return step{
		name:    fmt.Sprintf("commit layer %s as an update of %s", own, base),
		layers:  []string{"layer " + key(own)},
		loose:   []string{"key " + work, "storage " + anonymous, "holder of " + anonymous},
		waiting: []string{of},
		do: func(ctx context.Context, w *world) error {
			if !w.whole(key(own)) {
				for _, k := range []string{key(own), work} {
					if err := w.removeAll(ctx, k); err != nil {
						return err
					}
				}
				if _, err := w.Prepare(ctx, work, key(base)); err != nil {
					return err
				}
				if err := w.in(ctx, work, func(p *pen) { write(p); p.settle() }); err != nil {
					return err
				}
				says := snapshots.WithLabels(map[string]string{updates.LabelUpdateOf: base})
				if err := w.Commit(ctx, key(own), work, says); err != nil {
					return err
				}
			}
			return eventually(patience, func() (missing string, _ error) {
				w.State().Graph(func(g *dag.Graph) {
					if slices.Contains(g.Unsynced(), nodeOf(g, own)) {
						missing = fmt.Sprintf("layer %s is not put on disk", own)
					} else if u, _ := g.Update(w.committed(g, own)); u.Underway() {
						missing = fmt.Sprintf("update %v is not staged: %v", u.ID, u.Outcomes)
					}
				})
				return missing, nil
			})
		},
	}
}

// committed returns the newest update that a layer began.
func (w *world) committed(g *dag.Graph, own string) (id dag.UpdateID) {
	for _, u := range g.Updates() {
		if u.Cause == dag.ByCommit && u.To == nodeOf(g, own) {
			id = u.ID
		}
	}
	return id
}

// applyUpdate has the update that a layer began move its storage. Where a failure had it given up it is begun again.
func applyUpdate(own, base, of string) step {
	again := update(base, own, false, of)
	return step{
		name: fmt.Sprintf("apply the update of %s to %s", of, own), waiting: []string{of},
		do: func(ctx context.Context, w *world) error {
			var id dag.UpdateID
			var o dag.Outcome
			w.State().Graph(func(g *dag.Graph) {
				id = w.committed(g, own)
				u, _ := g.Update(id)
				o = u.Outcomes[storage(of)]
			})
			if o.State == dag.Staged && o.Until == dag.Staged || o.State == dag.Announced {
				if err := w.Updates().Apply(ctx, id, nil); err != nil {
					return err
				}
				if err := w.settled(); err != nil {
					return err
				}
			}
			return again.do(ctx, w)
		},
	}
}
