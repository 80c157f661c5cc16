// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/binding"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/runconfig"
)

// Containers are the records that a containerd has of its containers. The snapshotter itself only ever reads them.
type Containers interface {
	// Refresh returns what taking the record of a container from the defaults of one image to those of another changes,
	// and where the container is to stand for that, nil when there is nothing to do.
	Refresh(ctx context.Context, namespace, container, from, to string) ([]runconfig.Change, *binding.Home, error)
}

// Option changes what the control API can do.
type Option func(*Service)

// WithContainers lets the control API change the records of containers.
func WithContainers(c Containers) Option { return func(s *Service) { s.containers = c } }

// RefreshContainer takes the record of a stopped container, and its key, to another image.
func (s *Service) RefreshContainer(
	req *api.RefreshContainerRequest, stream streamOf[api.RefreshContainerResponse],
) error {
	if s.containers == nil {
		err := fmt.Errorf("no containerd is configured that has containers to refresh: %w",
			errdefs.ErrFailedPrecondition)
		return errgrpc.ToGRPC(err)
	}
	if req.GetNamespace() == "" || req.GetContainer() == "" || req.GetFrom() == "" || req.GetTo() == "" {
		err := fmt.Errorf("a namespace, a container and two images must be named: %w", errdefs.ErrInvalidArgument)
		return errgrpc.ToGRPC(err)
	}
	ctx := stream.Context()
	changes, home, err := s.containers.Refresh(ctx, req.GetNamespace(), req.GetContainer(), req.GetFrom(), req.GetTo())
	if err == nil && home != nil && !req.GetDryRun() {
		err = s.snapshotter.Rehomer().Rehome(ctx, *home)
	}
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	list := each(changes, func(c runconfig.Change) *api.RefreshContainerResponse_Change {
		return &api.RefreshContainerResponse_Change{
			Subject: c.Subject, Name: bounded(c.Name), Action: c.Action,
			Old: bounded(c.Old), New: bounded(c.New), Why: bounded(c.Why),
		}
	})
	return sendList(stream, list, func(l []*api.RefreshContainerResponse_Change) *api.RefreshContainerResponse {
		return &api.RefreshContainerResponse{Changes: l}
	})
}
