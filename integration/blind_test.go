// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
)

// TestDaemonApart: a daemon that does not see the processes of the host, as in a pod without hostPID, updates no storage under a
// container that runs, whether containerd answers or not. check says what is wrong.
func TestDaemonApart(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, impatient(), harness.WithDaemonApart())
	defer h.KillDaemon() // which cannot be asked to end
	h.Import(app(t, 1))
	h.Import(app(t, 2))
	c := h.Create(harness.ContainerSpec{
		ID: "web", Image: appName(1), Args: []string{"sleep", "infinity"}, Labels: map[string]string{"molt.dev/storage": "web"},
	})
	c.Start()
	shell(c, customise)
	// Images are containerd's: the tools are n1, and the layers of the two images n2 and n3.
	h.KillContainerd()
	waits := h.TryMoltctl("update", "create", "--storage", "web", "--from", "n2", "--to", "n3")
	if !strings.Contains(waits.Stdout, "planned") {
		t.Errorf("without an answer of containerd the update came to\n%s%s", waits.Stdout, waits.Stderr)
	}
	h.StartContainerd()
	if check := h.TryMoltctl("check"); !strings.Contains(check.Stdout+check.Stderr, "pid namespace of the host") {
		t.Errorf("check says\n%s%s", check.Stdout, check.Stderr)
	}
	expect(t, c, "app; cat /var/data/answer", "app 1\n42\n")
	c.Kill()
	c.Delete()
}
