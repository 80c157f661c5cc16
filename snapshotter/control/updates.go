// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// CreateUpdate records an update and begins it.
func (s *Service) CreateUpdate(ctx context.Context, req *api.CreateUpdateRequest) (*api.CreateUpdateResponse, error) {
	r, err := s.updateRequest(ctx, req)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	id, err := s.snapshotter.Updates().Begin(ctx, r)
	return &api.CreateUpdateResponse{Id: uint64(id)}, errgrpc.ToGRPC(err)
}

// PreviewUpdate returns what an update would come to.
func (s *Service) PreviewUpdate(req *api.CreateUpdateRequest, stream streamOf[api.PreviewResponse]) error {
	r, err := s.updateRequest(stream.Context(), req)
	if err == nil {
		err = s.snapshotter.Previews().Update(stream.Context(), r, previewTo(stream))
	}
	return errgrpc.ToGRPC(err)
}

func (s *Service) updateRequest(ctx context.Context, req *api.CreateUpdateRequest) (r updates.Request, err error) {
	r = updates.Request{
		FromRef: req.GetFrom(), ToRef: req.GetTo(),
		Anonymous: req.GetAnonymous(), AllOrNothing: req.GetAllOrNothing(), AssumeFree: req.GetAssumeFree(),
		Standing: req.GetStanding(),
		Options:  servicing.Options{Policy: policy(req.GetPolicy()), Pins: pins(req.GetPin()), Force: req.GetForce()},
	}
	if r.Storages, err = s.lookup.resolveAll(ctx, req.GetStorages()); err != nil {
		return r, err
	}
	if r.To, err = s.lookup.layer(ctx, req.GetNamespace(), req.GetTo()); err != nil {
		return r, fmt.Errorf("new base: %w", err)
	}
	if req.GetFrom() == "" {
		r.From, err = s.lookup.baseOf(r.Storages)
		r.FromRef = s.lookup.knownAs(r.From)
		return r, err
	}
	if r.From, err = s.lookup.layer(ctx, req.GetNamespace(), req.GetFrom()); err != nil {
		return r, fmt.Errorf("old base: %w", err)
	}
	return r, nil
}

// ListUpdates returns the updates by id.
func (s *Service) ListUpdates(_ *api.ListUpdatesRequest, stream streamOf[api.ListUpdatesResponse]) error {
	var all []*api.Update
	s.snapshotter.State().Graph(func(g *dag.Graph) { all = each(g.Updates(), updateIn(g)) })
	return sendList(stream, updateParts(all...), func(l []*api.Update) *api.ListUpdatesResponse {
		return &api.ListUpdatesResponse{Updates: l}
	})
}

// GetUpdate returns an update.
func (s *Service) GetUpdate(req *api.GetUpdateRequest, stream streamOf[api.GetUpdateResponse]) error {
	u, err := s.update(dag.UpdateID(req.GetId()))
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	return sendUpdate(stream, u)
}

func sendUpdate(stream streamOf[api.GetUpdateResponse], u *api.Update) error {
	for _, part := range updateParts(u) {
		if err := stream.Send(&api.GetUpdateResponse{Update: part}); err != nil {
			return err
		}
	}
	return nil
}

// update returns an update with the outcomes for some storages; for all of them if none is named.
func (s *Service) update(id dag.UpdateID, storages ...string) (u *api.Update, err error) {
	err = fmt.Errorf("update %v: %w", id, errdefs.ErrNotFound)
	s.snapshotter.State().Graph(func(g *dag.Graph) {
		if found, ok := g.Update(id); ok {
			u, err = update(g, only(found, storages...)), nil
			u.MadeSince = uint64(updates.MadeSince(g, found))
		}
	})
	return u, err
}

// underway reports whether an update goes on by itself.
func (s *Service) underway(id dag.UpdateID) (underway bool) {
	s.snapshotter.State().Graph(func(g *dag.Graph) {
		u, _ := g.Update(id)
		underway = u.Underway()
	})
	return underway
}

// watchAtMost is the time between two looks at a watched update: an update of many storages changes at each of them.
const watchAtMost = 50 * time.Millisecond

// WatchUpdate streams an update each time it changes, with the outcomes that changed, until no storage is being
// serviced.
func (s *Service) WatchUpdate(req *api.GetUpdateRequest, stream streamOf[api.GetUpdateResponse]) error {
	var last *api.Update
	for {
		changes := s.snapshotter.State().Changed()
		// Whether it goes on is asked first: what it then came to is the end.
		underway := s.underway(dag.UpdateID(req.GetId()))
		u, err := s.update(dag.UpdateID(req.GetId()))
		if err != nil {
			return errgrpc.ToGRPC(err)
		}
		if !proto.Equal(u, last) {
			if err := sendUpdate(stream, changed(u, last)); err != nil {
				return err
			}
			last = u
		}
		if !underway {
			return nil
		}
		if err := awaitChange(stream.Context(), changes); err != nil {
			return err
		}
	}
}

// awaitChange waits for a change of the graph, and long enough since the last look.
func awaitChange(ctx context.Context, changes <-chan struct{}) error {
	soon := time.NewTimer(watchAtMost)
	defer soon.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-changes:
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-soon.C:
		return nil
	}
}

// changed returns an update with the outcomes that are not as they were.
func changed(u, last *api.Update) *api.Update {
	before := map[string]*api.Outcome{}
	for _, o := range last.GetOutcomes() {
		before[o.GetStorage()] = o
	}
	all := u.GetOutcomes()
	u.Outcomes = nil
	part, _ := proto.Clone(u).(*api.Update)
	u.Outcomes = all
	for _, o := range all {
		if !proto.Equal(o, before[o.GetStorage()]) {
			part.Outcomes = append(part.Outcomes, o)
		}
	}
	return part
}

