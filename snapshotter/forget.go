// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"errors"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// keepUpdates is how many records of updates that are history are kept for people to look at.
const keepUpdates = 100

// forget drops the records of the oldest updates that are history, and the reports that no record names any more.
func (s *Snapshotter) forget(context.Context) error {
	var old []dag.UpdateID
	s.state.Graph(func(g *dag.Graph) {
		updates := g.Updates()
		for _, u := range updates[:max(0, len(updates)-keepUpdates)] {
			if g.Forgettable(u) {
				old = append(old, u.ID)
			}
		}
	})
	var errs []error
	for _, id := range old {
		// Somebody may have come to need it since.
		if err := s.state.Do(dag.Forget{Update: id}); !errdefs.IsFailedPrecondition(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, s.forgetReports())...)
}

// forgetReports removes the reports that no record names. When it is not known whether the last change was made, all
// stay: the next start knows.
func (s *Snapshotter) forgetReports() error {
	select {
	case <-s.state.Failed():
		return nil
	default:
	}
	return s.reports.Sweep(func() map[string]bool {
		named := map[string]bool{}
		s.state.Graph(func(g *dag.Graph) {
			for _, u := range g.Updates() {
				for _, o := range u.Outcomes {
					named[o.Report] = true
				}
			}
		})
		return named
	})
}
