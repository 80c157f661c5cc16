// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC // in which the expected times are written
	os.Exit(m.Run())
}

// fakeDaemon answers with what it is told to, or with an error.
type fakeDaemon struct {
	api.UnimplementedControlServer
	err      error
	graph    *api.GraphResponse
	update   *api.Update
	watched  []*api.Update
	preview  []preview
	report   []byte
	reports  map[string][]byte // by storage, in the place of report
	failures []string
	codes    []uint32
	fates    []*api.Undone
	diff     []*api.DiffStorageResponse
	beside   []*api.ListBesideResponse
	pathDiff []byte
	merged   []*api.MergeLayersResponse_Pair
	kept     []*api.MergeLayersResponse_Kept
	problems []*api.Problem
	document []byte // of an explanation, an or options
	asked    []proto.Message
}

// onPath returns what a report says about a path.
func onPath(report []byte, path string) []byte {
	all := map[string]json.RawMessage{}
	var paths, found []json.RawMessage
	if json.Unmarshal(report, &all) != nil || json.Unmarshal(all["paths"], &paths) != nil {
		return nil
	}
	for _, p := range paths {
		var one struct{ Path string }
		if json.Unmarshal(p, &one) == nil && one.Path == strings.Trim(path, "/") {
			found = append(found, p)
		}
	}
	all["paths"], _ = json.Marshal(found)
	data, _ := json.Marshal(all)
	return data
}

// preview is what an operation would come to for a storage, with the report.
type preview struct {
	*api.Preview
	report string
}

// send answers a request with what fn sends, or with an error.
func (d *fakeDaemon) send(m proto.Message, fn func() error) error {
	if err := d.note(m); err != nil {
		return err
	}
	return fn()
}

func (d *fakeDaemon) sendPreviews(stream grpc.ServerStreamingServer[api.PreviewResponse]) error {
	for _, p := range d.preview {
		p.Reported = p.report != ""
		if err := stream.Send(&api.PreviewResponse{Part: &api.PreviewResponse_Preview{Preview: p.Preview}}); err != nil {
			return err
		}
		for piece := range slices.Chunk([]byte(p.report), 100) {
			if err := stream.Send(&api.PreviewResponse{Part: &api.PreviewResponse_Report{Report: piece}}); err != nil {
				return err
			}
		}
	}
	return nil
}

// note remembers a request and returns the error that answers it.
func (d *fakeDaemon) note(m proto.Message) error {
	d.asked = append(d.asked, m)
	return errgrpc.ToGRPC(d.err)
}

func (d *fakeDaemon) Version(_ context.Context, r *api.VersionRequest) (*api.VersionResponse, error) {
	return &api.VersionResponse{Version: "v1", Root: "/root"}, d.note(r)
}

func (d *fakeDaemon) Graph(r *api.GraphRequest, stream grpc.ServerStreamingServer[api.GraphResponse]) error {
	return d.send(r, func() error { return stream.Send(d.graph) })
}

func (d *fakeDaemon) ListStorages(r *api.ListStoragesRequest, stream grpc.ServerStreamingServer[api.ListStoragesResponse]) error {
	return d.send(r, func() error {
		list := slices.DeleteFunc(slices.Clone(d.graph.GetStorages()), func(s *api.Storage) bool {
			return !strings.HasPrefix(strings.TrimPrefix(s.GetName(), "~"), r.GetNamespace())
		})
		return stream.Send(&api.ListStoragesResponse{Storages: list})
	})
}

func (d *fakeDaemon) GetStorage(r *api.GetStorageRequest, stream grpc.ServerStreamingServer[api.GetStorageResponse]) error {
	return d.send(r, func() error {
		return stream.Send(&api.GetStorageResponse{
			Storage: d.graph.GetStorages()[0], Nodes: d.graph.GetNodes(), Updates: d.graph.GetUpdates(),
		})
	})
}

func (d *fakeDaemon) DiffStorage(r *api.DiffStorageRequest, stream grpc.ServerStreamingServer[api.DiffStorageResponse]) error {
	for _, c := range d.diff {
		if err := stream.Send(c); err != nil {
			return err
		}
	}
	return d.note(r)
}

