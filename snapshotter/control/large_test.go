// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"google.golang.org/protobuf/proto"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// gRPC clients take no larger message by default, in bytes.
const defaultLimit = 4 << 20

// TestLargeReport: a report of 20000 paths, one of them with a megabyte of its own, comes as a whole, and one path of it costs one
// path.
func TestLargeReport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.update("default/web")
	files, err := filepath.Glob(filepath.Join(w.root, "reports", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the reports are %q, %v", files, err)
	}
	content := func(letter string) servicing.Content {
		return servicing.Content("sha256:" + strings.Repeat(letter, 64))
	}
	r := &servicing.Report{Version: 1, Counts: map[servicing.Verdict]int{servicing.Keep: 20001}}
	for i := range 20000 {
		r.Paths = append(r.Paths, servicing.PathReport{
			Path: fmt.Sprintf("usr/share/f%05d", i), Verdict: servicing.Keep, Rule: "user", Reason: "because",
			Old: content("a"), New: content("b"), User: content("c"),
		})
	}
	long := strings.Repeat(strings.Repeat("x", 255)+"/", 4095) + "x"
	r.Paths = append(r.Paths, servicing.PathReport{Path: long, Verdict: servicing.Keep, Reason: strings.Repeat("y", 5<<20)})
	data, err := json.Marshal(r)
	w.must(err)
	w.must(os.WriteFile(files[0], data, 0o600))

	got, size := &servicing.Report{}, 0
	stream, err := w.GetReport(t.Context(), &api.GetReportRequest{Id: u.GetId(), Storage: "default/web"})
	w.must(err)
	all, err := io.ReadAll(api.Reader(stream, (*api.GetReportResponse).GetReport))
	w.must(err)
	w.must(json.Unmarshal(all, got))
	if len(got.Paths) != len(r.Paths) || got.Paths[20000].Path != long || len(all) < defaultLimit {
		t.Errorf("it came with %d paths, %d bytes", len(got.Paths), len(all))
	}
	for _, path := range []string{"/usr/share/f10000"} {
		stream, err := w.GetReport(t.Context(), &api.GetReportRequest{Id: u.GetId(), Storage: "default/web", Path: []byte(path)})
		w.must(api.Each(stream, err, func(part *api.GetReportResponse) error {
			size = len(part.GetReport())
			*got = servicing.Report{}
			return json.Unmarshal(part.GetReport(), got)
		}))
		if len(got.Paths) != 1 || "/"+got.Paths[0].Path != "/"+strings.TrimPrefix(path, "/") || size > 1000 {
			t.Errorf("on %s it says %v in %d bytes", path, got.Paths, size)
		}
	}
}

// TestLargeDryRun: a dry run over storages whose reports have together more than gRPC clients take in a message.
func TestLargeDryRun(t *testing.T) {
	t.Parallel()
	const storages, files = 5, 140
	w := newWorld(t)
	dirs := strings.Repeat(strings.Repeat("d", 255)+"/", 12)
	put := func(root, content string) {
		w.must(os.MkdirAll(filepath.Join(root, dirs), 0o755))
		for i := range files {
			w.must(os.WriteFile(filepath.Join(root, dirs, fmt.Sprint(i)), []byte(content), 0o600))
		}
	}
	layer := func(key, parent, content string) string {
		mounts, err := w.s.Prepare(t.Context(), "extract-"+key, parent)
		w.must(err)
		put(upper(mounts), content)
		w.must(w.s.Commit(t.Context(), key, "extract-"+key))
		return key
	}
	old := layer("default/31/sha256:old", "", "old")
	next := layer("default/32/sha256:next", old, "next")
	for i := range storages {
		label := snapshots.WithLabels(map[string]string{snapshotter.LabelStorage: fmt.Sprint("many", i)})
		mounts, err := w.s.Prepare(t.Context(), fmt.Sprintf("default/4%d/c", i), old, label)
		w.must(err)
		put(upper(mounts), "mine")
	}
	paths, size, storage := map[string]int{}, 0, ""
	reports := map[string][]byte{}
	stream, err := w.PreviewUpdate(t.Context(), &api.CreateUpdateRequest{From: w.node(old), To: w.node(next)})
	w.must(api.Each(stream, err, func(part *api.PreviewResponse) error {
		if p := part.GetPreview(); p != nil {
			storage = p.GetStorage()
			if p.GetError() != "" || !p.GetReported() {
				t.Errorf("it comes to %v", p)
			}
		}
		reports[storage] = append(reports[storage], part.GetReport()...)
		size += len(part.GetReport())
		return nil
	}))
	for storage, data := range reports {
		r := &servicing.Report{}
		w.must(json.Unmarshal(data, r))
		paths[storage] = len(r.Paths)
	}
	if len(paths) != storages || paths["default/many3"] < files || size < defaultLimit {
		t.Errorf("it came with %v, %d bytes", paths, size)
	}
}

