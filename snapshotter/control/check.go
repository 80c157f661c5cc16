// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// Check tells what is not as it should be, and repairs what has one right answer if it shall.
func (s *Service) Check(ctx context.Context, req *api.CheckRequest) (*api.CheckResponse, error) {
	if !req.GetRepair() {
		found, err := s.snapshotter.Check(ctx)
		if err == nil && req.GetDeep() {
			var deep []snapshotter.Problem
			deep, err = s.snapshotter.CheckDeep(ctx)
			found = append(found, deep...)
		}
		if err != nil {
			return nil, errgrpc.ToGRPC(err)
		}
		return &api.CheckResponse{Problems: each(found, problem)}, nil
	}
	found, err := s.snapshotter.Repair(ctx)
	r := &api.CheckResponse{Problems: each(found, problem)}
	if err != nil {
		r.Failures = append(r.Failures, err.Error()) // the rest was done
	}
	return r, nil
}

func problem(p snapshotter.Problem) *api.Problem {
	return &api.Problem{Subject: p.Subject, What: p.What, Grave: p.Grave, Remedy: p.Remedy, Repaired: p.Repaired}
}

// chunk is how much of a backup is sent at once, in bytes.
const chunk = 256 << 10

// Backup streams a copy of the database.
func (s *Service) Backup(_ *api.BackupRequest, stream grpc.ServerStreamingServer[api.BackupResponse]) (err error) {
	dir, err := os.MkdirTemp("", "molt-backup-")
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	defer func() { err = errgrpc.ToGRPC(errors.Join(err, os.RemoveAll(dir))) }()
	path := filepath.Join(dir, "graph.db")
	if err := s.snapshotter.Backup(stream.Context(), path); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for {
		data := make([]byte, chunk)
		n, err := f.Read(data)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&api.BackupResponse{Data: data[:n]}); err != nil {
			return err
		}
	}
}
