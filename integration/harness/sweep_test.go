// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package harness_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
)

// busyHarness starts a harness and leaves in it what tests can leave: running containers of each kind, and a mount.
func busyHarness(t *testing.T) *harness.Harness {
	t.Helper()
	app := newImage(t, "molt.test/app:1")
	h := harness.Start(t, harness.WithDaemon("./integration/harness/overlayd", "standin"), harness.WithCRI())
	h.Import(app)
	h.Create(harness.ContainerSpec{ID: "idle", Image: app.Name}).Start()
	h.CRI().Import(app)
	h.CRI().RunPod(harness.PodSpec{Name: "web"}).Run(harness.PodContainerSpec{Name: "app", Image: app.Name})
	dir := h.Path("mounted")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestCleanup(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*harness.Harness){
		"servers alive":  func(*harness.Harness) {},
		"daemon dead":    (*harness.Harness).KillDaemon,
		"both dead":      func(h *harness.Harness) { h.KillContainerd(); h.KillDaemon() },
		"container dead": func(h *harness.Harness) { h.Ctr("tasks", "kill", "-s", "KILL", "idle") },
	}
	for name, prepare := range tests {
		var root string
		t.Run(name, func(t *testing.T) {
			h := busyHarness(t)
			root = h.Root()
			left := strings.Join(leftovers(t, root), "\n")
			for _, want := range []string{"process ", "containerd-shim-runc-v2", "overlayd", "sleep 3600", "container ", "/mounted"} {
				if !strings.Contains(left, want) {
					t.Errorf("a busy harness should have %q, has:\n%s", want, left)
				}
			}
			prepare(h)
		})
		if root == "" {
			t.Fatalf("%s: the harness did not start", name)
		}
		if left := leftovers(t, root); len(left) > 0 {
			t.Errorf("%s: left: %s", name, strings.Join(left, "\n"))
		}
		checkCgroups(t, root)
	}
}

// abandonedRoot tells the child process of TestAbandoned where to write its root.
const abandonedRoot = "MOLT_TEST_ABANDONED_ROOT"

// TestAbandoned kills a test process, a copy of this one, and lets the next sweep find what it left.
func TestAbandoned(t *testing.T) {
	if out := os.Getenv(abandonedRoot); out != "" {
		h := busyHarness(t)
		if err := os.WriteFile(out, []byte(h.Root()), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := unix.Kill(os.Getpid(), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	t.Parallel()
	harness.Require(t)
	out := filepath.Join(t.TempDir(), "root")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAbandoned$")
	cmd.Env = append(os.Environ(), abandonedRoot+"="+out)
	output, err := cmd.CombinedOutput()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); err == nil || !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the child process should have been killed: %v\n%s", err, output)
	}
	root, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	// A Start of a parallel test can be ahead of this sweep, and still be at it.
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if err := harness.SweepAbandoned(); err != nil {
			t.Fatal(err)
		}
		left := leftovers(t, string(root))
		if len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("left: %s", strings.Join(left, "\n"))
		}
	}
	checkCgroups(t, string(root))
}

func leftovers(t *testing.T, root string) []string {
	t.Helper()
	left, err := harness.Leftovers(root)
	if err != nil {
		t.Fatal(err)
	}
	return left
}

func checkCgroups(t *testing.T, root string) {
	t.Helper()
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		found, err := filepath.Glob(pattern + filepath.Base(root))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) > 0 {
			t.Errorf("cgroups left: %v", found)
		}
	}
}

// TestGoroutines runs alone, before the parallel tests.
func TestGoroutines(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("harness", func(t *testing.T) {
		app := newImage(t, "molt.test/app:1")
		h := harness.Start(t, harness.WithSnapshotter(builtin), harness.WithCRI())
		h.Import(app)
		h.Create(harness.ContainerSpec{Image: app.Name}).Start()
		h.RestartContainerd()
	})
	// Connections are closed, but their goroutines need a moment to notice.
	for end := time.Now().Add(30 * time.Second); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
		}
	}
}

func TestLeftoversOfOtherDirectories(t *testing.T) {
	for _, root := range []string{"", "/", "/tmp", "/tmp/molt-", "/tmp/molt-a", "/tmp/molt-1/x", "/home/molt-1"} {
		if left, err := harness.Leftovers(root); err == nil {
			t.Errorf("%q is taken for a root with %d leftovers", root, len(left))
		}
	}
}
