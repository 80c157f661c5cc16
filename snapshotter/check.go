// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// Check compares the graph, the database, the directories, the mounts and what containerd knows with each other, and returns
// what is wrong. It changes nothing. Work that is going on meanwhile is no problem.
func (s *Snapshotter) Check(ctx context.Context) ([]state.Problem, error) {
	var all []state.Problem
	for _, part := range []struct {
		what  string
		check func(context.Context) ([]state.Problem, error)
	}{
		{"graph", s.checker.Graph},
		{"database", s.checker.Database},
		{"records", s.checker.Records},
		{"nodes", s.checker.Nodes},
		{"directories", s.checker.Directories},
		{"mounts", s.tracker.Check},
		{"mounts", s.checker.Mounts},
		{"reports", s.checkReports},
		{"what was set aside", s.checker.Lost},
		{"root", s.checker.Root},
		{"containerd", s.checkHost},
		{"clock", s.checker.Clock},
	} {
		found, err := part.check(ctx)
		if err != nil {
			return all, fmt.Errorf("check %s: %w", part.what, err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// Repair does what has one right answer about the problems that Check finds, and returns all of them. The error tells what
// could not be done.
func (s *Snapshotter) Repair(ctx context.Context) ([]state.Problem, error) {
	all, err := s.Check(ctx)
	errs := []error{err}
	for i, p := range all {
		if p.Repair == nil {
			continue
		}
		if err := p.Repair(ctx); err != nil {
			errs = append(errs, fmt.Errorf("repair %s: %w", p.Subject, err))
			continue
		}
		all[i].Repaired = true
	}
	return all, errors.Join(errs...)
}

// checkReports looks for reports that records name and that are gone.
func (s *Snapshotter) checkReports(context.Context) (found []state.Problem, _ error) {
	var updates []dag.Update
	s.state.Graph(func(g *dag.Graph) { updates = g.Updates() })
	for _, u := range updates {
		for _, name := range slices.Sorted(maps.Keys(u.Outcomes)) {
			o := u.Outcomes[name]
			if o.Report == "" {
				continue
			}
			there, err := s.reports.Has(o.Report)
			if err != nil {
				return nil, err
			}
			if !there {
				found = append(found, state.Problem{Subject: fmt.Sprintf("update %v", u.ID), What: fmt.Sprintf("its report on storage %q is gone", name)})
			}
		}
	}
	return found, nil
}
