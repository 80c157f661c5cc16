// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
)

// TestPins: a pinned path stays as it is, whether the container changed it or not, until the pin ends.
func TestPins(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, impatient(), harness.WithDaemonConfig("[[servicing.pins]]\npath = \"/usr/share/doc/app/license\"\nreason = \"lawyers\"\n"))
	for v := 1; v <= 3; v++ {
		h.Import(app(t, v))
	}
	c := started(h, appName(1), "web")
	c.Kill()
	h.Moltctl("storage", "pin", "--reason", "not before the holidays", "web", "/usr/bin/app")
	h.Moltctl("storage", "pin", "--reason", "long gone", "--until", "2020-01-01", "web", "/etc/app.conf")
	h.Moltctl("update", "create", "--storage", "web", "--to", appName(2))
	c.Start()
	expect(t, c, "app; tail -n 1 /etc/app.conf", "app 1\nworkers = 2\n")
	c.Kill()
	h.Moltctl("update", "create", "--storage", "web", "--to", appName(3))
	c.Start()
	expect(t, c, "app; ls /usr/share/doc/app", "app 1\nlicense\nnews\nreadme\n")
	c.Kill()
	h.Moltctl("storage", "unpin", "web", "/usr/bin/app")
	h.Import(app(t, 4))
	h.Moltctl("update", "create", "--storage", "web", "--to", appName(4))
	c.Start()
	expect(t, c, "app; extra", "app 3\nextra 4\n")
	for _, command := range []string{"storage unpin web /usr/bin/app", "storage pin web --reason x /", "storage policy web text=perhaps", "storage policy web text"} {
		if r := h.TryMoltctl(strings.Fields(command)...); r.ExitCode != 2 && r.ExitCode != 4 {
			t.Errorf("moltctl %s: %+v", command, r)
		}
	}
}

// TestPolicy: what is done about a conflict is asked of the update, of the storage, and of the configuration, in this order.
func TestPolicy(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, impatient(), harness.WithDaemonConfig("[servicing.policy]\ntext = \"keep\"\n"))
	h.Import(app(t, 1))
	h.Import(app(t, 2))
	for name, step := range map[string]struct {
		storage, update string
		exit            int
		want            string
	}{
		"configured": {exit: 0, want: "workers = 9\n/etc/app.conf\n"},
		"storage":    {storage: "text=hold", exit: 3, want: "workers = 9\n/etc/app.conf\n"},
		"update":     {storage: "text=hold", update: "text=beside", exit: 0, want: "workers = 9\n/etc/app.conf\n/var/lib/molt/beside/new/etc/app.conf\n"},
	} {
		t.Run(name, func(t *testing.T) {
			h := h.For(t)
			c := started(h, appName(1), name)
			shell(c, "sed -i 's/workers = 1/workers = 9/' /etc/app.conf")
			c.Kill()
			if step.storage != "" {
				h.Moltctl("storage", "policy", name, step.storage)
			}
			args := []string{"update", "create", "--storage", name, "--to", appName(2)}
			if step.update != "" {
				args = append(args, "--policy", step.update)
			}
			if r := h.TryMoltctl(args...); r.ExitCode != step.exit {
				t.Errorf("exit code %d, not %d: %+v", r.ExitCode, step.exit, r)
			}
			c.Start()
			if step.update != "" {
				if got := h.Moltctl("storage", "beside", "cat", name, "/etc/app.conf"); !strings.Contains(got, "workers = 2") {
					t.Errorf("beside is %q", got)
				}
			}
			expect(t, c, "tail -n 1 /etc/app.conf; ls /etc/app.conf*; ls /var/lib/molt/beside/new/etc/app.conf 2>/dev/null || true", step.want)
		})
	}
}
