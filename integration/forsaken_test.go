// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"strings"
	"testing"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
)

// TestContainerCalledLikeAnExtraction: a container has its storage, whatever its id looks like.
func TestContainerCalledLikeAnExtraction(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, impatient())
	h.Import(app(t, 1))
	run := func(id, script string) string {
		return h.Ctr("run", "--rm", "--snapshotter", h.Snapshotter, "--label", "molt.dev/storage=keepme", appName(1), id, "/bin/sh", "-c", script)
	}
	run("extract-h7x", "echo mine >/data")
	if got := run("after", "cat /data"); strings.TrimSpace(got) != "mine" {
		t.Errorf("the next container with the storage has %q", got)
	}
}

// TestStorageOfForgottenKey: a key that containerd does not know, as after it was killed while it removed a container,
// keeps no storage from being removed; one that it knows does.
func TestStorageOfForgottenKey(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, impatient())
	h.Import(app(t, 1))
	known := started(h, appName(1), "known")
	known.Kill()
	if r := h.TryMoltctl("storage", "rm", "known"); r.ExitCode == 0 || !strings.Contains(r.Stdout+r.Stderr, "remove that first") {
		t.Errorf("the storage of a container that exists: %+v", r)
	}
	conn, err := grpc.NewClient("unix:"+h.SnapshotsSocket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	molt := proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), h.Snapshotter)
	labels := snapshots.WithLabels(map[string]string{snapshotter.LabelStorage: "ghost"})
	if _, err := molt.Prepare(h.Context(), h.Namespace+"/4711/ghost", "", labels); err != nil {
		t.Fatal(err)
	}
	h.Moltctl("storage", "rm", "ghost")
	if said := h.Moltctl("storage", "ls", "--all"); strings.Contains(said, "ghost") || !strings.Contains(said, "known") {
		t.Errorf("the storages are\n%s", said)
	}
}
