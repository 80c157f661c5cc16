// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/binding"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/control"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
)

// chainID returns the chain ID of a layer with a name.
func chainID(name string) string { return digest.FromString(name).String() }

// images is a containerd that knows some images. Its containers ask for nothing.
type images map[string]string

func (images) Claim(context.Context, string, string) (binding.Claim, error) {
	return binding.Claim{}, nil
}

func (images) HomeOn(context.Context, string, string, string, string) (*binding.Home, error) {
	return nil, errdefs.ErrNotFound
}
func (images) Announcements(context.Context, string, string) (map[string]string, error) {
	return nil, nil
}
func (images) Rehome(context.Context, string, string, json.RawMessage) error { return nil }

func (images) MarkHeld(context.Context, string, string, string) error { return nil }

func (images) Held(context.Context) (map[keys.Key]string, error) {
	return map[keys.Key]string{}, nil
}

func (images) Visible(context.Context) (bool, error) { return true, nil }

// host is a containerd all of whose containers run, or none.
type host struct {
	images
	running atomic.Bool
}

func (h *host) Running(context.Context, string, string) (bool, error) { return h.running.Load(), nil }

func (i images) Layer(_ context.Context, namespace, image string) (string, error) {
	if key, ok := i[namespace+"/"+image]; ok {
		return key, nil
	}
	return "", fmt.Errorf("image %q: %w", image, errdefs.ErrNotFound)
}

func (i images) Topmost(ctx context.Context, namespace, image string) (string, error) {
	return i.Layer(ctx, namespace, image)
}

func (images) Images(context.Context) (map[string][]string, error) {
	return map[string][]string{"default/" + chainID("one"): {"app:1"}, "default/" + chainID("three"): {"app:3"}}, nil
}

func (images) Snapshots(context.Context) ([]keys.Key, error) { return nil, nil }

func (images) Elsewhere(context.Context, func(snapshotter.Elsewhere) error) error { return nil }

// world is a control API on a socket, and the snapshotter behind it with some storages.
type world struct {
	api.ControlClient
	t    *testing.T
	host *host
	s    *snapshotter.Snapshotter
	root string
	one  string // keys of two bases
	two  string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("MOLT_TEST_STRICT") != "" {
			t.Fatal("mounting overlays needs root")
		}
		t.Skip("mounting overlays needs root")
	}
	w := &world{t: t, root: filepath.Join(t.TempDir(), "root")}
	w.open()
	w.one = w.layer("default/1/"+chainID("one"), "", "version", "1")
	w.two = w.layer("default/2/"+chainID("two"), w.one, "version", "2")
	for key, storage := range map[string]string{"default/3/c-web": "web", "k8s.io/4/c-db": "db", "other/5/c-web": "web", "default/6/plain": ""} {
		w.container(key, storage)
	}
	return w
}

func (w *world) open() {
	w.t.Helper()
	w.host = &host{images: images{"default/app:1": chainID("one"), "default/app:2": chainID("two"), "default/lost": chainID("none")}}
	s, err := snapshotter.New(w.root, snapshotter.WithHost(w.host), snapshotter.WithGrace(0))
	w.must(err)
	w.s = s
	w.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			w.t.Error(err)
		}
	})
	w.ControlClient = serve(w.t, func(server *grpc.Server) {
		control.Register(server, s, "v1", w.root, control.WithContainers(clients{}))
	})
}

// largest is the size of the largest message that a client got, in bytes.
type largest struct {
	stats.Handler
	size atomic.Int64
}

func (*largest) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (*largest) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (*largest) HandleConn(context.Context, stats.ConnStats)                       {}

func (l *largest) HandleRPC(_ context.Context, s stats.RPCStats) {
	if in, ok := s.(*stats.InPayload); ok {
		l.size.Store(max(l.size.Load(), int64(in.Length)))
	}
}

// maxPart is the size that control.proto promises of a part, in bytes.
const maxPart = 2 << 20

