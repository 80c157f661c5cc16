// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"io"

	"github.com/containerd/errdefs/pkg/errgrpc"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// ListBeside streams the versions of files that updates put into a storage, and that are not in force.
func (s *Service) ListBeside(req *api.ListBesideRequest, stream streamOf[api.ListBesideResponse]) error {
	full, err := s.lookup.resolve(stream.Context(), req.GetName())
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	send := func(v servicing.BesideVersion) error {
		return stream.Send(&api.ListBesideResponse{
			Path: rawOr(v.Path, v.PathBytes), Version: string(v.Kind), At: rawOr(v.At, v.AtBytes), Kind: v.What,
			Size: v.Size, Link: v.Link,
		})
	}
	return errgrpc.ToGRPC(s.snapshotter.Inspector().Beside(stream.Context(), full, clean(req.GetPath()), send))
}

// rawOr returns a path as it is, where its text is not.
func rawOr(text string, raw []byte) []byte {
	if len(raw) > 0 {
		return raw
	}
	return []byte(text)
}

// ReadBeside returns the content of one of these versions.
func (s *Service) ReadBeside(req *api.ReadBesideRequest, stream streamOf[api.ReadBesideResponse]) error {
	full, err := s.lookup.resolve(stream.Context(), req.GetName())
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	return sendDocument(stream, func(data []byte) *api.ReadBesideResponse {
		return &api.ReadBesideResponse{Data: data}
	}, func(w io.Writer) error {
		return s.snapshotter.Inspector().ReadBeside(stream.Context(), full, clean(req.GetAt()), w)
	})
}