// node returns the id of a layer.
func (w *world) node(key string) string {
	w.t.Helper()
	all, err := api.Whole(w.Graph(w.t.Context(), &api.GraphRequest{}))
	w.must(err)
	for _, n := range all.GetNames() {
		if n.GetKey() == key {
			return fmt.Sprintf("n%d", n.GetNode())
		}
	}
	w.t.Fatalf("there is no layer %s", key)
	return ""
}

// TestLargeGraph: storages that have together more than gRPC clients take in a message, and an update that comes in parts.
func TestLargeGraph(t *testing.T) {
	t.Parallel()
	const count, updated = 75, 10
	w := newWorld(t)
	base, next := w.layer("many/1/sha256:base", "", "version", "1"), w.layer("many/2/sha256:next", "", "version", "2")
	w.host.running.Store(true) // so that the update waits for all of them
	for i := range count {
		// A container without a storage names what it has: its key is in it two times.
		_, err := w.s.Prepare(t.Context(), fmt.Sprintf("many/%d/%s", 100+i, strings.Repeat("k", 30<<10)), base)
		w.must(err)
	}
	// Each outcome is recorded with the whole update: a few are enough for several parts.
	var few []string
	w.s.State().Graph(func(g *dag.Graph) {
		for _, st := range g.Storages() {
			if strings.HasPrefix(st.Name, "~many/") && len(few) < updated {
				few = append(few, st.Name)
			}
		}
	})
	u, err := w.CreateUpdate(t.Context(), &api.CreateUpdateRequest{From: w.node(base), To: w.node(next), Storages: few})
	w.must(err)
	one := w.done(u.GetId())
	if n := len(one.GetOutcomes()); n != updated || one.GetState() != api.State_STATE_PLANNED {
		t.Errorf("the update is %s with %d outcomes", one.GetState(), n)
	}
	parts := 0
	stream, err := w.ListUpdates(t.Context(), &api.ListUpdatesRequest{})
	w.must(api.Each(stream, err, func(*api.ListUpdatesResponse) error { parts++; return nil }))
	if parts < 2 {
		t.Errorf("the update came in %d parts", parts)
	}
	storages, err := api.Whole(w.ListStorages(t.Context(), &api.ListStoragesRequest{Anonymous: true}))
	w.must(err)
	updates, err := api.Whole(w.ListUpdates(t.Context(), &api.ListUpdatesRequest{}))
	w.must(err)
	if len(storages.GetStorages()) != count+4 || len(updates.GetUpdates()) != 1 || len(updates.GetUpdates()[0].GetOutcomes()) != updated {
		t.Errorf("listed are %d storages, %d updates", len(storages.GetStorages()), len(updates.GetUpdates()))
	}
	all, err := api.Whole(w.Graph(t.Context(), &api.GraphRequest{}))
	w.must(err)
	if len(all.GetStorages()) != count+4 || len(all.GetUpdates()) != 1 || len(all.GetUpdates()[0].GetOutcomes()) != updated {
		t.Errorf("the graph has %d storages, %d updates", len(all.GetStorages()), len(all.GetUpdates()))
	}
	for what, m := range map[string]int{"the storages": proto.Size(storages), "the graph": proto.Size(all)} {
		if m < defaultLimit {
			t.Errorf("%s have %d bytes", what, m)
		}
	}
	inspected, err := api.Whole(w.GetStorage(t.Context(), &api.GetStorageRequest{Name: "default/web"}))
	w.must(err)
	if len(inspected.GetUpdates()) != 0 {
		t.Errorf("the storage is %v", inspected)
	}
}