// serve serves the control API on a socket until the test ends, and checks that no message was larger than promised.
func serve(t *testing.T, register func(*grpc.Server)) api.ControlClient {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.WaitForHandlers(true))
	register(server)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	seen := &largest{}
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithStatsHandler(seen))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Stop()
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
		if seen.size.Load() > maxPart {
			t.Errorf("a message has %d bytes", seen.size.Load())
		}
	})
	return api.NewControlClient(conn)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// upper returns where what is written under a key goes.
func upper(mounts []mount.Mount) string {
	for _, option := range mounts[0].Options {
		if dir, ok := strings.CutPrefix(option, "upperdir="); ok {
			return dir
		}
	}
	return mounts[0].Source
}

func (w *world) layer(key, parent, file, content string) string {
	w.t.Helper()
	mounts, err := w.s.Prepare(w.t.Context(), "extract-"+key, parent)
	w.must(err)
	w.must(os.WriteFile(filepath.Join(upper(mounts), file), []byte(content), 0o600))
	w.must(w.s.Commit(w.t.Context(), key, "extract-"+key))
	return key
}

// container prepares a key on the first base, in which a file of its own is written.
func (w *world) container(key, storage string) {
	w.t.Helper()
	var opts []snapshots.Opt
	if storage != "" {
		opts = append(opts, snapshots.WithLabels(map[string]string{snapshotter.LabelStorage: storage}))
	}
	mounts, err := w.s.Prepare(w.t.Context(), key, w.one, opts...)
	w.must(err)
	w.must(os.WriteFile(filepath.Join(upper(mounts), "own"), []byte(key), 0o600))
}

// update updates storages to the second base and waits until that is done.
func (w *world) update(storages ...string) *api.Update {
	w.t.Helper()
	r, err := w.CreateUpdate(w.t.Context(), &api.CreateUpdateRequest{Namespace: "default", From: "app:1", To: "app:2", Storages: storages})
	w.must(err)
	return w.done(r.GetId())
}

// done waits until an update is done.
func (w *world) done(id uint64) *api.Update {
	w.t.Helper()
	stream, err := w.WatchUpdate(w.t.Context(), &api.GetUpdateRequest{Id: id})
	w.must(api.Each(stream, err, func(*api.GetUpdateResponse) error { return nil }))
	r, err := api.Whole(w.GetUpdate(w.t.Context(), &api.GetUpdateRequest{Id: id}))
	w.must(err)
	return r.GetUpdate()
}

// expectCode checks the code of an error, and what it says.
func expectCode(t *testing.T, err error, code codes.Code, says ...string) {
	t.Helper()
	if got := status.Code(err); got != code {
		t.Errorf("got %v, want one with code %v", err, code)
	}
	for _, s := range says {
		if err != nil && !strings.Contains(err.Error(), s) {
			t.Errorf("%q does not say %q", err, s)
		}
	}
}

// TestNames: a storage is found by its full name or by whole parts of it that are unique, one without a name by its container.
func TestNames(t *testing.T) {
	w := newWorld(t)
	for given, want := range map[string]string{
		"default/web": "default/web", "other/web": "other/web", "k8s.io/db": "k8s.io/db", "db": "k8s.io/db",
		"plain": "~default/6/plain", "~default/6/plain": "~default/6/plain", "6/plain": "~default/6/plain",
	} {
		r, err := api.Whole(w.GetStorage(t.Context(), &api.GetStorageRequest{Name: given}))
		if err != nil || r.GetStorage().GetName() != want {
			t.Errorf("%q is found to be %q, %v", given, r.GetStorage().GetName(), err)
		}
	}
	for given, code := range map[string]codes.Code{
		"": codes.InvalidArgument, "web": codes.InvalidArgument, "nothing": codes.NotFound, "eb": codes.NotFound, "/web": codes.NotFound,
		"../web": codes.NotFound, "default/web/": codes.NotFound,
	} {
		_, err := api.Whole(w.GetStorage(t.Context(), &api.GetStorageRequest{Name: given}))
		expectCode(t, err, code)
	}
	_, err := api.Whole(w.GetStorage(t.Context(), &api.GetStorageRequest{Name: "web"}))
	expectCode(t, err, codes.InvalidArgument, "default/web", "other/web")
	_, err = api.Whole(w.GetStorage(t.Context(), &api.GetStorageRequest{Name: "eb"}))
	expectCode(t, err, codes.NotFound, "whole parts", "default/web, other/web")
	_, err = w.CreateUpdate(t.Context(), &api.CreateUpdateRequest{To: "n1", Storages: []string{"none", "web", "db", "nil"}})
	for _, says := range []string{"none", "nil", "other/web"} {
		expectCode(t, err, status.Code(err), says)
	}
}

