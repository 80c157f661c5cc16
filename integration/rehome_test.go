// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/rootfs"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/failpoint"
)

// committed returns what an image committed from a container holds: the difference that a client computes against the parent
// of its key, over the layers of the image that its record names.
func committed(t *testing.T, h *harness.Harness, c *harness.Container) (l listing) {
	t.Helper()
	ctx, release, err := h.Client().WithLease(h.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := release(h.Context()); err != nil {
			t.Error(err)
		}
	}()
	info, err := c.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	image, err := h.Client().GetImage(ctx, info.Image)
	if err != nil {
		t.Fatal(err)
	}
	service := h.Client().SnapshotService(info.Snapshotter)
	diff, err := rootfs.CreateDiff(ctx, info.SnapshotKey, service, h.Client().DiffService())
	if err != nil {
		t.Fatal(err)
	}
	chain := h.ChainIDs(image)
	key := "committed-" + c.ID()
	mounts, err := service.Prepare(ctx, key, chain[len(chain)-1])
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := service.Remove(ctx, key); err != nil {
			t.Error(err)
		}
	}()
	if _, err := h.Client().DiffService().Apply(ctx, diff, mounts); err != nil {
		t.Fatal(err)
	}
	return listedAt(t, mounts)
}

// modified is the time of an entry, which a commit keeps for files only.
var modified = regexp.MustCompile(` time [0-9.]+`)

func withoutTimes(l listing) listing {
	without := listing{}
	for path, entry := range l {
		without[path] = modified.ReplaceAllString(entry, "")
	}
	return without
}

// TestRefreshRehomes: a container that is refreshed after an update commits to exactly what it shows, for one with a storage and for
// one without, whatever of the refresh was cut short by the death of the daemon; and it starts.
func TestRefreshRehomes(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, impatient(), harness.WithFailpoints())
	h.Import(app(t, 1))
	h.Import(app(t, 2))
	points := []failpoint.Point{
		"", failpoint.RehomeBegun, failpoint.RehomeLeased, failpoint.RehomeRemoved, failpoint.RehomePrepared, failpoint.RehomeWritten,
	}
	killedAtEach(t, h, points, refreshAndCommit)
}

// killedAtEach tries what may be cut short at some points, for a container with a storage of a name and for one without, each time
// with containers of their own. In the end `check` finds nothing.
func killedAtEach(
	t *testing.T, h *harness.Harness, points []failpoint.Point,
	try func(*testing.T, *harness.Harness, harness.ContainerSpec, failpoint.Point),
) {
	for n, point := range points {
		for _, labels := range []map[string]string{{labelStorage: fmt.Sprintf("web%d", n)}, nil} {
			id := fmt.Sprintf("c%d-%d", n, len(labels))
			t.Run(strings.Join([]string{"killed", string(point), id}, " "), func(t *testing.T) {
				try(t, h.For(t), harness.ContainerSpec{ID: id, Image: appName(1), Labels: labels}, point)
			})
		}
	}
	h.CollectGarbage()
	if check := h.Moltctl("check"); !strings.Contains(check, "well") {
		t.Errorf("check says\n%s", check)
	}
}

func refreshAndCommit(t *testing.T, h *harness.Harness, spec harness.ContainerSpec, point failpoint.Point) {
	c := h.Create(spec)
	c.Start()
	shell(c, "echo 42 >/answer; echo mine >/etc/own")
	c.Kill()
	h.Moltctl("update", "create", "--from", appName(1), "--to", appName(2), "--anonymous")
	c.Start()
	expect(t, c, "app", "app 2\n")
	shell(c, "rm /usr/share/doc/app/news /usr/share/doc/app/license")
	refresh := []string{"--namespace", h.Namespace, "container", "refresh", "--from", appName(1), "--to", appName(2), c.ID()}
	if r := h.TryMoltctl(refresh...); r.ExitCode != 5 || !strings.Contains(r.Stderr, "stop") {
		t.Errorf("the refresh of a running container: %+v", r)
	}
	c.Kill()
	before := listed(t, c)
	if point == "" {
		h.Moltctl(refresh...)
	} else {
		h.DieAt(string(point))
		h.TryMoltctl(refresh...)
		h.Revive()
	}
	eventuallyOn(t, h, c, appName(2))
	sameTree(t, "after the refresh", listed(t, c), before)
	sameTree(t, "committed", withoutTimes(committed(t, h, c)), withoutTimes(before))
	c.Start()
	expect(t, c, "app; cat /answer; ls /usr/share/doc/app", "app 2\n42\nreadme\n")
	c.Kill()
	c.Delete()
}

// TestNewestRehomes: the record and the key of a container that begins on the newest base name that from its first start on,
// whatever of it was cut short by the death of the daemon, with a storage of a name and without one. A container that is made
// again by the old name gets the storage where it stands.
func TestNewestRehomes(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, harness.WithDaemonConfig("[servicing]\ngrace = \"500ms\"\nnew_containers = \"newest\"\n"), harness.WithFailpoints())
	h.Import(app(t, 1))
	h.Import(app(t, 2))
	started(h, appName(1), "first").Kill()
	h.Moltctl("update", "create", "--from", appName(1), "--to", appName(2))
	points := []failpoint.Point{"", failpoint.RehomeBegun, failpoint.RehomeRemoved, failpoint.RehomeWritten}
	killedAtEach(t, h, points, newestAndAgain)
}

func newestAndAgain(t *testing.T, h *harness.Harness, spec harness.ContainerSpec, point failpoint.Point) {
	c := h.Create(spec)
	if point == "" {
		c.Start()
	} else {
		h.DieAt(string(point))
		if err := c.TryStart(); err == nil {
			t.Error("the container was started although the daemon died")
		}
		h.Revive()
		eventuallyOn(t, h, c, appName(2))
		c.Start()
	}
	eventuallyOn(t, h, c, appName(2))
	expect(t, c, "app", "app 2\n")
	shell(c, "echo 42 >/answer; echo mine >/etc/own")
	c.Kill()
	sameTree(t, "committed", withoutTimes(committed(t, h, c)), withoutTimes(listed(t, c)))
	c.Start()
	expect(t, c, "app; cat /answer", "app 2\n42\n")
	c.Kill()
	c.Delete()
	if spec.Labels == nil {
		return
	}
	for range 2 {
		again := h.Create(spec)
		again.Start()
		expect(t, again, "app; cat /answer", "app 2\n42\n")
		again.Kill()
		again.Delete()
	}
}

// eventuallyOn waits until the record of a container and the parent of its key name one image.
func eventuallyOn(t *testing.T, h *harness.Harness, c *harness.Container, image string) {
	t.Helper()
	ctx := h.Context()
	i, err := h.Client().GetImage(ctx, image)
	if err != nil {
		t.Fatal(err)
	}
	chain := h.ChainIDs(i)
	for t.Context().Err() == nil {
		record, err := c.Info(ctx)
		if err != nil {
			t.Fatal(err)
		}
		info, err := h.Client().SnapshotService(record.Snapshotter).Stat(ctx, record.SnapshotKey)
		if err == nil && record.Image == image && info.Parent == chain[len(chain)-1] {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the container is not re-homed")
}
