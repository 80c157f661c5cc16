// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/reports"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// Reports are what servicing found and did in the updates of storages.
type Reports struct {
	state *state.State
	dir   *reports.Dir
}

// Check looks for reports that records name and that are gone.
func (r *Reports) Check(context.Context) (found []state.Problem, _ error) {
	var updates []dag.Update
	r.state.Graph(func(g *dag.Graph) { updates = g.Updates() })
	for _, u := range updates {
		for _, name := range slices.Sorted(maps.Keys(u.Outcomes)) {
			o := u.Outcomes[name]
			if o.Report == "" {
				continue
			}
			there, err := r.dir.Has(o.Report)
			if err != nil {
				return nil, err
			}
			if !there {
				found = append(found, state.Problem{Subject: fmt.Sprintf("update %v", u.ID),
					What: fmt.Sprintf("its report on storage %q is gone", name)})
			}
		}
	}
	return found, nil
}

// keepUpdates is how many records of updates that are history are kept for people to look at.
const keepUpdates = 100

// Forget drops the records of the oldest updates that are history, and the reports that no record names any longer.
func (r *Reports) Forget(context.Context) error {
	var old []dag.UpdateID
	r.state.Graph(func(g *dag.Graph) {
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
		if err := r.state.Do(dag.Forget{Update: id}); !errdefs.IsFailedPrecondition(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, r.sweep())...)
}

// sweep removes the reports that no record names. When it is not known whether the last change was made, all
// stay: the next start knows.
func (r *Reports) sweep() error {
	select {
	case <-r.state.Failed():
		return nil
	default:
	}
	return r.dir.Sweep(func() map[string]bool {
		named := map[string]bool{}
		r.state.Graph(func(g *dag.Graph) {
			for _, u := range g.Updates() {
				for _, o := range u.Outcomes {
					named[o.Report] = true
				}
			}
		})
		return named
	})
}

// leftBehind returns what did not follow the base in an update although it is not the user's, by the report. When the
// report is gone, it all counts as the user's own.
func (r *Reports) leftBehind(report string) (reports.LeftBehind, error) {
	if report == "" {
		return reports.LeftBehind{}, nil
	}
	left, err := r.dir.LeftBehind(report)
	if errors.Is(err, os.ErrNotExist) {
		return reports.LeftBehind{}, nil
	}
	return left, err
}

// Write writes what an update found and did in a storage, as JSON with the lists of paths and effects last.
// With a path, clean and relative to the root, it writes what the report says about that: of each list the elements
// about the path. What it holds in memory does not follow the size of the report. It fails with errdefs.ErrNotFound
// when there is no report.
func (r *Reports) Write(w io.Writer, id dag.UpdateID, storage, path string) error {
	return r.with(id, storage, func(name string) error { return r.dir.Write(w, name, path) })
}

// with calls fn with the name of a report. A report that is not there is errdefs.ErrNotFound.
func (r *Reports) with(id dag.UpdateID, storage string, fn func(name string) error) error {
	var (
		o         dag.Outcome
		known, in bool
	)
	r.state.Graph(func(g *dag.Graph) {
		var u dag.Update
		u, known = g.Update(id)
		o, in = u.Outcomes[storage]
	})
	switch {
	case !known:
		return fmt.Errorf("update %v: %w", id, errdefs.ErrNotFound)
	case !in:
		return fmt.Errorf("storage %q in update %v: %w", storage, id, errdefs.ErrNotFound)
	case o.Report == "":
		return unreportedError{id, storage, o}
	}
	err := fn(o.Report)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("report of update %v on storage %q is gone: %w", id, storage, errdefs.ErrNotFound)
	}
	return err
}

// unreportedError is that there is no report on a storage, or not yet. It is errdefs.ErrNotFound.
type unreportedError struct {
	update  dag.UpdateID
	storage string
	outcome dag.Outcome
}

// Error implements error.
func (e unreportedError) Error() string {
	why := ""
	if len(e.outcome.Reasons) > 0 {
		why = ": " + strings.Join(e.outcome.Reasons, "; ")
	}
	switch e.outcome.State {
	case dag.Planned, dag.Announced:
		return fmt.Sprintf("storage %q is not updated yet%s; moltctl update create --dry-run shows what it would do",
			e.storage, why)
	case dag.Staging, dag.Staged:
		return fmt.Sprintf("storage %q is not updated yet: %v is determining what to do", e.storage, e.update)
	}
	return fmt.Sprintf("there is no report: storage %q is %s in update %v%s", e.storage, e.outcome.State, e.update, why)
}

// Unwrap implements errors.Is.
func (unreportedError) Unwrap() error { return errdefs.ErrNotFound }