// TestRemoveInFull: what is to be deleted has to be named in full. Once it is gone, the same part of a name is another's.
func TestRemoveInFull(t *testing.T) {
	w := newWorld(t)
	_, err := w.RemoveStorage(t.Context(), &api.RemoveStorageRequest{Name: "k8s.io/db"})
	expectCode(t, err, codes.FailedPrecondition, "c-db")
	w.must(w.s.Remove(t.Context(), "k8s.io/4/c-db"))
	w.must(w.s.Remove(t.Context(), "default/3/c-web"))
	_, err = w.RemoveStorage(t.Context(), &api.RemoveStorageRequest{Name: "db"})
	expectCode(t, err, codes.NotFound, "db")
	_, err = w.RemoveStorage(t.Context(), &api.RemoveStorageRequest{Name: "k8s.io/db"})
	w.must(err)
	_, err = w.RemoveStorage(t.Context(), &api.RemoveStorageRequest{Name: "k8s.io/db"})
	expectCode(t, err, codes.NotFound)
}

// TestLayers: a layer is named by its id, or by an image of which it is the topmost one.
func TestLayers(t *testing.T) {
	w := newWorld(t)
	var ids [2]dag.NodeID
	var open dag.NodeID
	w.s.State().Graph(func(g *dag.Graph) {
		for i, key := range []string{w.one, w.two} {
			n, _ := g.Name(key)
			ids[i] = n.Node
		}
		st, _ := g.Storage("default/web")
		open = st.Head
	})
	preview := func(from, to string) error {
		_, err := api.Whole(w.PreviewUpdate(t.Context(), &api.CreateUpdateRequest{Namespace: "default", From: from, To: to}))
		return err
	}
	w.must(preview(ids[0].String(), ids[1].String()))
	w.must(preview("app:1", ids[1].String()))
	expectCode(t, preview("app:1", ""), codes.InvalidArgument, "new base")
	expectCode(t, preview("app:1", "app:1"), codes.InvalidArgument, "same base")
	expectCode(t, preview("app:1", "n99"), codes.NotFound, "new base", "n99")
	expectCode(t, preview("nothing", "app:2"), codes.NotFound, "old base", "nothing")
	expectCode(t, preview("app:1", "lost"), codes.NotFound, "configured name")
	expectCode(t, preview("app:1", open.String()), codes.NotFound, open.String())
	_, err := api.Whole(w.PreviewUpdate(t.Context(), &api.CreateUpdateRequest{Namespace: "other", From: "app:1", To: "app:2"}))
	expectCode(t, err, codes.NotFound)
	_, err = w.CreateUpdate(t.Context(), &api.CreateUpdateRequest{Namespace: "default", To: "app:2"})
	expectCode(t, err, codes.InvalidArgument, "name the old base")
}

