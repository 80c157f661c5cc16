// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package harness_test

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
	"github.com/molt-snapshotter/molt-snapshotter/integration/image"
)

// The harness is tested without molt's daemon, so that a defect of either is not taken for one of the other.
const builtin = "overlayfs"

func TestContainer(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, harness.WithSnapshotter(builtin))
	app := newImage(t, "molt.test/app:1", image.Files(image.File("greeting", "hello\n")))
	h.Import(app)

	t.Run("runs to its end", func(t *testing.T) {
		r := h.For(t).Run(harness.ContainerSpec{Image: app.Name, Args: []string{"sh", "-c", "cat /greeting; echo oops >&2; exit 3"}})
		want := harness.Result{ExitCode: 3, Stdout: "hello\n", Stderr: "oops\n"}
		if r != want {
			t.Errorf("got %+v, want %+v", r, want)
		}
	})
	t.Run("executes commands", func(t *testing.T) {
		c := h.For(t).Create(harness.ContainerSpec{ID: "idle", Image: app.Name})
		c.Start()
		c.Exec("sh", "-c", "echo written >/data")
		expect(t, c.Exec("cat", "/data"), "written\n")
		if r := c.TryExec("cat", "/nothing"); r.ExitCode != 1 || !strings.Contains(r.Stderr, "No such file") {
			t.Errorf("exec of a command that fails: %+v", r)
		}
		// The same snapshot is there at the next start.
		if r := c.Kill(); r.ExitCode != 128+int(syscall.SIGKILL) {
			t.Errorf("exit code of a killed container: %d", r.ExitCode)
		}
		c.Start()
		expect(t, c.Exec("cat", "/data"), "written\n")
		c.Signal(syscall.SIGTERM)
		if r := c.Wait(); r.ExitCode != 0 {
			t.Errorf("a container that was asked to end: %+v", r)
		}
		c.Delete()
	})
	t.Run("reports errors", func(t *testing.T) {
		h := h.For(t)
		if _, err := h.TryCreate(harness.ContainerSpec{Image: "molt.test/unknown:1"}); err == nil {
			t.Error("a container of an unknown image was created")
		}
		c := h.Create(harness.ContainerSpec{Image: app.Name, Args: []string{"/no/such/program"}})
		if err := c.TryStart(); err == nil {
			t.Error("a container without its program was started")
		}
	})
}

func TestCtr(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, harness.WithSnapshotter(builtin))
	app := newImage(t, "molt.test/app:1")
	if n := len(h.ChainIDs(h.ImportWithCtr(app))); n != 1 {
		t.Errorf("the image has %d layers, want 1", n)
	}
	if version := h.Ctr("version"); strings.Count(version, "v2.4.2") != 2 {
		t.Errorf("client and server should be containerd v2.4.2:\n%s", version)
	}
	out := h.Ctr("run", "--rm", "--snapshotter", builtin, app.Name, "once", "echo", "hello")
	expect(t, out, "hello\n")
	out = h.Ctr("run", "--rm", "--snapshotter", builtin, "--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536",
		app.Name, "mapped", "cat", "/proc/self/uid_map")
	if ids := strings.Fields(out); !slices.Equal(ids, []string{"0", "100000", "65536"}) {
		t.Errorf("user IDs in a user namespace: %q", out)
	}
	if r := h.TryCtr("containers", "info", "once"); r.ExitCode == 0 {
		t.Errorf("the container is still there: %+v", r)
	}
}

