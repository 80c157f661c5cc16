// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// MountPoints returns where the container of a snapshot of this snapshotter has something mounted by its specification;
// nothing when there is no such container.
func (h *Host) MountPoints(ctx context.Context, key keys.Key) (state.MountPoints, error) {
	list, err := h.client.ContainerService().List(namespaces.WithNamespace(ctx, key.Namespace))
	if err != nil {
		return nil, fmt.Errorf("list the containers of namespace %s: %w", key.Namespace, err)
	}
	for _, c := range list {
		if c.Snapshotter == h.snapshotter && c.SnapshotKey == key.Key {
			return mountPointsOf(c)
		}
	}
	return nil, nil
}

// mountPointsOf reads the specification of a container.
func mountPointsOf(c containers.Container) (points state.MountPoints, err error) {
	var spec specs.Spec
	if c.Spec == nil {
		return nil, nil
	}
	if err := json.Unmarshal(c.Spec.GetValue(), &spec); err != nil {
		return nil, fmt.Errorf("read the specification of container %q: %w", c.ID, err)
	}
	for _, m := range spec.Mounts {
		points = append(points, strings.TrimPrefix(path.Clean("/"+m.Destination), "/"))
	}
	return points, nil
}
