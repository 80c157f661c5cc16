// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"encoding/json"
	"io"
	"path"
	"strings"

	"github.com/containerd/errdefs/pkg/errgrpc"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// ExplainPath returns where what a container sees at a path comes from.
func (s *Service) ExplainPath(req *api.ExplainPathRequest, stream streamOf[api.ExplainPathResponse]) error {
	full, err := s.lookup.resolve(stream.Context(), req.GetName())
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	e, err := s.snapshotter.Inspector().Explain(stream.Context(), full, clean(req.GetPath()))
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	return sendDocument(stream, func(data []byte) *api.ExplainPathResponse {
		return &api.ExplainPathResponse{Explanation: data}
	}, func(w io.Writer) error { return encode(w, e) })
}

// DiffPath returns how a path changed in an update of a storage.
func (s *Service) DiffPath(req *api.DiffPathRequest, stream streamOf[api.DiffPathResponse]) error {
	full, err := s.lookup.resolve(stream.Context(), req.GetStorage())
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	d, err := s.snapshotter.Inspector().DiffPath(stream.Context(), dag.UpdateID(req.GetId()), full,
		clean(req.GetPath()))
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	return sendDocument(stream, func(data []byte) *api.DiffPathResponse {
		return &api.DiffPathResponse{Diff: data}
	}, func(w io.Writer) error { return encode(w, d) })
}

// encode writes a document whose size something else bounds.
func encode(w io.Writer, v any) error {
	data, err := json.Marshal(v)
	if err == nil {
		_, err = w.Write(data)
	}
	return err
}

// clean returns a path relative to the root, as the engine takes it.
func clean(name []byte) string {
	if c := strings.TrimPrefix(path.Clean("/"+string(name)), "/"); c != "" {
		return c
	}
	return "."
}

// AuditStorage returns which fixes of its base a storage hides.
func (s *Service) AuditStorage(req *api.AuditStorageRequest, stream streamOf[api.AuditStorageResponse]) error {
	full, err := s.lookup.resolve(stream.Context(), req.GetName())
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	r, err := s.snapshotter.Inspector().Audit(stream.Context(), full)
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	return sendDocument(stream, func(data []byte) *api.AuditStorageResponse {
		return &api.AuditStorageResponse{Audit: data}
	}, r.Encode)
}
