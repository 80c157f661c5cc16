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

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// Check returns what is not as it should be, and repairs what can be repaired without a choice if it shall.
func (s *Service) Check(req *api.CheckRequest, stream streamOf[api.CheckResponse]) error {
	look := s.snapshotter.Checks().Check
	if req.GetDeep() {
		look = s.lookDeep
	}
	if req.GetRepair() {
		look = s.snapshotter.Checks().Repair
	}
	found, err := look(stream.Context())
	if err != nil && !req.GetRepair() {
		return errgrpc.ToGRPC(err)
	}
	// What could not be repaired does not undo the rest.
	return errors.Join(
		sendList(stream, each(found, problem), func(l []*api.Problem) *api.CheckResponse {
			return &api.CheckResponse{Problems: l}
		}),
		sendFailures(stream, err),
	)
}

// lookDeep checks everything, and compares frozen nodes with what they were when they were frozen.
func (s *Service) lookDeep(ctx context.Context) ([]state.Problem, error) {
	found, err := s.snapshotter.Checks().Check(ctx)
	if err != nil {
		return found, err
	}
	deep, err := s.snapshotter.Checks().Deep(ctx)
	return append(found, deep...), err
}

func sendFailures(stream streamOf[api.CheckResponse], err error) error {
	for _, failure := range lines(err) {
		if err := stream.Send(&api.CheckResponse{Failures: []string{failure}}); err != nil {
			return err
		}
	}
	return nil
}

func problem(p state.Problem) *api.Problem {
	return &api.Problem{
		Subject: bounded(p.Subject), What: bounded(p.What), Grave: p.Grave, Remedy: bounded(p.Remedy),
		Repaired: p.Repaired,
	}
}

// Backup streams a copy of the database.
func (s *Service) Backup(_ *api.BackupRequest, stream streamOf[api.BackupResponse]) (err error) {
	dir, err := os.MkdirTemp("", "molt-backup-")
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	defer func() { err = errgrpc.ToGRPC(errors.Join(err, os.RemoveAll(dir))) }()
	path := filepath.Join(dir, "graph.db")
	if err := s.snapshotter.State().Backup(stream.Context(), path); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for {
		data := make([]byte, partSize)
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
