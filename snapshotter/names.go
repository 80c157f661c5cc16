// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
)

var kinds = map[dag.NameKind]snapshots.Kind{
	dag.Active:    snapshots.KindActive,
	dag.View:      snapshots.KindView,
	dag.Committed: snapshots.KindCommitted,
}

// info returns what containerd is shown of a name. It is called while the graph is viewed.
func (c *computed) info(g *dag.Graph, n dag.Name) snapshots.Info {
	i := snapshots.Info{
		Kind: kinds[n.Kind], Name: n.Key, Parent: n.Parent, Labels: Given(n.Labels),
		Created: n.Created, Updated: n.Updated,
	}
	labels := c.labels(g, n)
	if i.Labels == nil {
		i.Labels = labels
	} else {
		maps.Copy(i.Labels, labels)
	}
	return i
}

// name returns a name, or errdefs.ErrNotFound.
func (s *Snapshotter) name(key string) (n dag.Name, err error) {
	s.state.Graph(func(g *dag.Graph) {
		var ok bool
		if n, ok = g.Name(key); !ok {
			err = fmt.Errorf("snapshot %q: %w", key, errdefs.ErrNotFound)
		}
	})
	return n, err
}

// Stat returns what containerd knows of a key, and computed labels: see [LabelBase].
func (s *Snapshotter) Stat(_ context.Context, key string) (i snapshots.Info, err error) {
	s.state.Graph(func(g *dag.Graph) {
		n, ok := g.Name(key)
		if !ok {
			err = fmt.Errorf("snapshot %q: %w", key, errdefs.ErrNotFound)
			return
		}
		i = s.computed.info(g, n)
	})
	return i, err
}

// Update replaces the labels of a key, all or those named by field paths. Computed labels stay as they are computed.
func (s *Snapshotter) Update(_ context.Context, change snapshots.Info, fieldpaths ...string) (snapshots.Info, error) {
	n, err := s.name(change.Name)
	if err != nil {
		return snapshots.Info{}, err
	}
	labels, err := updatedLabels(n.Labels, change.Labels, fieldpaths)
	if err != nil {
		return snapshots.Info{}, fmt.Errorf("update snapshot %q: %w", change.Name, err)
	}
	if err := s.state.Do(dag.Relabel{Key: change.Name, Labels: labels, Now: clock.Now()}); err != nil {
		return snapshots.Info{}, err
	}
	return s.Stat(context.Background(), change.Name)
}

func updatedLabels(old, given map[string]string, fieldpaths []string) (map[string]string, error) {
	labels := map[string]string{}
	if len(fieldpaths) == 0 {
		fieldpaths = []string{"labels"}
	} else {
		maps.Copy(labels, old)
	}
	for _, path := range fieldpaths {
		label, ok := strings.CutPrefix(path, "labels.")
		switch {
		case ok:
			labels[label] = given[label]
		case path == "labels":
			clear(labels)
			maps.Copy(labels, given)
		default:
			return nil, fmt.Errorf("field %q cannot be updated: %w", path, errdefs.ErrInvalidArgument)
		}
	}
	// To containerd, a label without a value is none.
	maps.DeleteFunc(labels, func(_, value string) bool { return value == "" })
	return Given(labels), nil
}

// Walk calls fn for every key that containerd made, and for nothing of ours: containerd's garbage collector removes
// every key that it is shown and does not know. Filters see computed labels, too.
func (s *Snapshotter) Walk(ctx context.Context, fn snapshots.WalkFunc, fs ...string) error {
	filter, err := filters.ParseAll(fs...)
	if err != nil {
		return err
	}
	var infos []snapshots.Info
	s.state.Graph(func(g *dag.Graph) {
		for _, n := range g.Names() {
			infos = append(infos, s.computed.info(g, n))
		}
	})
	for _, i := range infos {
		if !filter.Match(adapt(i)) {
			continue
		}
		if err := fn(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// adapt shows the fields of an info to filters.
func adapt(i snapshots.Info) filters.Adaptor {
	return filters.AdapterFunc(func(path []string) (string, bool) {
		if len(path) == 0 {
			return "", false
		}
		switch path[0] {
		case "kind":
			return strings.ToLower(i.Kind.String()), true
		case "name":
			return i.Name, true
		case "parent":
			return i.Parent, true
		case "labels":
			v, ok := i.Labels[strings.Join(path[1:], ".")]
			return v, ok
		}
		return "", false
	})
}

// Commit makes a layer of what was written under an active key. It is called inside containerd's write transaction:
// it measures the layer but puts nothing on disk except the graph; the layer counts as not yet on disk until the
// background has seen to it. A layer that updates a base on which storages stand is on record as that with the same
// change, see [WithOnCommit]; servicing begins behind it.
func (s *Snapshotter) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	var base snapshots.Info
	for _, opt := range opts {
		if err := opt(&base); err != nil {
			return fmt.Errorf("commit snapshot %q: %w", key, err)
		}
	}
	n, err := s.name(key)
	if err != nil {
		return err
	}
	if base.Parent != "" && base.Parent != n.Parent {
		return fmt.Errorf("commit snapshot %q: its parent is %q and cannot become %q: %w", key, n.Parent, base.Parent,
			errdefs.ErrInvalidArgument)
	}
	u, err := s.Usage(ctx, key)
	if err != nil {
		return err
	}
	claimed, err := s.tracker.ClaimCommit(ctx, n)
	if err != nil {
		return fmt.Errorf("commit snapshot %q: %w", key, err)
	}
	updates, err := s.updates.Announcer.Commit(ctx, dag.Commit{
		Key: key, Name: name, Labels: Given(base.Labels), Origin: keys.Parse(name).Origin(), Unsynced: s.state.Boot(),
		Size: u.Size, Inodes: u.Inodes, Now: clock.Now(),
	}, n, base.Labels)
	if err := errors.Join(err, claimed()); err != nil {
		return err
	}
	s.tracker.Ended(key)
	s.updates.Announcer.Follow(updates)
	s.tasks.Kick()
	return nil
}

// Remove drops a key. Directories are deleted later, in the background or by Cleanup; a storage with a name stays.
// Only errdefs.ErrFailedPrecondition lets containerd's garbage collection go on, so that is all it returns for a key
// it knows.
func (s *Snapshotter) Remove(_ context.Context, key string) error {
	var delta bool
	s.state.Graph(func(g *dag.Graph) {
		n, _ := g.Name(key)
		layer, _ := g.Node(n.Node)
		delta = n.Kind == dag.Committed && layer.Added
	})
	err := s.state.Do(dag.Remove{Key: key, Now: clock.Now()})
	switch {
	case errdefs.IsNotFound(err), errdefs.IsFailedPrecondition(err):
		return err
	case err != nil: // the database, be it that the disk is full
		return fmt.Errorf("remove snapshot %q: %w: %w", key, errdefs.ErrFailedPrecondition, err)
	}
	s.tracker.Ended(key)
	if delta { // it may be merged now
		s.tasks.Kick()
	}
	return nil
}
