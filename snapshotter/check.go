// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"errors"
	"fmt"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// Checks look for what is not as it should be.
type Checks struct {
	state   *state.Checker
	uses    func(context.Context) ([]state.Problem, error)
	reports func(context.Context) ([]state.Problem, error)
	host    hostCheck
}

func newChecks(s *Snapshotter) *Checks {
	return &Checks{
		state: state.NewChecker(s.state, s.tracker.Claimed), uses: s.tracker.Check, reports: s.updates.Reports.Check,
		host: hostCheck{host: s.host, state: s.state, storages: s.bindings.Storages},
	}
}

// Deep compares what is in frozen nodes with what was in them when they were frozen, see [state.Checker.Deep].
func (c *Checks) Deep(ctx context.Context) ([]state.Problem, error) { return c.state.Deep(ctx) }

// Check compares the graph, the database, the directories, the mounts and what containerd knows with each other, and
// returns what is wrong. It changes nothing. Work in progress is no problem.
func (c *Checks) Check(ctx context.Context) ([]state.Problem, error) {
	var all []state.Problem
	for _, part := range []struct {
		what  string
		check func(context.Context) ([]state.Problem, error)
	}{
		{"graph", c.state.Graph},
		{"database", c.state.Database},
		{"records", c.state.Records},
		{"nodes", c.state.Nodes},
		{"directories", c.state.Directories},
		{"mounts", c.uses},
		{"mounts", c.state.Mounts},
		{"reports", c.reports},
		{"what was set aside", c.state.Lost},
		{"root", c.state.Root},
		{"containerd", c.host.check},
		{"clock", c.state.Clock},
	} {
		found, err := part.check(ctx)
		if err != nil {
			return all, fmt.Errorf("check %s: %w", part.what, err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// Repair does what has one right answer about the problems that Check finds, and returns all of them. The error tells
// what could not be done.
func (c *Checks) Repair(ctx context.Context) ([]state.Problem, error) {
	all, err := c.Check(ctx)
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
