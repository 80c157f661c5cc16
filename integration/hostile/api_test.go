// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/containerd/containerd/v2/core/snapshots"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/molt-snapshotter/molt-snapshotter/integration/inprocess"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/control"
)

// served is a snapshotter with its control API.
type served struct {
	api.ControlClient
	s    *snapshotter.Snapshotter
	root string
}

func newServed(t *testing.T) *served {
	t.Helper()
	w := &served{root: filepath.Join(tmpfs(t), "root")}
	var err error
	w.s, err = snapshotter.New(w.root, snapshotter.WithGrace(0))
	check(t, err)
	dir := t.TempDir()
	listener, err := net.Listen("unix", dir+"/s")
	check(t, err)
	server := grpc.NewServer()
	control.Register(server, w.s, "v1", w.root)
	go func() { _ = server.Serve(listener) }() // ends with the test
	conn, err := grpc.NewClient("unix:"+dir+"/s", grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(t, err)
	w.ControlClient = api.NewControlClient(conn)
	t.Cleanup(func() {
		server.Stop()
		check(t, conn.Close())
		check(t, w.s.Close())
	})
	return w
}

// prepare makes a key and returns where what is written under it goes.
func (w *served) prepare(t *testing.T, key, parent, storage string) string {
	t.Helper()
	mounts, err := w.s.Prepare(t.Context(), key, parent, snapshots.WithLabels(map[string]string{snapshotter.LabelStorage: storage}))
	check(t, err)
	return inprocess.Upper(mounts)
}

// TestAPINames gives names to the snapshots service that would be others, or paths, or take much place.
func TestAPINames(t *testing.T) {
	c := newCanary(t)
	w := newServed(t)
	var names []string
	for _, name := range append(oddNames(c), strings.Repeat("k", 1<<20)) {
		names = append(names, name, "default/1/"+name, name+"/2/x", "default/99999999999999999999/"+name)
	}
	for _, name := range names {
		if mounts, err := w.s.Prepare(t.Context(), name, ""); err == nil && !strings.HasPrefix(inprocess.Upper(mounts), w.root+"/") {
			t.Errorf("Prepare(%.60q): %v", name, mounts)
		}
		_, _ = w.s.Prepare(t.Context(), "p"+name, name)
		_, _ = w.s.View(t.Context(), "v"+name, name)
		_, _ = w.s.Stat(t.Context(), name)
		_, _ = w.s.Usage(t.Context(), name)
		_ = w.s.Commit(t.Context(), "c"+name, name)
		for _, key := range []string{name, "v" + name, "p" + name} {
			_ = w.s.Remove(t.Context(), key)
		}
	}
	c.unharmed()
	inside(t, w.root)
}

// TestAPIStorages gives names and labels of storages that would be paths.
func TestAPIStorages(t *testing.T) {
	c := newCanary(t)
	w := newServed(t)
	w.prepare(t, "default/1/ok", "", "ok")
	for i, name := range append(oddNames(c), "~1", "a/../b", "/a", strings.Repeat("a/", 5000)) {
		key := fmt.Sprintf("default/%d/k", i+2)
		_, err := w.s.Prepare(t.Context(), key, "", snapshots.WithLabels(map[string]string{snapshotter.LabelStorage: name}))
		if name == "a.molt-new" {
			continue // a name like any other here
		}
		if err == nil && name != "" {
			t.Errorf("a storage %.60q was made", name)
		}
		if utf8.ValidString(name) { // gRPC carries no other text
			_, err = w.ForkStorage(t.Context(), &api.ForkStorageRequest{Source: "ok", Target: name})
			refusedBy(t, "ForkStorage", name, err)
			_, err = api.Whole(w.GetStorage(t.Context(), &api.GetStorageRequest{Name: name}))
			refusedBy(t, "GetStorage", name, err)
			_, err = w.RemoveStorage(t.Context(), &api.RemoveStorageRequest{Name: name})
			refusedBy(t, "RemoveStorage", name, err)
		}
	}
	for _, id := range []uint64{0, 1, 1<<63 - 1, 1 << 63, 1<<64 - 1} {
		_, err := api.Whole(w.GetUpdate(t.Context(), &api.GetUpdateRequest{Id: id}))
		refusedBy(t, "GetUpdate", fmt.Sprint(id), err)
	}
	c.unharmed()
	inside(t, w.root)
}

// refusedBy checks that a call failed, and as the caller's doing.
func refusedBy(t *testing.T, call, name string, err error) {
	t.Helper()
	switch status.Code(err) {
	case codes.NotFound, codes.InvalidArgument, codes.FailedPrecondition:
	default:
		t.Errorf("%s of %.60q: %v", call, name, err)
	}
}

// TestAPIExplain asks about paths outside of a storage, and about those that lead there.
func TestAPIExplain(t *testing.T) {
	c := newCanary(t)
	w := newServed(t)
	dir := w.prepare(t, "default/1/ok", "", "ok")
	link(t, c.dir, dir+"/l")
	link(t, c.dir+"/etc/shadow", dir+"/f")
	put(t, dir, "etc/shadow", secret, 0o600)
	c.seen()
	for _, name := range append(oddNames(c), "l", "l/file", "l/etc/shadow", "f", "etc/shadow", "/etc/shadow", "l/../etc/shadow") {
		e, err := w.s.Inspector().Explain(t.Context(), "default/ok", name)
		hides(t, "the explanation of "+name, fmt.Append(nil, err))
		if e != nil && strings.HasPrefix(name, "l/") {
			hides(t, "the explanation of "+name, fmt.Appendf(nil, "%+v", e))
		}
		if e != nil && strings.Contains(fmt.Sprintf("%+v", e), "do-not-read") {
			t.Errorf("the explanation of %q shows a content", name)
		}
	}
	c.unharmed()
}

// inside checks that nobody but root gets into the directories of a snapshotter, and that no file there is for others.
func inside(t *testing.T, root string) {
	t.Helper()
	info, err := os.Stat(root)
	check(t, err)
	if info.Mode().Perm()&0o077 != 0 {
		t.Errorf("%s has mode %v", root, info.Mode())
	}
	check(t, filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil || rel == "n" || strings.HasPrefix(rel, "n/") && strings.Contains(rel, "/fs") {
			return err // what containers see has their modes; the root keeps others out
		}
		info, err := d.Info()
		if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		return err
	}))
}
