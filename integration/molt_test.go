// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package integration_test holds the scenarios: each drives a real containerd, with real containers, by the commands that
// a person would use.
package integration_test

import (
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
	"github.com/molt-snapshotter/molt-snapshotter/integration/image"
)

// labelStorage is the container label by which a storage is asked for.
const labelStorage = "molt.dev/storage"

// app is an application in several versions, all with the same bottom layers: each version is a layer on the one before.
func app(t *testing.T, version int) image.Image {
	t.Helper()
	layers := []image.Layer{
		image.Files(
			image.Directory("etc"), image.Directory("usr/bin"), image.Directory("usr/share/doc/app"),
			image.File("usr/bin/app", "#!/bin/sh\necho app 1\n").WithMode(0o755),
			image.File("etc/app.conf", "port = 80\n\n# how much\nlog = info\n\n# how many\nworkers = 1\n"),
			image.File("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
			image.File("etc/group", "root:x:0:\n"),
			image.File("usr/share/doc/app/readme", "read me 1\n"),
			image.File("usr/share/doc/app/license", "free\n"),
		),
		image.Files(
			image.File("usr/bin/app", "#!/bin/sh\necho app 2\n").WithMode(0o755),
			image.File("etc/app.conf", "port = 80\n\n# how much\nlog = info\n\n# how many\nworkers = 2\n"),
			image.File("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:100:100:app:/:/bin/false\n"),
			image.File("etc/group", "root:x:0:\napp:x:100:\n"),
			image.File("usr/share/doc/app/news", "news of 2\n"),
		),
		image.Files(
			image.File("usr/bin/app", "#!/bin/sh\necho app 3\n").WithMode(0o755),
			image.Whiteout("usr/share/doc/app/license"),
		),
		image.Files(image.File("usr/bin/extra", "#!/bin/sh\necho extra 4\n").WithMode(0o755)),
		image.Files(image.File("usr/bin/app", "#!/bin/sh\necho app 5\n").WithMode(0o755)),
	}
	return named(t, appName(version), layers[:version]...)
}

// impatient makes updates wait less after a test has looked at the mounts of a container, which containerd does only to mount
// them.
func impatient() harness.Option {
	return harness.WithDaemonConfig("[servicing]\ngrace = \"500ms\"\n")
}

func appName(version int) string { return "molt.test/app:" + string(rune('0'+version)) }

func named(t *testing.T, name string, layers ...image.Layer) image.Image {
	t.Helper()
	harness.Require(t)
	img, err := image.New(name, layers...)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// flat returns the same files as an image, as one layer: what a rebuild gives.
func flat(t *testing.T, h *harness.Harness, name, of string) image.Image {
	t.Helper()
	dir := t.TempDir()
	h.Ctr("images", "mount", "--snapshotter", h.Snapshotter, of, dir)
	defer h.Ctr("images", "unmount", "--rm", dir)
	layer := image.Tree(dir)
	img := image.Bare(name, layer)
	archive := h.WriteImage(img)
	h.Ctr("images", "import", "--snapshotter", h.Snapshotter, archive)
	return img
}

// started makes a container with a storage of its own name and starts it.
func started(h *harness.Harness, image, name string) *harness.Container {
	c := created(h, image, name, name)
	c.Start()
	return c
}

func created(h *harness.Harness, image, id, storage string) *harness.Container {
	return h.Create(harness.ContainerSpec{ID: id, Image: image, Labels: map[string]string{labelStorage: storage}})
}

// restart ends the task of a container, if it has one, and starts another one.
func restart(c *harness.Container) {
	c.Kill()
	c.Start()
}

func shell(c *harness.Container, script string) string { return c.Exec("sh", "-c", script) }

// expect checks what a command of a container prints.
func expect(t *testing.T, c *harness.Container, script, want string) {
	t.Helper()
	if got := shell(c, script); got != want {
		t.Errorf("%s: %s\n got: %q\nwant: %q", c.ID(), script, got, want)
	}
}

// outcome returns the line on a storage of what moltctl update inspect shows.
func outcome(h *harness.Harness, update, storage string) string {
	for line := range strings.SplitSeq(h.Moltctl("update", "inspect", update), "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == h.Namespace+"/"+storage {
			return strings.Join(fields[1:], " ")
		}
	}
	return ""
}

func expectOutcome(t *testing.T, h *harness.Harness, update, storage, want string) {
	t.Helper()
	if got := outcome(h, update, storage); !strings.HasPrefix(got, want) {
		t.Errorf("%s of %s: got %q, want %q", update, storage, got, want)
	}
}