// GetReport returns what an update found and did in a storage.
func (s *Service) GetReport(req *api.GetReportRequest, stream streamOf[api.GetReportResponse]) error {
	full, err := s.lookup.resolve(stream.Context(), req.GetStorage())
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	path := ""
	if len(req.GetPath()) > 0 {
		path = clean(req.GetPath())
	}
	return sendDocument(stream, func(data []byte) *api.GetReportResponse {
		return &api.GetReportResponse{Report: data}
	}, func(w io.Writer) error {
		return s.snapshotter.Reports().Write(w, dag.UpdateID(req.GetId()), full, path)
	})
}

// RollbackUpdate undoes an update for all its storages, or for some.
func (s *Service) RollbackUpdate(
	req *api.RollbackUpdateRequest, stream streamOf[api.RollbackUpdateResponse],
) error {
	r, err := s.rollbackRequest(stream.Context(), req)
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	all, err := s.snapshotter.Rollbacks().Undo(stream.Context(), r)
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	u, err := s.update(r.Update, r.Storages...)
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	for _, part := range updateParts(u) {
		if err := stream.Send(&api.RollbackUpdateResponse{Update: part}); err != nil {
			return err
		}
	}
	for _, one := range all {
		part := &api.RollbackUpdateResponse{Undone: []*api.Undone{undone(r.Update, one)}}
		if failure := one.Failure(r.Update); failure != nil {
			part.Failures, part.FailureCodes = []string{text(failure)}, []uint32{code(failure)}
		}
		if err := stream.Send(part); err != nil {
			return err
		}
	}
	return nil
}

// CancelUpdate withdraws what has not happened of an update, or of its rollback, for all its storages or for some.
func (s *Service) CancelUpdate(req *api.CancelUpdateRequest, stream streamOf[api.CancelUpdateResponse]) error {
	names, err := s.lookup.resolveAll(stream.Context(), req.GetStorages())
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	id := dag.UpdateID(req.GetId())
	all, err := s.snapshotter.Rollbacks().Cancel(stream.Context(), id, names)
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	return sendList(stream, each(all, func(one updates.Undone) *api.Undone { return undone(id, one) }),
		func(l []*api.Undone) *api.CancelUpdateResponse { return &api.CancelUpdateResponse{Undone: l} })
}

// ApplyUpdate has an update that was announced or staged go on.
func (s *Service) ApplyUpdate(ctx context.Context, req *api.ApplyUpdateRequest) (*api.ApplyUpdateResponse, error) {
	names, err := s.lookup.resolveAll(ctx, req.GetStorages())
	if err == nil {
		err = s.snapshotter.Updates().Apply(ctx, dag.UpdateID(req.GetId()), names)
	}
	return &api.ApplyUpdateResponse{}, errgrpc.ToGRPC(err)
}

func undone(id dag.UpdateID, one updates.Undone) *api.Undone {
	u := &api.Undone{Storage: one.Storage, Fate: string(one.Fate), By: uint64(one.By), Why: bounded(one.Why)}
	if err := one.Failure(id); err != nil {
		u.Why, u.Code = text(err), code(err)
	}
	return u
}

// code returns the gRPC status code of an error.
func code(err error) uint32 { return uint32(status.Code(errgrpc.ToGRPC(err))) }

// PreviewRollback returns what a rollback would come to.
func (s *Service) PreviewRollback(req *api.RollbackUpdateRequest, stream streamOf[api.PreviewResponse]) error {
	r, err := s.rollbackRequest(stream.Context(), req)
	if err == nil {
		err = s.snapshotter.Previews().Rollback(stream.Context(), r, previewTo(stream))
	}
	return errgrpc.ToGRPC(err)
}

func (s *Service) rollbackRequest(ctx context.Context, req *api.RollbackUpdateRequest) (updates.RollbackRequest,
	error) {
	names, err := s.lookup.resolveAll(ctx, req.GetStorages())
	return updates.RollbackRequest{
		Update: dag.UpdateID(req.GetId()), Storages: names, Carry: req.GetCarry(), Discard: req.GetDiscard(),
		WithNew: req.GetWithNew(), AssumeFree: req.GetAssumeFree(),
	}, err
}

// previewTo returns what sends previews.
func previewTo(stream streamOf[api.PreviewResponse]) func(updates.Preview) error {
	return func(p updates.Preview) error { return sendPreview(stream, p) }
}

// sendPreview sends what an operation would come to for one storage: the preview, then the pieces of its report.
func sendPreview(stream streamOf[api.PreviewResponse], p updates.Preview) error {
	preview := &api.Preview{
		Storage: p.Storage, Holds: boundedList(p.Holds), Reported: p.Report != nil,
	}
	if !p.Waits.Free() {
		preview.Waits, preview.Use = bounded(p.Waits.String()), string(p.Waits.Code)
	}
	if p.Report != nil {
		preview.FixesWaiting = uint32(len(p.Report.FixesWaiting()))
	}
	if p.Err != nil {
		preview.Error, preview.Code = text(p.Err), code(p.Err)
	}
	if p.Undone != nil {
		preview.Undone = undone(p.Update, *p.Undone)
	}
	if err := stream.Send(&api.PreviewResponse{Part: &api.PreviewResponse_Preview{Preview: preview}}); err != nil {
		return err
	}
	if p.Report == nil {
		return nil
	}
	return sendDocument(stream, func(data []byte) *api.PreviewResponse {
		return &api.PreviewResponse{Part: &api.PreviewResponse_Report{Report: data}}
	}, p.Report.Encode)
}