func TestUpdateOverSocket(t *testing.T) {
	w := newWorld(t)
	u := w.update("default/web", "other/web")
	if u.GetState() != api.State_STATE_APPLIED || len(u.GetOutcomes()) != 2 || u.GetFromRef() != "app:1" {
		t.Fatalf("the update is %v", u)
	}
	report, err := api.Whole(w.GetReport(t.Context(), &api.GetReportRequest{Id: u.GetId(), Storage: "default/web"}))
	w.must(err)
	w.must(json.Unmarshal(report.GetReport(), &servicing.Report{}))
	_, err = api.Whole(w.GetReport(t.Context(), &api.GetReportRequest{Id: u.GetId(), Storage: "db"}))
	expectCode(t, err, codes.NotFound, "k8s.io/db")
	_, err = api.Whole(w.GetReport(t.Context(), &api.GetReportRequest{Id: 99, Storage: "default/web"}))
	expectCode(t, err, codes.NotFound, "update u99")
	changed, err := api.Whole(w.DiffPath(t.Context(), &api.DiffPathRequest{Id: u.GetId(), Storage: "default/web", Path: []byte("/../version")}))
	w.must(err)
	diff := &servicing.PathDiff{}
	w.must(json.Unmarshal(changed.GetDiff(), diff))
	if diff.Path != "version" || len(diff.Diffs) != 3 || diff.Diffs[0].Why != "not everybody may read it in the old base" {
		t.Errorf("the diff is %s", changed.GetDiff())
	}
	_, err = api.Whole(w.DiffPath(t.Context(), &api.DiffPathRequest{Id: u.GetId(), Storage: "db", Path: []byte("version")}))
	expectCode(t, err, codes.NotFound, "k8s.io/db")

	// The storage alone; nothing is left to be rolled back then; and one that was not updated.
	r, err := api.Whole(w.RollbackUpdate(t.Context(), &api.RollbackUpdateRequest{Id: u.GetId(), Storages: []string{"default/web"}}))
	w.must(err)
	if len(r.GetFailures()) > 0 || r.GetUpdate().GetOutcomes()[0].GetState() != api.State_STATE_ROLLED_BACK {
		t.Errorf("the rollback came to %v", r)
	}
	for _, storage := range []string{"default/web", "db"} {
		_, err = api.Whole(w.RollbackUpdate(t.Context(), &api.RollbackUpdateRequest{Id: u.GetId(), Storages: []string{storage}}))
		expectCode(t, err, codes.FailedPrecondition, "not applied")
	}
}

// TestRollbackFailures: what one storage does not allow is told, and does not keep the others.
func TestRollbackFailures(t *testing.T) {
	w := newWorld(t)
	u := w.update("default/web", "other/web")
	three := w.layer("default/9/"+chainID("three"), w.two, "version", "3")
	var id dag.NodeID
	w.s.State().Graph(func(g *dag.Graph) { n, _ := g.Name(three); id = n.Node })
	next, err := w.CreateUpdate(t.Context(), &api.CreateUpdateRequest{Storages: []string{"default/web"}, To: id.String()})
	w.must(err)
	w.done(next.GetId())
	r, err := api.Whole(w.RollbackUpdate(t.Context(), &api.RollbackUpdateRequest{Id: u.GetId()}))
	w.must(err)
	if len(r.GetFailures()) != 1 || !strings.Contains(r.GetFailures()[0], "default/web") {
		t.Errorf("the failures are %q", r.GetFailures())
	}
	if got := r.GetFailureCodes(); len(got) != 1 || codes.Code(got[0]) != codes.FailedPrecondition {
		t.Errorf("the codes are %v", got)
	}
	for i, want := range []api.State{api.State_STATE_APPLIED, api.State_STATE_ROLLED_BACK} {
		if got := r.GetUpdate().GetOutcomes()[i]; got.GetState() != want {
			t.Errorf("the outcome is %v, not %s", got, want)
		}
	}
}

