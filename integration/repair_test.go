// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
)

// TestDatabaseLost: the database is deleted, cut, overwritten, replaced by an older one, while the daemon is down and
// containers run. They go on, the daemon starts by itself, and every storage, rollback point and name is what it was.
func TestDatabaseLost(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, impatient())
	h.Import(app(t, 1))
	h.Import(app(t, 2))
	c := started(h, appName(1), "kept")
	shell(c, customise)
	c.Kill()
	before := listed(t, c)
	backup := h.Path("backup.db")
	h.Moltctl("backup", backup)
	h.Moltctl("update", "create", "--from", appName(1), "--to", appName(2))
	updated := listed(t, c)
	running := started(h, appName(1), "running")
	shell(running, "echo mine >/root/mine")
	database := filepath.Join(h.DaemonRoot(), "graph.db")
	for _, lose := range []struct {
		how string
		do  func() error
	}{
		{"deleted", func() error { return os.Remove(database) }},
		{"cut", func() error { return os.Truncate(database, 10_000) }},
		{"overwritten", func() error { return os.WriteFile(database, make([]byte, 1<<16), 0o600) }},
		{"of an older state", func() error {
			old, err := os.ReadFile(backup)
			if err != nil {
				return err
			}
			return os.WriteFile(database, old, 0o600)
		}},
	} {
		h.KillDaemon()
		if err := lose.do(); err != nil {
			t.Fatal(err)
		}
		h.StartDaemon()
		if said := h.Moltctl("check"); !strings.Contains(said, "was rebuilt") || strings.Contains(said, "GRAVE") {
			t.Errorf("%s: check says %s", lose.how, said)
		}
		h.Moltctl("repair")
		if said := h.Moltctl("check"); !strings.Contains(said, "all is well") {
			t.Errorf("%s: after a repair check says %s", lose.how, said)
		}
		sameTree(t, lose.how, listed(t, c), updated)
		if got := shell(running, "cat /root/mine"); strings.TrimSpace(got) != "mine" {
			t.Errorf("%s: in the running container is %q", lose.how, got)
		}
	}
	running.Kill()
	h.Moltctl("update", "rollback", "u1", "--storage", "kept")
	sameTree(t, "rolled back after all", listed(t, c), before)
	h.CollectGarbage()
	if said := h.Moltctl("check"); !strings.Contains(said, "all is well") {
		t.Errorf("at the end check says %s", said)
	}
	h.Moltctl("check", "--deep") // which records the layers
	if said := h.Moltctl("check", "--deep"); !strings.Contains(said, "all is well") {
		t.Errorf("at the end check --deep says %s", said)
	}
	frozen, err := filepath.Glob(filepath.Join(h.DaemonRoot(), "n/*/fs/etc/app.conf"))
	if err != nil || len(frozen) == 0 {
		t.Fatalf("no layer has app.conf: %v", err)
	}
	if err := os.Chmod(frozen[0], 0o600); err != nil {
		t.Fatal(err)
	}
	if r := h.TryMoltctl("check", "--deep"); r.ExitCode != 1 || !strings.Contains(r.Stdout, "after it was frozen: /etc/app.conf") {
		t.Errorf("after a change it says %+v", r)
	}
}

// TestContainerdLost: containerd comes back without any memory. Its garbage collector removes every key; the storage with a
// name stays, and a container made again has it again.
func TestContainerdLost(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, impatient())
	h.Import(app(t, 1))
	c := started(h, appName(1), "kept")
	shell(c, customise)
	c.Kill()
	before := listed(t, c)
	h.KillContainerd()
	if err := os.RemoveAll(h.Path("containerd", "io.containerd.metadata.v1.bolt")); err != nil {
		t.Fatal(err)
	}
	h.StartContainerd()
	if said := h.Moltctl("check"); !strings.Contains(said, "containerd does not know it any more") {
		t.Errorf("check says %s", said)
	}
	// containerd counts its keys from the beginning again, and may come across one of before: then it takes a second try.
	if _, err := h.TryImport(app(t, 1)); err != nil {
		h.Import(app(t, 1))
	}
	again := created(h, appName(1), "kept", "kept")
	again.Start()
	again.Kill()
	sameTree(t, "with a containerd that forgot", listed(t, again), before)
	h.CollectGarbage()
	if said := h.Moltctl("check"); strings.Contains(said, "GRAVE") {
		t.Errorf("after collecting garbage check says %s", said)
	}
	sameTree(t, "after collecting garbage", listed(t, again), before)
}

// TestOlderThanContainerd: molt's state directory comes back as it was before a container was made. Containerd knows a key
// of which there is nothing; check names it, and what was there works.
func TestOlderThanContainerd(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, impatient())
	h.Import(app(t, 1))
	c := started(h, appName(1), "kept")
	shell(c, customise)
	c.Kill()
	before := listed(t, c)
	h.StopDaemon()
	saved := h.Path("saved")
	copyTree(t, h.DaemonRoot(), saved)
	h.StartDaemon()
	created(h, appName(1), "newer", "newer")
	h.StopDaemon()
	if err := os.RemoveAll(h.DaemonRoot()); err != nil {
		t.Fatal(err)
	}
	copyTree(t, saved, h.DaemonRoot())
	h.StartDaemon()
	r := h.TryMoltctl("check")
	if r.ExitCode != 1 || !strings.Contains(r.Stdout, `"newer"`) {
		t.Errorf("check ends with %d and says %s", r.ExitCode, r.Stdout)
	}
	sameTree(t, "an older state", listed(t, c), before)
	c.Start()
	expect(t, c, "echo works", "works\n")
	c.Kill()
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copy %s: %v: %s", from, err, out)
	}
}
