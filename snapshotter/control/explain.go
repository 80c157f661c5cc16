// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"encoding/json"
	"path"
	"strings"

	"github.com/containerd/errdefs/pkg/errgrpc"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// ExplainPath tells where what a container sees at a path comes from.
func (s *Service) ExplainPath(ctx context.Context, req *api.ExplainPathRequest) (*api.ExplainPathResponse, error) {
	full, err := s.resolve(req.GetName())
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	clean := strings.TrimPrefix(path.Clean("/"+string(req.GetPath())), "/")
	if clean == "" {
		clean = "."
	}
	e, err := s.snapshotter.Explain(ctx, full, clean)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	data, err := json.Marshal(e)
	return &api.ExplainPathResponse{Explanation: data}, errgrpc.ToGRPC(err)
}

// AuditStorage tells which fixes of its base a storage hides.
func (s *Service) AuditStorage(ctx context.Context, req *api.AuditStorageRequest) (*api.AuditStorageResponse, error) {
	full, err := s.resolve(req.GetName())
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	r, err := s.snapshotter.Audit(ctx, full)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	data, err := json.Marshal(r)
	return &api.AuditStorageResponse{Audit: data}, errgrpc.ToGRPC(err)
}
