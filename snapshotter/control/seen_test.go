// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/control"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// clients is a containerd whose clients call the containers with the key c-web by other names, and mount something in each.
type clients struct{ control.Containers }

func (clients) Called(context.Context) (map[keys.Key]string, error) {
	return map[keys.Key]string{
		{Namespace: "default", Key: "c-web"}: "shop/web-0/app", {Namespace: "other", Key: "c-web"}: "shop/web-1/app", {Namespace: "k8s.io", Key: "c-db"}: "base",
	}, nil
}

func (clients) MountPoints(context.Context, keys.Key) (state.MountPoints, error) {
	return state.MountPoints{"etc/secret", "opt/mounted/deep"}, nil
}

// TestFoundByTheClientsName: what clients call a container finds its storage where no storage has such a name.
func TestFoundByTheClientsName(t *testing.T) {
	w := newWorld(t)
	for given, want := range map[string]string{
		"web-0": "default/web", "shop/web-1/app": "other/web", "base": "k8s.io/db", "c-db": "k8s.io/db", "app": "", "shop": "", "web": "", "eb-0": "",
	} {
		r, err := api.Whole(w.GetStorage(t.Context(), &api.GetStorageRequest{Name: given}))
		if got := r.GetStorage().GetName(); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", given, got, err, want)
		}
	}
}

// listed returns the storages that a request lists, by name.
func (w *world) listed(r *api.ListStoragesRequest) map[string]*api.Storage {
	w.t.Helper()
	all, err := api.Whole(w.ListStorages(w.t.Context(), r))
	w.must(err)
	found := map[string]*api.Storage{}
	for _, s := range all.GetStorages() {
		found[s.GetName()] = s
	}
	return found
}

// TestStoragesInDetail: a list can be limited to a namespace, and shows what is not in the graph where that is asked for.
func TestStoragesInDetail(t *testing.T) {
	w := newWorld(t)
	w.update("default/web")
	if got := w.listed(&api.ListStoragesRequest{}); len(got) != 3 || got["default/web"].GetImage() != "" || got["default/web"].GetSize() != 0 {
		t.Errorf("without details: %v", got)
	}
	if got := w.listed(&api.ListStoragesRequest{Anonymous: true, Namespace: "default"}); len(got) != 2 || got["~default/6/plain"] == nil {
		t.Errorf("of one namespace: %v", got)
	}
	got := w.listed(&api.ListStoragesRequest{Details: true, Measure: true})
	web, other := got["default/web"], got["other/web"]
	if web.GetImage() != "app:2" || web.GetSize() == 0 || web.GetMounted() || web.GetLastUsed() != nil || web.GetCalled() != "shop/web-0/app" {
		t.Errorf("got %v", web)
	}
	if other.GetNewer() != web.GetBase() || other.GetImage() != "app:1" || other.GetSize() == 0 {
		t.Errorf("got %v", other)
	}
	if small := w.listed(&api.ListStoragesRequest{Details: true})["other/web"].GetSize(); small != 0 {
		t.Errorf("an open node is measured though that is not asked for: %d bytes", small)
	}
	if inspected := w.storageNow("default/web").GetStorage(); inspected.GetImage() != "app:2" || inspected.GetSize() == 0 {
		t.Errorf("inspected: %v", inspected)
	}
}

// TestDiskUsage: layers, storages and rollback points are told apart, and only what nothing needs now can be reclaimed.
func TestDiskUsage(t *testing.T) {
	w := newWorld(t)
	w.update("default/web")
	r, err := w.DiskUsage(t.Context(), &api.DiskUsageRequest{})
	w.must(err)
	rows := map[string]*api.DiskUsageResponse_Row{}
	for _, row := range r.GetRows() {
		rows[row.GetKind()] = row
		if needed := row.GetKind() != "rollback points" && row.GetKind() != "trash"; needed == (row.GetReclaimable() > 0) && row.GetSize() > 0 {
			t.Errorf("reclaimable: %v", row)
		}
	}
	if len(rows) != 5 || rows["base layers"].GetCount()+rows["delta layers"].GetCount() != 2 || rows["storages"].GetSize() == 0 || r.GetUnmeasured() != 0 {
		t.Errorf("got %v", r)
	}
}

// TestDiffAgainstBase: a diff says what was added, changed and deleted, and which paths a runtime made.
func TestDiffAgainstBase(t *testing.T) {
	w := newWorld(t)
	head := filepath.Join(w.root, "n", fmt.Sprint(w.storageNow("other/web").GetStorage().GetHead()), "fs")
	w.must(os.WriteFile(filepath.Join(head, "version"), []byte("mine"), 0o600))
	for _, dir := range []string{"proc", "sys", "mine", "etc", "opt/mounted/deep/own"} {
		w.must(os.MkdirAll(filepath.Join(head, dir), 0o755))
	}
	w.must(os.WriteFile(filepath.Join(head, "etc/secret"), nil, 0o600))
	stream, err := w.DiffStorage(t.Context(), &api.DiffStorageRequest{Name: "other/web"})
	changes, mounted := map[string]string{}, map[string]bool{}
	w.must(api.Each(stream, err, func(d *api.DiffStorageResponse) error {
		changes[string(d.GetPath())], mounted[string(d.GetPath())] = d.GetChange(), d.GetMountPoint()
		return nil
	}))
	for path, want := range map[string]string{"version": "changed", "own": "added", "mine": "added", "proc": "added", ".": "changed"} {
		if changes[path] != want {
			t.Errorf("%s is %s, not %s", path, changes[path], want)
		}
	}
	points := slices.DeleteFunc(slices.Sorted(maps.Keys(mounted)), func(path string) bool { return !mounted[path] })
	if got := strings.Join(points, " "); got != "etc etc/secret opt opt/mounted opt/mounted/deep proc sys" {
		t.Errorf("mount points: %s", got)
	}
}