func TestImages(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, harness.WithSnapshotter(builtin))
	t.Run("120 layers", func(t *testing.T) {
		h := h.For(t)
		deep, err := image.Deep("molt.test/deep:1", 120)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(h.ChainIDs(h.Import(deep))); n != 120 {
			t.Errorf("the image has %d layers", n)
		}
		out := h.Run(harness.ContainerSpec{Image: deep.Name, Args: []string{"sh", "-c", "cat /deep/top; ls /deep | wc -l"}})
		expect(t, out.Stdout, "119120\n")
	})
	t.Run("whiteouts", func(t *testing.T) {
		h := h.For(t)
		img := newImage(t, "molt.test/whiteouts:1",
			image.Files(image.File("d/a", "a"), image.File("d/b", "b"), image.File("e/a", "a")),
			image.Files(image.Whiteout("d/a"), image.Directory("e"), image.Opaque("e"), image.File("e/c", "c")))
		h.Import(img)
		out := h.Run(harness.ContainerSpec{Image: img.Name, Args: []string{"find", "/d", "/e", "-type", "f"}})
		expect(t, out.Stdout, "/d/b\n/e/c\n")
	})
	t.Run("a newer one of the same name", func(t *testing.T) {
		h := h.For(t)
		for _, content := range []string{"old", "new"} {
			img := newImage(t, "molt.test/moving:1", image.Files(image.File("version", content)))
			h.Import(img)
			out := h.Run(harness.ContainerSpec{Image: img.Name, Args: []string{"cat", "/version"}})
			expect(t, out.Stdout, content)
		}
	})
}

func TestPod(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, harness.WithSnapshotter(builtin), harness.WithCRI())
	app := newImage(t, "molt.test/app:1", image.Files(image.File("greeting", "hello\n")))
	h.CRI().Import(app)
	pod := h.CRI().RunPod(harness.PodSpec{Name: "web", Annotations: map[string]string{"molt.dev/storage": "web"}})
	c := pod.Run(harness.PodContainerSpec{Name: "app", Image: app.Name})
	expect(t, c.Exec("cat", "/greeting"), "hello\n")
	if r := c.TryExec("false"); r.ExitCode != 1 {
		t.Errorf("exec of a command that fails: %+v", r)
	}
	if got := c.Status().GetLabels()["io.kubernetes.pod.name"]; got != "web" {
		t.Errorf("the container's label of its pod is %q", got)
	}
	h.RestartContainerd()
	expect(t, c.Exec("cat", "/greeting"), "hello\n")
	c.Stop()
	again := pod.Run(harness.PodContainerSpec{Name: "app", Attempt: 1, Image: app.Name})
	c.Remove()
	expect(t, again.Exec("cat", "/greeting"), "hello\n")
	pod.Remove()
}

// TestServers kills and restarts both servers under a container that goes on running.
func TestServers(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, harness.WithDaemon("./integration/harness/overlayd", "standin"))
	app := newImage(t, "molt.test/app:1")
	h.Import(app)
	c := h.Create(harness.ContainerSpec{ID: "app", Image: app.Name})
	c.Start()
	before := h.Daemon.PID()

	h.KillDaemon()
	var exit *exec.ExitError
	if err := h.Daemon.Wait(t.Context()); !errors.As(err, &exit) || exit.ExitCode() != -1 {
		t.Errorf("the end of a killed daemon: %v", err)
	}
	c.Exec("sh", "-c", "echo while the daemon is away >/data")
	if _, err := h.TryCreate(harness.ContainerSpec{ID: "refused", Image: app.Name}); err == nil {
		t.Error("a snapshot was prepared without a daemon")
	}
	h.StartDaemon()
	if h.Daemon.PID() == before {
		t.Error("the daemon was not started again")
	}
	h.Run(harness.ContainerSpec{Image: app.Name, Args: []string{"true"}})

	h.RestartContainerd()
	expect(t, c.Exec("cat", "/data"), "while the daemon is away\n")
	h.StopDaemon()
	if err := h.Daemon.Wait(t.Context()); err != nil {
		t.Errorf("the end of a daemon that was asked to end: %v", err)
	}
	h.StartDaemon()
	c.Kill()
	c.Delete()
	h.CollectGarbage()
	if _, err := h.Snapshots().Stat(h.Context(), "app"); err == nil {
		t.Error("the snapshot of a deleted container is still there")
	}
}

func newImage(t *testing.T, name string, layers ...image.Layer) image.Image {
	t.Helper()
	harness.Require(t)
	img, err := image.New(name, layers...)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func expect(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