// TestRollbackOfSome: the outcomes are those for the storages that were named, and each failure has the code that is true of it.
func TestRollbackOfSome(t *testing.T) {
	w := newWorld(t)
	u := w.update("default/web", "other/web", "k8s.io/db")
	w.must(w.s.Remove(t.Context(), "k8s.io/4/c-db"))
	_, err := w.RemoveStorage(t.Context(), &api.RemoveStorageRequest{Name: "k8s.io/db"})
	w.must(err)
	preview, err := w.PreviewRollback(t.Context(), &api.RollbackUpdateRequest{Id: u.GetId()})
	seen := map[string]codes.Code{}
	w.must(api.Each(preview, err, func(part *api.PreviewResponse) error {
		seen[part.GetPreview().GetStorage()] = codes.Code(part.GetPreview().GetCode())
		return nil
	}))
	if len(seen) != 3 || seen["k8s.io/db"] != codes.OK || seen["default/web"] != codes.OK {
		t.Errorf("the rollback would come to %v", seen)
	}
	r, err := api.Whole(w.RollbackUpdate(t.Context(), &api.RollbackUpdateRequest{Id: u.GetId(), Storages: []string{"default/web"}}))
	w.must(err)
	if got := r.GetUpdate().GetOutcomes(); len(got) != 1 || got[0].GetStorage() != "default/web" || got[0].GetState() != api.State_STATE_ROLLED_BACK {
		t.Errorf("the outcomes are %v", got)
	}
	r, err = api.Whole(w.RollbackUpdate(t.Context(), &api.RollbackUpdateRequest{Id: u.GetId()}))
	w.must(err)
	// A storage that was removed since is no failure, unless somebody names it.
	if got := r.GetFailureCodes(); len(got) != 0 || len(r.GetFailures()) != 0 {
		t.Errorf("the failures are %v, %v", r.GetFailures(), got)
	}
	_, err = api.Whole(w.RollbackUpdate(t.Context(), &api.RollbackUpdateRequest{Id: u.GetId(), Storages: []string{"k8s.io/db"}}))
	expectCode(t, err, codes.NotFound)
}

func TestCodes(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	for name, c := range map[string]struct {
		call func() error
		code codes.Code
	}{
		"an update that is not there": {func() error { _, err := api.Whole(w.GetUpdate(ctx, &api.GetUpdateRequest{Id: 99})); return err }, codes.NotFound},
		"its report": {func() error {
			_, err := api.Whole(w.GetReport(ctx, &api.GetReportRequest{Id: 99, Storage: "db"}))
			return err
		}, codes.NotFound},
		"its rollback": {func() error {
			_, err := api.Whole(w.RollbackUpdate(ctx, &api.RollbackUpdateRequest{Id: 99}))
			return err
		}, codes.NotFound},
		"the preview of that": {func() error {
			_, err := api.Whole(w.PreviewRollback(ctx, &api.RollbackUpdateRequest{Id: 99}))
			return err
		}, codes.NotFound},
		"fork of nothing": {func() error {
			_, err := w.ForkStorage(ctx, &api.ForkStorageRequest{Source: "none", Target: "default/x"})
			return err
		}, codes.NotFound},
		"fork of one without a name": {func() error {
			_, err := w.ForkStorage(ctx, &api.ForkStorageRequest{Source: "plain", Target: "default/x"})
			return err
		}, codes.FailedPrecondition},
		"fork into one that is there": {func() error {
			_, err := w.ForkStorage(ctx, &api.ForkStorageRequest{Source: "default/web", Target: "default/web"})
			return err
		}, codes.AlreadyExists},
		"fork into no name": {func() error {
			_, err := w.ForkStorage(ctx, &api.ForkStorageRequest{Source: "db", Target: ""})
			return err
		}, codes.InvalidArgument},
		"fork into a bad name": {func() error {
			_, err := w.ForkStorage(ctx, &api.ForkStorageRequest{Source: "db", Target: "default/../x"})
			return err
		}, codes.InvalidArgument},
		"fork into no full name": {func() error {
			_, err := w.ForkStorage(ctx, &api.ForkStorageRequest{Source: "db", Target: "x"})
			return err
		}, codes.InvalidArgument},
		"fork into an anonymous name": {func() error {
			_, err := w.ForkStorage(ctx, &api.ForkStorageRequest{Source: "db", Target: "default/~x"})
			return err
		}, codes.InvalidArgument},
		"diff of nothing":  {func() error { _, err := w.diff("none"); return err }, codes.NotFound},
		"watching nothing": {func() error { return w.watch(99) }, codes.NotFound},
		"removing one without a name": {func() error {
			_, err := w.RemoveStorage(ctx, &api.RemoveStorageRequest{Name: "~default/6/plain"})
			return err
		}, codes.FailedPrecondition},
		"removing no name": {func() error { _, err := w.RemoveStorage(ctx, &api.RemoveStorageRequest{}); return err }, codes.NotFound},
		"updating one from another base": {func() error {
			_, err := w.CreateUpdate(ctx, &api.CreateUpdateRequest{Namespace: "default", From: "app:2", To: "app:1", Storages: []string{"db"}})
			return err
		}, codes.FailedPrecondition},
		"merging, when there is no layer": {func() error { _, err := api.Whole(w.MergeLayers(ctx, &api.MergeLayersRequest{})); return err }, codes.OK},
	} {
		t.Run(name, func(t *testing.T) { expectCode(t, c.call(), c.code) })
	}
}