func (d *fakeDaemon) ListBeside(r *api.ListBesideRequest, stream grpc.ServerStreamingServer[api.ListBesideResponse]) error {
	for _, v := range d.beside {
		if err := stream.Send(v); err != nil {
			return err
		}
	}
	return d.note(r)
}

func (d *fakeDaemon) ReadBeside(r *api.ReadBesideRequest, stream grpc.ServerStreamingServer[api.ReadBesideResponse]) error {
	return d.send(r, func() error { return stream.Send(&api.ReadBesideResponse{Data: append(r.GetAt(), '\n')}) })
}

func (d *fakeDaemon) DiskUsage(_ context.Context, r *api.DiskUsageRequest) (*api.DiskUsageResponse, error) {
	return &api.DiskUsageResponse{Unmeasured: 1, Rows: []*api.DiskUsageResponse_Row{
		{Kind: "base layers", Count: 4, Size: 5 << 30}, {Kind: "rollback points", Count: 2, Size: 8192, Reclaimable: 8192},
	}}, d.note(r)
}

func (d *fakeDaemon) RemoveStorage(_ context.Context, r *api.RemoveStorageRequest) (*api.RemoveStorageResponse, error) {
	return &api.RemoveStorageResponse{}, d.note(r)
}

func (d *fakeDaemon) ForkStorage(_ context.Context, r *api.ForkStorageRequest) (*api.ForkStorageResponse, error) {
	return &api.ForkStorageResponse{Name: r.GetTarget()}, d.note(r)
}

func (d *fakeDaemon) CreateUpdate(_ context.Context, r *api.CreateUpdateRequest) (*api.CreateUpdateResponse, error) {
	return &api.CreateUpdateResponse{Id: d.update.GetId()}, d.note(r)
}

func (d *fakeDaemon) PreviewUpdate(r *api.CreateUpdateRequest, stream grpc.ServerStreamingServer[api.PreviewResponse]) error {
	return d.send(r, func() error { return d.sendPreviews(stream) })
}

