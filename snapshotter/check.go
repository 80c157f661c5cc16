// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"errors"
	"fmt"

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
		{"reports", s.updates.Reports.Check},
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
