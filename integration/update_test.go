// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
)

const customise = `sed -i s/80/8080/ /etc/app.conf && echo "alice:x:1000:1000::/:/bin/sh" >>/etc/passwd && ` +
	`chmod 700 /usr/bin/app && rm /usr/share/doc/app/readme && mkdir -p /var/data && echo 42 >/var/data/answer && ln /var/data/answer /var/data/again`

// TestUpdate is the main job: rows A1 to A5, C1 and D1 of the mission, for a base that is extended and for one rebuilt.
func TestUpdate(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, impatient())
	h.Import(app(t, 1))
	h.Import(app(t, 2))
	flat(t, h, "molt.test/rebuilt:2", appName(2))
	for _, to := range []string{appName(2), "molt.test/rebuilt:2"} {
		t.Run(to, func(t *testing.T) { updateAndBack(t, h.For(t), to) })
	}
}

func updateAndBack(t *testing.T, h *harness.Harness, to string) {
	c := started(h, appName(1), strings.NewReplacer("/", "-", ":", "-").Replace(to))
	shell(c, customise)
	c.Kill()
	before := listed(t, c)

	h.Moltctl("update", "create", "--storage", c.ID(), "--to", to)
	c.Start()
	expect(t, c, "app", "app 2\n")
	expect(t, c, "stat -c %a /usr/bin/app; cat /var/data/answer; stat -c %h /var/data/answer", "700\n42\n2\n")
	expect(t, c, "grep -c 'port = 8080\\|workers = 2' /etc/app.conf; cut -d: -f1 /etc/passwd", "2\nroot\nalice\napp\n")
	expect(t, c, "ls /usr/share/doc/app", "license\nnews\n")
	shell(c, "echo later >/var/data/later; echo changed >/var/data/answer")
	c.Kill()

	update := "u" + lastUpdate(h)
	h.Moltctl("update", "rollback", "--storage", c.ID(), update)
	sameTree(t, "exact rollback", listed(t, c), before)
	c.Start()
	expect(t, c, "app", "app 1\n")
	c.Kill()

	// Once more, and back with what was written since.
	h.Moltctl("update", "create", "--storage", c.ID(), "--to", to)
	c.Start()
	shell(c, "echo later >/var/data/later; sed -i 's/log = info/log = debug/' /etc/app.conf")
	c.Kill()
	h.Moltctl("update", "rollback", "--carry", "--storage", c.ID(), "u"+lastUpdate(h))
	c.Start()
	expect(t, c, "app", "app 1\n")
	expect(t, c, "cat /var/data/later /etc/app.conf", "later\nport = 8080\n\n# how much\nlog = debug\n\n# how many\nworkers = 1\n")
	c.Kill()
	c.Delete()
	h.Moltctl("storage", "rm", c.ID())
}

// lastUpdate returns the number of the newest update.
func lastUpdate(h *harness.Harness) string {
	lines := strings.Split(strings.TrimSpace(h.Moltctl("update", "ls")), "\n")
	return strings.TrimPrefix(strings.Fields(lines[len(lines)-1])[0], "u")
}

// TestDryRun: a preview changes nothing and tells what would happen.
func TestDryRun(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, impatient())
	h.Import(app(t, 1))
	h.Import(app(t, 2))
	c := started(h, appName(1), "web")
	shell(c, customise)
	c.Kill()
	before, graph := listed(t, c), h.Moltctl("graph", "--format", "json")
	preview := h.Moltctl("update", "create", "--from", appName(1), "--to", appName(2), "--dry-run")
	for _, want := range []string{"merge", "/etc/app.conf", "/etc/passwd", "/usr/bin/app"} {
		if !strings.Contains(preview, want) {
			t.Errorf("the preview does not tell of %s:\n%s", want, preview)
		}
	}
	if after := h.Moltctl("graph", "--format", "json"); after != graph {
		t.Errorf("the preview changed the graph:\n%s\nwas:\n%s", after, graph)
	}
	sameTree(t, "after the preview", listed(t, c), before)
}

// TestManyContainers: 20 containers on one base are serviced by one update; one is held and one runs throughout (A12, A4).
func TestManyContainers(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, impatient())
	h.Import(app(t, 1))
	h.Import(app(t, 2))
	containers := make([]*harness.Container, 20)
	for i := range containers {
		c := started(h, appName(1), fmt.Sprintf("c%02d", i))
		shell(c, fmt.Sprintf("echo mine %d >>/etc/app.conf; echo %d >/own", i, i))
		containers[i] = c
	}
	running, held := containers[7], containers[13]
	shell(held, "mkdir -p /var/lib/dpkg/updates; printf 'Package: half\\nStatus: install ok half-installed\\nVersion: 1\\nArchitecture: all\\n\\n' >/var/lib/dpkg/status")
	for _, c := range containers {
		if c != running {
			c.Kill()
		}
	}
	r := h.TryMoltctl("update", "create", "--from", appName(1), "--to", appName(2))
	if r.ExitCode != 3 {
		t.Errorf("an update with a held storage should exit with 3: %+v", r)
	}
	for i, c := range containers {
		want := "applied"
		switch c {
		case running:
			want = "planned"
		case held:
			want = "held"
		}
		expectOutcome(t, h, "u1", fmt.Sprintf("c%02d", i), want)
	}
	if why := outcome(h, "u1", "c13"); !strings.Contains(why, "half") {
		t.Errorf("the reason of the held storage does not name the package: %q", why)
	}
	expect(t, running, "app; cat /own", "app 1\n7\n")
	restart(running)
	expectOutcome(t, h, "u1", "c07", "applied")
	for i, c := range containers {
		if c != running {
			c.Start()
		}
		want := "app 2\n"
		if c == held {
			want = "app 1\n"
		}
		expect(t, c, "app", want)
		expect(t, c, "cat /own; tail -n 1 /etc/app.conf", fmt.Sprintf("%d\nmine %d\n", i, i))
	}
}

// TestAllOrNothing: an update that is asked to reach all storages reaches none when one is held.
func TestAllOrNothing(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, impatient())
	h.Import(app(t, 1))
	h.Import(app(t, 2))
	good, bad := started(h, appName(1), "good"), started(h, appName(1), "bad")
	shell(bad, "mkdir -p /var/lib/dpkg; printf 'Package: half\\nStatus: install ok half-installed\\nVersion: 1\\nArchitecture: all\\n\\n' >/var/lib/dpkg/status")
	good.Kill()
	bad.Kill()
	before := listed(t, good)
	if r := h.TryMoltctl("update", "create", "--from", appName(1), "--to", appName(2), "--all-or-nothing"); r.ExitCode == 0 {
		t.Errorf("the update says that it was done: %+v", r)
	}
	expectOutcome(t, h, "u1", "good", "aborted")
	expectOutcome(t, h, "u1", "bad", "aborted")
	sameTree(t, "after the aborted update", listed(t, good), before)

	bad.Start()
	shell(bad, "rm /var/lib/dpkg/status")
	bad.Kill()
	h.Moltctl("update", "create", "--from", appName(1), "--to", appName(2), "--all-or-nothing")
	for _, c := range []*harness.Container{good, bad} {
		expectOutcome(t, h, "u2", c.ID(), "applied")
		c.Start()
		expect(t, c, "app", "app 2\n")
	}
}
