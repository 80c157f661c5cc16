// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// lookup finds storages, layers and containers by what people call them.
type lookup struct {
	snapshotter *snapshotter.Snapshotter
	containers  Containers // nil if there is no containerd to ask
}

// resolve finds a storage by its full name, by parts of it that are unique, or else by what clients call its
// container. A storage without a name of its own is found by its container.
func (l lookup) resolve(ctx context.Context, given string) (string, error) {
	if given == "" {
		return "", fmt.Errorf("a storage must be named: %w", errdefs.ErrInvalidArgument)
	}
	var matches, named, near []string
	exact := false
	l.snapshotter.State().Graph(func(g *dag.Graph) {
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
		matches = l.calledBy(ctx, given)
	}
	switch {
	case len(named) == 1:
		return named[0], nil
	case len(matches) == 1:
		return matches[0], nil
	case len(matches) == 0 && len(near) > 0:
		return "", fmt.Errorf("storage %q: %w; a storage is found by whole parts of its name between slashes; names "+
			"like it are %s",
			given, errdefs.ErrNotFound, some(near))
	case len(matches) == 0:
		return "", fmt.Errorf("storage %q: %w", given, errdefs.ErrNotFound)
	}
	return "", fmt.Errorf("storage %q could be any of %s: %w", given, some(matches), errdefs.ErrInvalidArgument)
}

// hasParts reports whether a name ends with whole parts, between slashes, or has them in the middle.
func hasParts(name, parts string) bool { return strings.Contains(name+"/", "/"+parts+"/") }

// calledBy returns the storages of the containers of an id, or that clients call by a name, or by parts of one.
func (l lookup) calledBy(ctx context.Context, given string) (matches []string) {
	called := l.called(ctx)
	l.snapshotter.State().Graph(func(g *dag.Graph) {
		for _, st := range g.Storages() {
			key := keys.Parse(st.Key)
			if st.Key != "" && (key.Key == given || hasParts("/"+called[key], given)) {
				matches = append(matches, st.Name)
			}
		}
	})
	return matches
}

// resolveAll resolves several names, and tells of every one that cannot be.
func (l lookup) resolveAll(ctx context.Context, given []string) ([]string, error) {
	var (
		names []string
		errs  []error
	)
	for _, g := range given {
		full, err := l.resolve(ctx, g)
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

// mountPoints returns where the container that has a storage has something mounted; nothing if containerd does not say.
func (l lookup) mountPoints(ctx context.Context, storage string) state.MountPoints {
	var key string
	l.snapshotter.State().Graph(func(g *dag.Graph) {
		st, _ := g.Storage(storage)
		key = st.Key
	})
	mounting, ok := l.containers.(Mounting)
	if !ok || key == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, nameTimeout)
	defer cancel()
	points, err := mounting.MountPoints(ctx, keys.Parse(key))
	if err != nil {
		log.G(ctx).WithError(err).Warn("a difference is shown without the mount points of the specification")
	}
	return points
}

// called returns what clients call containers, by snapshot key; nothing if containerd does not say.
func (l lookup) called(ctx context.Context) map[keys.Key]string {
	names, ok := l.containers.(Names)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, nameTimeout)
	defer cancel()
	called, err := names.Called(ctx)
	if err != nil {
		log.G(ctx).WithError(err).Warn("storages are listed without the names of their containers")
	}
	return called
}

// refs returns what layers were called when they were last part of an update.
func (l lookup) refs() map[dag.NodeID]string {
	refs := map[dag.NodeID]string{}
	l.snapshotter.State().Graph(func(g *dag.Graph) {
		for _, u := range g.Updates() {
			for id, ref := range map[dag.NodeID]string{u.From: u.FromRef, u.To: u.ToRef} {
				if ref != "" && ref != id.String() {
					refs[id] = ref
				}
			}
		}
	})
	return refs
}

// baseOf returns the base that all the storages stand on.
func (l lookup) baseOf(storages []string) (base dag.NodeID, err error) {
	if len(storages) == 0 {
		return 0, fmt.Errorf("name the old base, or the storages to update: %w", errdefs.ErrInvalidArgument)
	}
	l.snapshotter.State().Graph(func(g *dag.Graph) {
		for i, name := range storages {
			st, _ := g.Storage(name)
			if b := g.Base(st); i == 0 {
				base = b
			} else if !g.SameBase(b, base) {
				err = fmt.Errorf("storages %q and %q stand on different bases; name the old base, or update them "+
					"one by one: %w",
					storages[0], name, errdefs.ErrInvalidArgument)
			}
		}
	})
	return base, err
}

// knownAs returns what a layer was called when it was last part of an update, empty if it never was.
func (l lookup) knownAs(layer dag.NodeID) (ref string) {
	l.snapshotter.State().Graph(func(g *dag.Graph) {
		for _, u := range g.Updates() {
			switch layer {
			case u.From:
				ref = u.FromRef
			case u.To:
				ref = u.ToRef
			}
		}
	})
	return ref
}

// layer finds a layer by its id ("n12") or by the name of an image of which it is the topmost one. What has the form of
// an id never is an image: a layer that is gone must not give way to an image of the same name.
func (l lookup) layer(ctx context.Context, namespace, ref string) (dag.NodeID, error) {
	if ref == "" {
		return 0, fmt.Errorf("an image must be named: %w", errdefs.ErrInvalidArgument)
	}
	number, _ := strings.CutPrefix(ref, "n")
	if id, err := strconv.ParseUint(number, 10, 64); err == nil && ref == dag.NodeID(id).String() {
		known := false
		l.snapshotter.State().Graph(func(g *dag.Graph) {
			n, ok := g.Node(dag.NodeID(id))
			known = ok && n.Kind == dag.Layer
		})
		if !known {
			return 0, fmt.Errorf("layer %s: %w; an image of that name must be given in full, with its registry",
				ref, errdefs.ErrNotFound)
		}
		return dag.NodeID(id), nil
	}
	return l.snapshotter.LayerOf(ctx, namespace, ref)
}

// anonymous reports whether a storage has no name of its own.
func (l lookup) anonymous(name string) (anonymous bool) {
	l.snapshotter.State().Graph(func(g *dag.Graph) {
		st, _ := g.Storage(name)
		anonymous = st.Anonymous
	})
	return anonymous
}
