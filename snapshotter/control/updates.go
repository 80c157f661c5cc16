// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// CreateUpdate records an update and begins it.
func (s *Service) CreateUpdate(ctx context.Context, req *api.CreateUpdateRequest) (*api.CreateUpdateResponse, error) {
	r, err := s.updateRequest(ctx, req)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	id, err := s.snapshotter.BeginUpdate(ctx, r)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	u, err := s.update(id)
	return &api.CreateUpdateResponse{Update: u}, errgrpc.ToGRPC(err)
}

// PreviewUpdate tells what an update would come to.
func (s *Service) PreviewUpdate(ctx context.Context, req *api.CreateUpdateRequest) (*api.PreviewResponse, error) {
	r, err := s.updateRequest(ctx, req)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return previews(s.snapshotter.PreviewUpdate(ctx, r))
}

func (s *Service) updateRequest(ctx context.Context, req *api.CreateUpdateRequest) (r snapshotter.UpdateRequest, err error) {
	r = snapshotter.UpdateRequest{
		FromRef: req.GetFrom(), ToRef: req.GetTo(),
		Anonymous: req.GetAnonymous(), AllOrNothing: req.GetAllOrNothing(), AssumeFree: req.GetAssumeFree(),
		Options: servicing.Options{Policy: policy(req.GetPolicy()), Pins: pins(req.GetPin()), Force: req.GetForce()},
	}
	if r.Storages, err = s.resolveAll(req.GetStorages()); err != nil {
		return r, err
	}
	if r.To, err = s.layer(ctx, req.GetNamespace(), req.GetTo()); err != nil {
		return r, fmt.Errorf("new base: %w", err)
	}
	if req.GetFrom() == "" {
		r.From, err = s.baseOf(r.Storages)
		r.FromRef = s.knownAs(r.From)
		return r, err
	}
	if r.From, err = s.layer(ctx, req.GetNamespace(), req.GetFrom()); err != nil {
		return r, fmt.Errorf("old base: %w", err)
	}
	return r, nil
}

// baseOf returns the base that all the storages stand on.
func (s *Service) baseOf(storages []string) (base dag.NodeID, err error) {
	if len(storages) == 0 {
		return 0, fmt.Errorf("name the old base, or the storages to update: %w", errdefs.ErrInvalidArgument)
	}
	s.snapshotter.Graph(func(g *dag.Graph) {
		for i, name := range storages {
			st, _ := g.Storage(name)
			if b := g.Base(st); i == 0 {
				base = b
			} else if !g.SameBase(b, base) {
				err = fmt.Errorf("storages %q and %q stand on different bases; name the old base, or update them one by one: %w", storages[0], name, errdefs.ErrInvalidArgument)
			}
		}
	})
	return base, err
}

// knownAs returns what a layer was called when it was last part of an update, empty if it never was.
func (s *Service) knownAs(layer dag.NodeID) (ref string) {
	s.snapshotter.Graph(func(g *dag.Graph) {
		for _, u := range g.Updates() {
			switch layer {
			case u.From:
				ref = u.FromRef
			case u.To:
				ref = u.ToRef
			}
		}
	})
	return ref
}

// layer finds a layer by its id ("n12") or by the name of an image of which it is the topmost one. What has the form of
// an id never is an image: a layer that is gone must not give way to an image of the same name.
func (s *Service) layer(ctx context.Context, namespace, ref string) (dag.NodeID, error) {
	if ref == "" {
		return 0, fmt.Errorf("an image must be named: %w", errdefs.ErrInvalidArgument)
	}
	number, _ := strings.CutPrefix(ref, "n")
	if id, err := strconv.ParseUint(number, 10, 64); err == nil && ref == dag.NodeID(id).String() {
		known := false
		s.snapshotter.Graph(func(g *dag.Graph) {
			n, ok := g.Node(dag.NodeID(id))
			known = ok && n.Kind == dag.Layer
		})
		if !known {
			return 0, fmt.Errorf("layer %s: %w; an image of that name must be given in full, with its registry",
				ref, errdefs.ErrNotFound)
		}
		return dag.NodeID(id), nil
	}
	return s.snapshotter.LayerOf(ctx, namespace, ref)
}

