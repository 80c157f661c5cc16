// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

const (
	// keepUpdates is how many records of updates that are history are kept for people to look at.
	keepUpdates = 100
	// reportAge is how old a report must be to be taken for one that no record names, not one that is being written.
	reportAge = time.Hour
)

// forget drops the records of the oldest updates that are history, and the reports that no record names any more.
func (s *Snapshotter) forget(context.Context) error {
	var old []dag.UpdateID
	s.store.View(func(g *dag.Graph) {
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
		if err := s.do(dag.Forget{Update: id}); !errdefs.IsFailedPrecondition(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, s.forgetReports())...)
}

func (s *Snapshotter) forgetReports() error {
	named := map[string]bool{}
	s.store.View(func(g *dag.Graph) {
		for _, u := range g.Updates() {
			for _, o := range u.Outcomes {
				named[o.Report] = true
			}
		}
	})
	certain := s.ageing.moment().Sure
	entries, err := os.ReadDir(s.nodes.Reports())
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || named[e.Name()] || certain.Sub(info.ModTime()) < reportAge {
			continue
		}
		if err := s.nodes.Remove(filepath.Join(s.nodes.Reports(), e.Name())); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
