// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"os"
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
}