// ListUpdates returns the updates by id.
func (s *Service) ListUpdates(context.Context, *api.ListUpdatesRequest) (*api.ListUpdatesResponse, error) {
	r := &api.ListUpdatesResponse{}
	s.snapshotter.Graph(func(g *dag.Graph) { r.Updates = each(g.Updates(), update) })
	return r, nil
}

// GetUpdate returns an update.
func (s *Service) GetUpdate(_ context.Context, req *api.GetUpdateRequest) (*api.GetUpdateResponse, error) {
	u, err := s.update(dag.UpdateID(req.GetId()))
	return &api.GetUpdateResponse{Update: u}, errgrpc.ToGRPC(err)
}

func (s *Service) update(id dag.UpdateID) (u *api.Update, err error) {
	err = fmt.Errorf("update %v: %w", id, errdefs.ErrNotFound)
	s.snapshotter.Graph(func(g *dag.Graph) {
		if found, ok := g.Update(id); ok {
			u, err = update(found), nil
		}
	})
	return u, err
}

// watchEvery is how often a watched update is looked at.
const watchEvery = 50 * time.Millisecond

// WatchUpdate streams an update each time it changes, until no storage is being serviced.
func (s *Service) WatchUpdate(req *api.GetUpdateRequest, stream grpc.ServerStreamingServer[api.GetUpdateResponse]) error {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	var last *api.Update
	for {
		u, err := s.update(dag.UpdateID(req.GetId()))
		if err != nil {
			return errgrpc.ToGRPC(err)
		}
		if !proto.Equal(u, last) {
			if err := stream.Send(&api.GetUpdateResponse{Update: u}); err != nil {
				return err
			}
			last = u
		}
		if state := dag.State(u.GetState()); state != dag.Staging && state != dag.Staged {
			return nil
		}
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-ticker.C:
		}
	}
}

// GetReport returns what an update found and did in a storage.
func (s *Service) GetReport(_ context.Context, req *api.GetReportRequest) (*api.GetReportResponse, error) {
	full, err := s.resolve(req.GetStorage())
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	report, err := s.snapshotter.Report(dag.UpdateID(req.GetId()), full)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	data, err := json.Marshal(report)
	return &api.GetReportResponse{Report: data}, errgrpc.ToGRPC(err)
}

// RollbackUpdate undoes an update for all its storages, or for some.
func (s *Service) RollbackUpdate(ctx context.Context, req *api.RollbackUpdateRequest) (*api.RollbackUpdateResponse, error) {
	r, err := s.rollbackRequest(req)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	all, err := s.snapshotter.Undo(ctx, r)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	var failures []string
	for _, one := range all {
		if err := one.Failure(r.Update); err != nil {
			failures = append(failures, err.Error())
		}
	}
	u, err := s.update(r.Update)
	return &api.RollbackUpdateResponse{Update: u, Failures: failures}, errgrpc.ToGRPC(err)
}

// PreviewRollback tells what a rollback would come to.
func (s *Service) PreviewRollback(ctx context.Context, req *api.RollbackUpdateRequest) (*api.PreviewResponse, error) {
	r, err := s.rollbackRequest(req)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return previews(s.snapshotter.PreviewRollback(ctx, r))
}

func (s *Service) rollbackRequest(req *api.RollbackUpdateRequest) (snapshotter.RollbackRequest, error) {
	names, err := s.resolveAll(req.GetStorages())
	return snapshotter.RollbackRequest{
		Update: dag.UpdateID(req.GetId()), Storages: names, Carry: req.GetCarry(), AssumeFree: req.GetAssumeFree(),
	}, err
}

func previews(list []snapshotter.Preview, err error) (*api.PreviewResponse, error) {
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	r := &api.PreviewResponse{}
	for _, p := range list {
		preview := &api.Preview{Storage: p.Storage, Holds: p.Holds, Waits: p.Waits}
		if p.Err != nil {
			preview.Error = p.Err.Error()
		}
		if p.Report != nil {
			if preview.Report, err = json.Marshal(p.Report); err != nil {
				return nil, errgrpc.ToGRPC(err)
			}
		}
		r.Previews = append(r.Previews, preview)
	}
	return r, nil
}
