// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// resolve finds a storage by its full name, by parts of it that are unique, or else by what clients call its container. A storage
// without a name of its own is found by its container.
func (s *Service) resolve(ctx context.Context, given string) (string, error) {
	if given == "" {
		return "", fmt.Errorf("a storage must be named: %w", errdefs.ErrInvalidArgument)
	}
	var matches, named, near []string
	exact := false
	s.snapshotter.State().Graph(func(g *dag.Graph) {
		_, exact = g.Storage(given)
		for _, st := range g.Storages() {
			if strings.Contains(st.Name, given) && !st.Anonymous {
				near = append(near, st.Name)
			}
			if hasParts(st.Name, given) {
				matches = append(matches, st.Name)
				if !st.Anonymous {
					named = append(named, st.Name)
				}
			}
		}
	})
	if exact {
		return given, nil
	}
	if len(matches) == 0 {
		matches = s.calledBy(ctx, given)
	}
	switch {
	case len(named) == 1:
		return named[0], nil
	case len(matches) == 1:
		return matches[0], nil
	case len(matches) == 0 && len(near) > 0:
		return "", fmt.Errorf("storage %q: %w; a storage is found by whole parts of its name between slashes; names like it are %s",
			given, errdefs.ErrNotFound, some(near))
	case len(matches) == 0:
		return "", fmt.Errorf("storage %q: %w", given, errdefs.ErrNotFound)
	}
	return "", fmt.Errorf("storage %q could be any of %s: %w", given, some(matches), errdefs.ErrInvalidArgument)
}

// hasParts reports whether a name ends with whole parts, between slashes, or has them in the middle.
func hasParts(name, parts string) bool { return strings.Contains(name+"/", "/"+parts+"/") }

// calledBy returns the storages of the containers of an id, or that clients call by a name, or by parts of one.
func (s *Service) calledBy(ctx context.Context, given string) (matches []string) {
	called := s.called(ctx)
	s.snapshotter.State().Graph(func(g *dag.Graph) {
		for _, st := range g.Storages() {
			key := keyOf(st.Key)
			if st.Key != "" && (key.Key == given || hasParts("/"+called[key], given)) {
				matches = append(matches, st.Name)
			}
		}
	})
	return matches
}

// resolveAll resolves several names, and tells of every one that cannot be.
func (s *Service) resolveAll(ctx context.Context, given []string) ([]string, error) {
	var (
		names []string
		errs  []error
	)
	for _, g := range given {
		full, err := s.resolve(ctx, g)
		names, errs = append(names, full), append(errs, err)
	}
	return names, errors.Join(errs...)
}

// some names the first of many.
func some(names []string) string {
	const few = 10
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}
