// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// RemoveStorage ends a storage with all that was written in it. It is refused while a container has it, or anything
// uses it.
func (s *Snapshotter) RemoveStorage(ctx context.Context, name string, opts ...use.Option) error {
	return s.tracker.WhenFree(ctx, name, use.Assumed(opts), func(_ dag.Storage, u use.Use) error {
		if !u.Free() {
			return fmt.Errorf("storage %q: %s: %w", name, u, errdefs.ErrFailedPrecondition)
		}
		return s.removeFree(ctx, name)
	})
}

// Fork begins a storage named target that has all that source has now. Source must not be in use.
func (s *Snapshotter) Fork(ctx context.Context, source, target string, opts ...use.Option) error {
	return s.tracker.WhenFree(ctx, source, use.Assumed(opts), func(st dag.Storage, u use.Use) error {
		if !u.Free() {
			return fmt.Errorf("storage %q: %s; stop what uses it first: %w", source, u, errdefs.ErrFailedPrecondition)
		}
		return s.state.Fork(ctx, st, target)
	})
}

// WriteReport writes what an update found and did in a storage, as JSON with the lists of paths and effects last.
// With a path, clean and relative to the root, it writes what the report says about that: of each list the elements
// about the path. What it holds in memory does not follow the size of the report. It fails with errdefs.ErrNotFound
// when there is no report.
func (s *Snapshotter) WriteReport(w io.Writer, id dag.UpdateID, storage, path string) error {
	return s.withReport(id, storage, func(name string) error { return s.reports.Write(w, name, path) })
}

// withReport calls fn with the name of a report. A report that is not there is errdefs.ErrNotFound.
func (s *Snapshotter) withReport(id dag.UpdateID, storage string, fn func(name string) error) error {
	var (
		o         dag.Outcome
		known, in bool
	)
	s.state.Graph(func(g *dag.Graph) {
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
		return fmt.Sprintf("storage %q is not updated yet%s; moltctl update create --dry-run shows what it would do", e.storage, why)
	case dag.Staging, dag.Staged:
		return fmt.Sprintf("storage %q is not updated yet: %v is determining what to do", e.storage, e.update)
	}
	return fmt.Sprintf("there is no report: storage %q is %s in update %v%s", e.storage, e.outcome.State, e.update, why)
}

// Unwrap implements errors.Is.
func (unreportedError) Unwrap() error { return errdefs.ErrNotFound }

// Images returns the names that containerd has for layers, by their origin. Without a containerd there are none.
func (s *Snapshotter) Images(ctx context.Context) (map[string][]string, error) {
	if s.host == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, use.AskTimeout)
	defer cancel()
	return s.host.Images(ctx)
}

// LayerOf returns the node of the topmost layer of an image in a containerd namespace, unpacked if need be.
func (s *Snapshotter) LayerOf(ctx context.Context, namespace, image string) (dag.NodeID, error) {
	if s.host == nil {
		return 0, fmt.Errorf("image %q cannot be looked up without a containerd; set containerd.address: %w", image, errdefs.ErrFailedPrecondition)
	}
	key, err := s.host.Layer(ctx, namespace, image)
	if err != nil {
		return 0, fmt.Errorf("look up image %q: %w", image, err)
	}
	var found []dag.NodeID
	s.state.Graph(func(g *dag.Graph) {
		for _, n := range g.Names() {
			k := keys.Parse(n.Key)
			if n.Kind == dag.Committed && k.Namespace == namespace && k.Key == key {
				found = append(found, n.Node)
			}
		}
	})
	if len(found) == 0 {
		return 0, fmt.Errorf("image %q is unpacked as %s, which is no layer here; is this daemon the snapshotter that containerd calls by the configured name? %w", image, key, errdefs.ErrNotFound)
	}
	return slices.Max(found), nil
}
