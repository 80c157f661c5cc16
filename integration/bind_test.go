// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
	"github.com/molt-snapshotter/molt-snapshotter/integration/image"
)

const labelPrepare = "containerd.io/snapshot/molt.storage"

// TestBind: a container that is created again, on the same base, on a newer one, and on the old one again, has its storage.
func TestBind(t *testing.T) {
	t.Parallel()
	h := harness.Start(t)
	h.Import(app(t, 1))
	h.Import(app(t, 2))
	for source, spec := range map[string]harness.ContainerSpec{
		"container label": {Labels: map[string]string{labelStorage: "by-label"}},
		"prepare label":   {SnapshotLabels: map[string]string{labelPrepare: "by-prepare"}},
	} {
		t.Run(source, func(t *testing.T) {
			h := h.For(t)
			for i, step := range []struct{ image, want string }{
				{appName(1), "app 1\n"}, {appName(1), "app 1\n"}, {appName(2), "app 2\n"}, {appName(1), "app 1\n"}, {appName(2), "app 2\n"},
			} {
				spec.Image = step.image
				c := h.Create(spec)
				c.Start()
				expect(t, c, "app", step.want)
				expect(t, c, "cat /lines 2>/dev/null | wc -l", string(rune('0'+i))+"\n")
				shell(c, "echo line >>/lines")
				c.Kill()
				c.Delete()
			}
		})
	}
}

// TestOneHolder: a storage has one container at a time; one that does not run gives way.
func TestOneHolder(t *testing.T) {
	t.Parallel()
	h := harness.Start(t)
	h.Import(app(t, 1))
	first := started(h, appName(1), "web")
	shell(first, "echo mine >/own")
	second := created(h, appName(1), "second", "web")
	err := second.TryStart()
	if err == nil || !strings.Contains(err.Error(), `"web"`) || !strings.Contains(err.Error(), "first") && !strings.Contains(err.Error(), "web") {
		t.Errorf("a second container got the storage, or the error does not name the first: %v", err)
	}
	expect(t, first, "cat /own", "mine\n")
	first.Kill()
	second.Start()
	expect(t, second, "cat /own", "mine\n")
	if err := first.TryStart(); err == nil {
		t.Error("the first container took the storage back while the second runs")
	}
	second.Kill()
	first.Start()
	expect(t, first, "cat /own", "mine\n")
}

// TestImageCannotClaim: neither the label of an image nor an annotation of its layers gives a container a storage, or has check
// list a container of another snapshotter.
func TestImageCannotClaim(t *testing.T) {
	t.Parallel()
	h := harness.Start(t)
	h.Import(app(t, 1))
	victim := started(h, appName(1), "victim")
	shell(victim, "echo secret >/secret")
	victim.Kill()

	img := named(t, "molt.test/thief:1", image.Files(image.File("thief", "1\n")))
	img.Config.Labels = map[string]string{labelStorage: "victim"}
	h.Import(img)
	out := h.Ctr("run", "--rm", "--snapshotter", h.Snapshotter, img.Name, "thief", "sh", "-c", "cat /secret 2>&1; true")
	if strings.Contains(out, "secret\n") || !strings.Contains(out, "No such file") {
		t.Errorf("the image got at the storage: %q", out)
	}

	// Of another snapshotter, molt keeps nothing: check lists who asks for it nevertheless.
	h.Ctr("container", "create", "--snapshotter", "overlayfs", img.Name, "silent")
	h.Ctr("container", "create", "--snapshotter", "overlayfs", "--label", labelStorage+"=web", img.Name, "asks")
	said := h.Moltctl("check")
	if !strings.Contains(said, `container "asks" in namespace`) || !strings.Contains(said, labelStorage+`="web"`) || !strings.Contains(said, `"overlayfs"`) {
		t.Errorf("check does not list the container of another snapshotter: %s", said)
	}
	if strings.Contains(said, `"silent"`) || strings.Contains(said, "GRAVE") {
		t.Errorf("check says too much: %s", said)
	}
	h.Ctr("container", "rm", "silent", "asks")
}

// TestCommitWithHistory: what a layer cannot hold is not committed.
func TestCommitWithHistory(t *testing.T) {
	t.Parallel()
	h := harness.Start(t)
	h.Import(app(t, 1))
	h.Import(app(t, 2))
	c := h.Create(harness.ContainerSpec{ID: "plain", Image: appName(1)})
	c.Start()
	shell(c, "echo mine >/own")
	c.Kill()
	h.Moltctl("update", "create", "--from", appName(1), "--to", appName(2), "--anonymous")
	c.Start()
	expect(t, c, "app; cat /own", "app 2\nmine\n")
	c.Kill()
	r := h.TryCtr("snapshots", "--snapshotter", h.Snapshotter, "commit", "layer", "plain")
	if r.ExitCode == 0 || !strings.Contains(r.Stderr, "history") {
		t.Errorf("a storage with a history was committed, or the error does not say why not: %+v", r)
	}
	expectPlain(t, h)
}

// expectPlain: a container that asks for nothing behaves as on overlayfs: what it wrote goes with it.
func expectPlain(t *testing.T, h *harness.Harness) {
	t.Helper()
	for range 2 {
		out := h.Run(harness.ContainerSpec{ID: "again", Image: appName(1), Args: []string{"sh", "-c", "cat /own 2>&1; echo mine >/own"}})
		if !strings.Contains(out.Stdout, "No such file") {
			t.Errorf("a container without a storage found what another one wrote: %+v", out)
		}
	}
}
