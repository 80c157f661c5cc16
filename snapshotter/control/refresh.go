// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/runconfig"
)

// Containers are the records that a containerd has of its containers. The snapshotter itself only ever reads them.
type Containers interface {
	// Refresh returns what taking the record of a container from the defaults of one image to those of another changes, and
	// where the container is to stand for that, nil when there is nothing to do.
	Refresh(ctx context.Context, namespace, container, from, to string) ([]runconfig.Change, *snapshotter.Home, error)
}

// Option changes what the control API can do.
type Option func(*Service)

// WithContainers lets the control API change the records of containers.
func WithContainers(c Containers) Option { return func(s *Service) { s.containers = c } }

// RefreshContainer takes the record of a stopped container, and its key, to another image.
func (s *Service) RefreshContainer(ctx context.Context, req *api.RefreshContainerRequest) (*api.RefreshContainerResponse, error) {
	if s.containers == nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("no containerd is configured whose containers could be refreshed: %w", errdefs.ErrFailedPrecondition))
	}
	if req.GetNamespace() == "" || req.GetContainer() == "" || req.GetFrom() == "" || req.GetTo() == "" {
		return nil, errgrpc.ToGRPC(fmt.Errorf("a namespace, a container and two images must be named: %w", errdefs.ErrInvalidArgument))
	}
	changes, home, err := s.containers.Refresh(ctx, req.GetNamespace(), req.GetContainer(), req.GetFrom(), req.GetTo())
	if err == nil && home != nil && !req.GetDryRun() {
		err = s.snapshotter.Rehome(ctx, *home)
	}
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.RefreshContainerResponse{Changes: each(changes, func(c runconfig.Change) *api.RefreshContainerResponse_Change {
		return &api.RefreshContainerResponse_Change{Subject: c.Subject, Name: c.Name, Action: c.Action, Old: c.Old, New: c.New, Why: c.Why}
	})}, nil
}