func (w *world) watch(id uint64) error {
	stream, err := w.WatchUpdate(w.t.Context(), &api.GetUpdateRequest{Id: id})
	if err == nil {
		_, err = stream.Recv()
	}
	return err
}

// diff returns what a storage says, as "kind path node".
func (w *world) diff(storage string) (lines []string, err error) {
	stream, err := w.DiffStorage(w.t.Context(), &api.DiffStorageRequest{Name: storage})
	w.must(err)
	for {
		d, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return nil, err
		}
		lines = append(lines, fmt.Sprintf("%s %s %d", d.GetKind(), d.GetPath(), d.GetNode()))
	}
}

// TestDiffAndInspect: each path comes from the node that says it, across updates too.
func TestDiffAndInspect(t *testing.T) {
	w := newWorld(t)
	w.update("default/web")
	r, err := api.Whole(w.GetStorage(t.Context(), &api.GetStorageRequest{Name: "default/web"}))
	w.must(err)
	stack := r.GetStorage().GetStack()
	lines, err := w.diff("default/web")
	w.must(err)
	if want := fmt.Sprintf("file own %d", stack[len(stack)-1]); !slices.Contains(lines, want) {
		t.Errorf("the storage says %q, which lacks %q", lines, want)
	}
	if len(r.GetStorage().GetPoints()) != 1 || len(r.GetUpdates()) != 1 || len(r.GetNodes()) != len(stack)+2 {
		t.Errorf("the storage is %v", r)
	}
	all, err := api.Whole(w.Graph(t.Context(), &api.GraphRequest{}))
	w.must(err)
	if len(all.GetStorages()) != 4 || len(all.GetUpdates()) != 1 {
		t.Errorf("the graph is %v", all)
	}
	named, err := api.Whole(w.ListStorages(t.Context(), &api.ListStoragesRequest{}))
	w.must(err)
	if len(named.GetStorages()) != 3 {
		t.Errorf("the storages with a name are %v", named)
	}
}

// TestInspectDamaged: just when a node is lost, people want to see the storage that needs it.
func TestInspectDamaged(t *testing.T) {
	w := newWorld(t)
	r, err := api.Whole(w.GetStorage(t.Context(), &api.GetStorageRequest{Name: "db"}))
	w.must(err)
	w.must(os.RemoveAll(filepath.Join(w.root, "n", fmt.Sprint(r.GetStorage().GetHead()))))
	r, err = api.Whole(w.GetStorage(t.Context(), &api.GetStorageRequest{Name: "db"}))
	w.must(err)
	if len(r.GetNodes()) != 2 {
		t.Errorf("the nodes are %v", r.GetNodes())
	}
}

func TestVersion(t *testing.T) {
	w := newWorld(t)
	r, err := w.Version(t.Context(), &api.VersionRequest{})
	w.must(err)
	if r.GetVersion() != "v1" || r.GetRoot() != w.root {
		t.Errorf("got %v", r)
	}
}
