// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package use

import (
	"context"
	"errors"

	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// restoreWork gives open nodes the work directories that a crash left renamed away.
func (t *Tracker) restoreWork() error {
	var heads []dag.NodeID
	t.state.Graph(func(g *dag.Graph) {
		for _, st := range g.Storages() {
			heads = append(heads, st.Head)
		}
	})
	var errs []error
	for _, head := range heads {
		errs = append(errs, t.nodes.WorkDirs().Restore(head))
	}
	return errors.Join(errs...)
}

// DropKept deletes the work directories of frozen nodes that could not be deleted when these were frozen.
func (t *Tracker) DropKept() error {
	var errs []error
	for _, id := range t.kept.List() {
		if err := t.nodes.WorkDirs().Drop(id); err != nil {
			errs = append(errs, err)
			continue
		}
		t.kept.Remove(id)
	}
	return errors.Join(errs...)
}

// DropWork deletes the work directories of frozen nodes, which an earlier version or a crash left.
func (t *Tracker) DropWork(ctx context.Context) {
	var frozen []dag.NodeID
	t.state.Graph(func(g *dag.Graph) {
		for _, n := range g.Nodes() {
			if n.Frozen {
				frozen = append(frozen, n.ID)
			}
		}
	})
	for _, id := range frozen {
		if ctx.Err() != nil {
			return
		}
		if ready, away := t.nodes.WorkDirs().Has(id); !ready && !away {
			continue
		}
		if err := t.nodes.WorkDirs().Drop(id); err != nil {
			log.G(ctx).WithError(err).WithField("node", id.String()).
				Warn("failed to delete the work directory of a frozen node; it is tried again")
			t.kept.Add(id)
		}
	}
}

// Claimed reports whether a node is claimed: its work directory is not where it should be.
func (t *Tracker) Claimed(id dag.NodeID) bool { return t.claims.Has(id) }
