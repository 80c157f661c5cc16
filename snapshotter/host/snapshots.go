// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
)

// Snapshots returns the keys of all snapshots that containerd has of this snapshotter, in all namespaces, and those
// that its containers refer to: what the snapshotter does not know any longer, containerd leaves out when it lists its
// own.
func (h *Host) Snapshots(ctx context.Context) ([]keys.Key, error) {
	all, err := h.client.NamespaceService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	found := map[keys.Key]bool{}
	for _, namespace := range all {
		if err := h.snapshotsIn(namespaces.WithNamespace(ctx, namespace), namespace, found); err != nil {
			return nil, fmt.Errorf("list the snapshots of namespace %s: %w", namespace, err)
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b keys.Key) int {
		return strings.Compare(a.Namespace+"/"+a.Key, b.Namespace+"/"+b.Key)
	}), nil
}

func (h *Host) snapshotsIn(ctx context.Context, namespace string, found map[keys.Key]bool) error {
	err := h.client.SnapshotService(h.snapshotter).Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		found[keys.Key{Namespace: namespace, Key: i.Name}] = true
		return nil
	})
	if err != nil {
		return err
	}
	list, err := h.client.ContainerService().List(ctx)
	for _, c := range list {
		if c.Snapshotter == h.snapshotter && c.SnapshotKey != "" {
			found[keys.Key{Namespace: namespace, Key: c.SnapshotKey}] = true
		}
	}
	return err
}
