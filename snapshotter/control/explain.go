// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"encoding/json"
	"path"
	"strings"

	"github.com/containerd/errdefs/pkg/errgrpc"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// ExplainPath tells where what a container sees at a path comes from.
func (s *Service) ExplainPath(ctx context.Context, req *api.ExplainPathRequest) (*api.ExplainPathResponse, error) {
	full, err := s.resolve(req.GetName())
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	e, err := s.snapshotter.Explain(ctx, full, clean(req.GetPath()))
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	data, err := json.Marshal(e)
	return &api.ExplainPathResponse{Explanation: data}, errgrpc.ToGRPC(err)
}

// DiffPath tells how a path changed in an update of a storage.
func (s *Service) DiffPath(ctx context.Context, req *api.DiffPathRequest) (*api.DiffPathResponse, error) {
	full, err := s.resolve(req.GetStorage())
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	d, err := s.snapshotter.DiffPath(ctx, dag.UpdateID(req.GetId()), full, clean(req.GetPath()))
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	data, err := json.Marshal(d)
	return &api.DiffPathResponse{Diff: data}, errgrpc.ToGRPC(err)
}

// clean returns a path relative to the root, as the engine takes it.
func clean(name []byte) string {
	if c := strings.TrimPrefix(path.Clean("/"+string(name)), "/"); c != "" {
		return c
	}
	return "."
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