func (d *fakeDaemon) ListUpdates(r *api.ListUpdatesRequest, stream grpc.ServerStreamingServer[api.ListUpdatesResponse]) error {
	return d.send(r, func() error {
		for _, u := range d.graph.GetUpdates() {
			if err := stream.Send(&api.ListUpdatesResponse{Updates: []*api.Update{u}}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (d *fakeDaemon) GetUpdate(r *api.GetUpdateRequest, stream grpc.ServerStreamingServer[api.GetUpdateResponse]) error {
	return d.send(r, func() error { return stream.Send(&api.GetUpdateResponse{Update: d.update}) })
}

func (d *fakeDaemon) WatchUpdate(r *api.GetUpdateRequest, stream grpc.ServerStreamingServer[api.GetUpdateResponse]) error {
	parts := d.watched
	if parts == nil {
		parts = []*api.Update{d.update}
	}
	for _, part := range parts {
		if err := stream.Send(&api.GetUpdateResponse{Update: part}); err != nil {
			return err
		}
	}
	return d.note(r)
}

func (d *fakeDaemon) GetReport(r *api.GetReportRequest, stream grpc.ServerStreamingServer[api.GetReportResponse]) error {
	return d.send(r, func() error {
		report := d.report
		if d.reports != nil {
			report = d.reports[r.GetStorage()]
		}
		if len(r.GetPath()) > 0 {
			report = onPath(d.report, string(r.GetPath()))
		}
		if report == nil {
			return errgrpc.ToGRPC(fmt.Errorf("report: %w", errdefs.ErrNotFound))
		}
		for piece := range slices.Chunk(report, 100) {
			if err := stream.Send(&api.GetReportResponse{Report: piece}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (d *fakeDaemon) DiffPath(r *api.DiffPathRequest, stream grpc.ServerStreamingServer[api.DiffPathResponse]) error {
	return d.send(r, func() error { return stream.Send(&api.DiffPathResponse{Diff: d.pathDiff}) })
}

func (d *fakeDaemon) RollbackUpdate(r *api.RollbackUpdateRequest, stream grpc.ServerStreamingServer[api.RollbackUpdateResponse]) error {
	return d.send(r, func() error {
		return stream.Send(&api.RollbackUpdateResponse{Update: d.update, Failures: d.failures, FailureCodes: d.codes, Undone: d.undone()})
	})
}

func (d *fakeDaemon) CancelUpdate(r *api.CancelUpdateRequest, stream grpc.ServerStreamingServer[api.CancelUpdateResponse]) error {
	return d.send(r, func() error { return stream.Send(&api.CancelUpdateResponse{Undone: d.undone()}) })
}

// undone is what undoing the update of the fake comes to.
func (d *fakeDaemon) undone() []*api.Undone {
	all := slices.Clone(d.fates)
	if all == nil {
		for _, o := range d.update.GetOutcomes() {
			all = append(all, &api.Undone{Storage: o.GetStorage(), Fate: "rolled back"})
		}
	}
	for i, failure := range d.failures {
		code := uint32(codes.Unknown)
		if i < len(d.codes) {
			code = d.codes[i]
		}
		all = append(all, &api.Undone{Storage: "default/left", Fate: "failed", Why: failure, Code: code})
	}
	return all
}

func (d *fakeDaemon) PreviewRollback(r *api.RollbackUpdateRequest, stream grpc.ServerStreamingServer[api.PreviewResponse]) error {
	return d.send(r, func() error { return d.sendPreviews(stream) })
}

func (d *fakeDaemon) ExplainPath(r *api.ExplainPathRequest, stream grpc.ServerStreamingServer[api.ExplainPathResponse]) error {
	return d.send(r, func() error { return stream.Send(&api.ExplainPathResponse{Explanation: d.document}) })
}

func (d *fakeDaemon) AuditStorage(r *api.AuditStorageRequest, stream grpc.ServerStreamingServer[api.AuditStorageResponse]) error {
	return d.send(r, func() error { return stream.Send(&api.AuditStorageResponse{Audit: d.document}) })
}

func (d *fakeDaemon) ConfigureStorage(r *api.ConfigureStorageRequest, stream grpc.ServerStreamingServer[api.ConfigureStorageResponse]) error {
	return d.send(r, func() error { return stream.Send(&api.ConfigureStorageResponse{Options: d.document}) })
}

func (d *fakeDaemon) MergeLayers(r *api.MergeLayersRequest, stream grpc.ServerStreamingServer[api.MergeLayersResponse]) error {
	return d.send(r, func() error { return stream.Send(&api.MergeLayersResponse{Merged: d.merged, Kept: d.kept}) })
}

// serve serves the fake on a socket and returns where.
func (d *fakeDaemon) serve(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	api.RegisterControlServer(server, d)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { server.Stop(); <-done })
	return socket
}

func (d *fakeDaemon) ApplyUpdate(_ context.Context, r *api.ApplyUpdateRequest) (*api.ApplyUpdateResponse, error) {
	d.asked = append(d.asked, r)
	return &api.ApplyUpdateResponse{}, d.err
}

// ctl runs moltctl with the fake as its daemon.
func (d *fakeDaemon) ctl(t *testing.T, args ...string) (out, errOut string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), append([]string{"moltctl", "--address", d.serve(t)}, args...), &o, &e)
	return o.String(), e.String(), code
}

func at(minute int) *timestamppb.Timestamp {
	return timestamppb.New(time.Date(2026, 1, 2, 3, minute, 0, 0, time.UTC))
}

// graph is one with all that there can be: an image of three layers, a delta layer on it, and another image; a storage that
// was updated, one that waits, one that has no name, one on nothing, and one that is just being unpacked.
func graph() *api.GraphResponse {
	return &api.GraphResponse{
		Nodes: []*api.Node{
			{Id: 1, Kind: api.NodeKind_NODE_KIND_LAYER, Frozen: true, Size: 1 << 20, Inodes: 7, Created: at(1)},
			{Id: 2, Kind: api.NodeKind_NODE_KIND_LAYER, Parent: 1, Frozen: true, Size: 2048, Inodes: 2, Created: at(2)},
			{Id: 3, Kind: api.NodeKind_NODE_KIND_LAYER, Parent: 2, Frozen: true, Size: 100, Inodes: 1, Created: at(3), Images: []string{"app:1"}},
			{Id: 4, Kind: api.NodeKind_NODE_KIND_LAYER, Parent: 3, Frozen: true, Added: true, Size: 300, Inodes: 1, Created: at(4)},
			{Id: 5, Kind: api.NodeKind_NODE_KIND_LAYER, Frozen: true, Damage: "its directory is missing", Size: 5 << 30, Inodes: 1, Created: at(5)},
			{Id: 6, Kind: api.NodeKind_NODE_KIND_LAYER, Frozen: true, Size: 1, Inodes: 1, Created: at(5)},
			{Id: 7, Kind: api.NodeKind_NODE_KIND_PERSISTED, Base: 3, Frozen: true, Size: 4096, Inodes: 3, Created: at(6)},
			{Id: 8, Kind: api.NodeKind_NODE_KIND_DELTA, Parent: 7, Base: 4, Frozen: true, Size: 4096, Inodes: 2, Created: at(7)},
			{Id: 9, Kind: api.NodeKind_NODE_KIND_PERSISTED, Parent: 8, Base: 4, Created: at(7)},
			{Id: 10, Kind: api.NodeKind_NODE_KIND_PERSISTED, Base: 3, Created: at(8)},
			{Id: 11, Kind: api.NodeKind_NODE_KIND_PERSISTED, Base: 3, Created: at(8)},
			{Id: 12, Kind: api.NodeKind_NODE_KIND_PERSISTED, Created: at(8)},
			{Id: 13, Kind: api.NodeKind_NODE_KIND_PERSISTED, Base: 5, Created: at(8)},
			{Id: 14, Kind: api.NodeKind_NODE_KIND_PERSISTED, Created: at(8)},
		},
		Names: []*api.Name{
			{Key: "default/1/sha256:0123456789abcdef0123", Kind: api.NameKind_NAME_KIND_COMMITTED, Node: 3},
			{Key: "default/2/web", Kind: api.NameKind_NAME_KIND_ACTIVE, Node: 4, Storage: "default/web"},
		},
		Storages: []*api.Storage{
			{
				Name: "default/web", Head: 9, Base: 4, Key: "default/2/web", Container: "web", Stack: []uint64{9, 8, 7}, Created: at(6),
				Image: "app:2", Called: "shop-web-1", Mounted: true, LastUsed: at(7), Size: 8192, AsksFor: "app:1",
				Points: []*api.Point{{Update: 1, Head: 7, Base: 3, Time: at(7)}}, Aside: []*api.Point{{Update: 1, Head: 7, Base: 4, Time: at(8)}},
			},
			{Name: "default/waits", Head: 10, Base: 3, Key: "default/3/waits", Container: "waits", Pending: &api.Pending{Update: 1}, Stack: []uint64{10}, Created: at(8), Image: "app:1", LastUsed: at(8)},
			{Name: "~default/4/plain", Anonymous: true, Head: 11, Base: 3, Key: "default/4/plain", Container: "plain", Stack: []uint64{11}, Created: at(8)},
			{Name: "k8s.io/team/db/app", Head: 12, Stack: []uint64{12}, Created: at(8)},
			{Name: "default/lost", Head: 13, Base: 5, Stack: []uint64{13}, Created: at(8), Damaged: true, HeldBy: 1},
			{Name: "~default/5/extract-1 x", Anonymous: true, Head: 14, Key: "default/5/extract-1 x", Unpacking: true, Stack: []uint64{14}, Created: at(8)},
		},
		Updates: []*api.Update{{
			Id: 1, From: 3, To: 4, FromRef: "app:1", ToRef: "n4", Cause: api.Cause_CAUSE_COMMAND, State: api.State_STATE_APPLIED, Created: at(7), Updated: at(8),
			Outcomes: []*api.Outcome{
				{Storage: "default/waits", State: api.State_STATE_PLANNED, Reasons: []string{"container waits is running", "and so on"}, Time: at(8)},
				{Storage: "default/web", State: api.State_STATE_APPLIED, Delta: 8, Report: true, Time: at(7)},
			},
		}},
	}
}
