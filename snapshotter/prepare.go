// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/binding"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// LabelStorage is the label that, given to Prepare, binds the key to a storage. Stat and Walk compute it: the name of
// the storage of an active key, without the namespace of the key. An anonymous storage has none.
const LabelStorage = "containerd.io/snapshot/molt.storage"

// Prepare begins an active key on a committed one. With [LabelStorage] the key is bound to that storage at once, and
// the storage is serviced if it stands on another base; when that fails there is no key.
func (s *Snapshotter) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	labels, err := labelsOf(opts)
	if err != nil {
		return nil, fmt.Errorf("prepare snapshot %q: %w", key, err)
	}
	k := keys.Parse(key)
	storage := labels[LabelStorage]
	if storage != "" && k.Unpacks(labels) {
		log.G(ctx).WithFields(log.Fields{"key": k.Key, "storage": storage}).
			Warn("label " + LabelStorage + " comes from an image that is unpacked, and is ignored")
		storage = ""
	}
	if storage != "" {
		if storage, err = keys.StorageName(k.Namespace, storage); err != nil {
			return nil, fmt.Errorf("label %s: %w", LabelStorage, err)
		}
	}
	unlock, err := s.locks.Lock(ctx, "snapshot "+key)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := s.prepare(key, parent, labels); err != nil {
		return nil, err
	}
	if waiting := s.bindings.Rehomer.Waiting(key); waiting != "" && labels[LabelRehoming] != "" {
		var mounts []mount.Mount
		err := s.bindings.Rehomer.Take(ctx, key, waiting, func() (err error) {
			mounts, err = s.mountsOf(key)
			return err
		})
		if err != nil {
			return nil, errors.Join(err, s.state.Do(dag.Remove{Key: key, Now: clock.Now()}))
		}
		return mounts, nil
	}
	mounts, _, err := s.handOut(ctx, dag.Name{Key: key, Storage: dag.AnonymousName(key)},
		binding.Claim{Storage: storage}, false)
	if err != nil {
		return nil, errors.Join(err, s.state.Do(dag.Remove{Key: key, Now: clock.Now()}))
	}
	return mounts, nil
}

// prepare makes the open node of a new key and adds both to the graph.
func (s *Snapshotter) prepare(key, parent string, labels map[string]string) (err error) {
	draft, layers, err := s.onParent(key, parent)
	defer func() { err = errors.Join(err, draft.Close()) }()
	if err != nil {
		return err
	}
	s.bindings.Storages.Making(key)
	open, err := draft.OpenEmpty(layers)
	if err != nil {
		return err
	}
	return draft.Commit(dag.Prepare{
		Key: key, Kind: dag.Active, Parent: parent, Labels: Given(labels), Open: open,
		Follows: s.binding.NewContainers == binding.BeginOnNewest && !keys.Parse(key).Unpacks(labels), Now: clock.Now(),
	})
}

// onParent begins a draft with the layers below a new key, after a look at whether there could be one. The caller
// closes it, also after an error.
func (s *Snapshotter) onParent(key, parent string) (draft *state.Draft, layers []dag.NodeID, err error) {
	draft = s.state.Begin(func(g *dag.Graph) []dag.NodeID {
		if _, err = g.Plan(dag.Prepare{Key: key, Kind: dag.View, Parent: parent}); err != nil {
			return nil
		}
		p, _ := g.Name(parent)
		layers = g.Chain(p.Node)
		if err = s.state.Usable(g, layers); err != nil {
			return nil
		}
		return layers
	})
	return draft, layers, err
}

// View begins a key that shows a committed one, to be read only.
func (s *Snapshotter) View(
	_ context.Context, key, parent string, opts ...snapshots.Opt,
) (mounts []mount.Mount, err error) {
	labels, err := labelsOf(opts)
	if err != nil {
		return nil, fmt.Errorf("view snapshot %q: %w", key, err)
	}
	draft, _, err := s.onParent(key, parent)
	defer func() { err = errors.Join(err, draft.Close()) }()
	if err != nil {
		return nil, err
	}
	labels = Given(labels)
	view := dag.Prepare{Key: key, Kind: dag.View, Parent: parent, Labels: labels, Now: clock.Now()}
	if err := s.state.Do(view); err != nil {
		return nil, err
	}
	if mounts, err = s.mountsOf(key); err != nil {
		return nil, errors.Join(err, s.state.Do(dag.Remove{Key: key, Now: clock.Now()}))
	}
	return mounts, nil
}

func labelsOf(opts []snapshots.Opt) (map[string]string, error) {
	var i snapshots.Info
	for _, opt := range opts {
		if err := opt(&i); err != nil {
			return nil, err
		}
	}
	return i.Labels, nil
}
