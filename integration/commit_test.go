// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
)

func onCommit(written string) harness.Option {
	return harness.WithDaemonConfig(fmt.Sprintf("[servicing.on_commit]\nwritten = %q\n", written))
}

// TestCommitIsTheHook: a client of snapshots commits a delta layer on a base on which a container stands, and does nothing
// else. The side effects are recorded as a delta storage; rollback and merge rewrite that.
func TestCommitIsTheHook(t *testing.T) {
	for _, policy := range []string{"stage", "apply"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			h := harness.Start(t, impatient(), onCommit(policy))
			h.Import(app(t, 1))
			c := customised(h)

			prepareDelta(t, h, "work", baseOf(t, h))
			h.Ctr("snapshots", "--snapshotter", h.Snapshotter, "commit", "delta", "work")

			want := map[string]string{"stage": "staged", "apply": "applied"}[policy]
			inspected := eventually(t, h, want, "update", "inspect", "u1")
			for _, part := range []string{"a layer that was committed", "web", " n"} {
				if !strings.Contains(inspected, part) {
					t.Errorf("update inspect does not show %q:\n%s", part, inspected)
				}
			}
			if list := h.Moltctl("update", "ls"); !strings.Contains(list, "delta") || !strings.Contains(list, want) {
				t.Errorf("update ls shows\n%s", list)
			}
			if policy == "stage" {
				c.Start()
				expect(t, c, "app", "app 1\n")
				c.Kill()
				h.Moltctl("update", "apply", "u1")
				eventually(t, h, "applied", "update", "inspect", "u1")
			}
			c.Start()
			expect(t, c, "app; cat /var/data/answer; grep workers /etc/app.conf", "app 2\n42\nworkers = 2\n")
			c.Kill()
			h.Moltctl("update", "rollback", "u1")
			c.Start()
			expect(t, c, "app; cat /var/data/answer; grep workers /etc/app.conf", "app 1\n42\nworkers = 1\n")
			c.Kill()
			h.Moltctl("check")
			c.Delete()
		})
	}
}

// TestKilledAtCommit: when the daemon dies in a commit, the update is there or the layer is not, and what is there
// goes on.
func TestKilledAtCommit(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, impatient(), onCommit("apply"), harness.WithFailpoints())
	h.Import(app(t, 1))
	c := customised(h)
	base := baseOf(t, h)
	for i, point := range []string{"work-withdrawn", "graph-committed", "records-written"} {
		work, delta := fmt.Sprint("work", i), fmt.Sprint("delta", i)
		prepareDelta(t, h, work, base)
		h.DieAt(point)
		if r := h.TryCtr("snapshots", "--snapshotter", h.Snapshotter, "commit", delta, work); r.ExitCode == 0 && point != "records-written" {
			t.Errorf("%s: the commit was acknowledged", point)
		}
		h.Revive()
		layer := strings.Contains(h.Moltctl("layer", "ls"), delta)
		if update := strings.Contains(h.Moltctl("update", "ls"), delta); update != layer {
			t.Errorf("%s: the layer is there: %t, the update: %t", point, layer, update)
		}
	}
	eventually(t, h, "1 applied", "update", "ls") // all of them update one base: whichever comes first
	c.Start()
	expect(t, c, "app; cat /var/data/answer", "app 2\n42\n")
	c.Kill()
	c.Delete()
}

// customised returns a container with a storage, stopped, in which somebody has changed what the next version changes, too.
func customised(h *harness.Harness) *harness.Container { return customisedOn(h, appName(1)) }

func customisedOn(h *harness.Harness, image string) *harness.Container {
	c := h.Create(harness.ContainerSpec{
		ID: "web", Image: image, Args: []string{"sleep", "infinity"}, Labels: map[string]string{"molt.dev/storage": "web"},
	})
	c.Start()
	shell(c, customise)
	c.Kill()
	return c
}

// baseOf returns the key of the layer that the container was made on.
func baseOf(t *testing.T, h *harness.Harness) string {
	t.Helper()
	info, err := h.Snapshots().Stat(h.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	return info.Parent
}

// prepareDelta prepares a key on a layer, and writes there what version 2 has.
func prepareDelta(t *testing.T, h *harness.Harness, key, base string) {
	t.Helper()
	h.Ctr("snapshots", "--snapshotter", h.Snapshotter, "prepare", key, base)
	mounts, err := h.Snapshots().Mounts(h.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	err = mount.WithTempMount(h.Context(), mounts, func(dir string) error {
		app := filepath.Join(dir, "usr/bin/app")
		if err := os.WriteFile(app, []byte("#!/bin/sh\necho app 2\n"), 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "etc/app.conf"), []byte("port = 80\n\n# how much\nlog = info\n\n# how many\nworkers = 2\n"), 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// eventually returns what moltctl says as soon as that has a word in it.
func eventually(t *testing.T, h *harness.Harness, word string, args ...string) (said string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if said = h.TryMoltctl(args...).Stdout; strings.Contains(said, word) {
			return said
		}
	}
	t.Fatalf("moltctl %v does not come to say %q:\n%s", args, word, said)
	return ""
}
