// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/containerd/containerd/v2/core/mount"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
	"github.com/molt-snapshotter/molt-snapshotter/integration/image"
)

// fleetPage shows what the commands of TestFleet print. UPDATE_GOLDEN=1 writes it again.
const fleetPage = "../docs/update-of-many.md"

// packageEntry is what dpkg has on record of a package.
func packageEntry(name, version, more string) string {
	return fmt.Sprintf("Package: %s\nStatus: install ok installed\nArchitecture: all\nVersion: %s\n%sMaintainer: Nobody <nobody@example.org>\nDescription: %s\n\n", name, version, more, name)
}

// packaged is app with a library of a package.
func packaged(t *testing.T, version int) image.Image {
	t.Helper()
	v := fmt.Sprintf("1.%d", version)
	conf := map[int]string{1: "port = 80\n\n# how much\nlog = info\n\n# how many\nworkers = 1\n", 2: "port = 80\n\n# how much\nlog = info\n\n# how many\nworkers = 2\n"}
	return named(t, fmt.Sprintf("molt.test/fleet:%d", version), image.Files(
		image.Directory("etc"), image.Directory("usr/lib"), image.Directory("var/lib/dpkg/info"), image.Directory("var/lib/dpkg/updates"),
		image.File("etc/app.conf", conf[version]),
		image.File("usr/lib/lib.so", "\x00lib "+v+"\n"),
		image.File("var/lib/dpkg/status", packageEntry("lib", v, "")),
		image.File("var/lib/dpkg/info/lib.list", "/.\n/usr\n/usr/lib\n/usr/lib/lib.so\n"),
	))
}

// fleet are the storages of TestFleet: how many, what was done in each, and what its container does during the update.
var fleet = []struct {
	name    string
	count   int
	did     string
	running bool
}{
	{name: "idle", count: 18, did: "mkdir srv; echo mine >srv/own"},
	{name: "edited", count: 10, did: "sed -i s/80/8080/ etc/app.conf"},
	{name: "clash", count: 6, did: "sed -i 's/workers = 1/workers = 9/' etc/app.conf"},
	{name: "tied", count: 5, did: "cat >>var/lib/dpkg/status <<'E'\n" + packageEntry("lib-dev", "1.1", "Source: lib\nDepends: lib (= 1.1)\n") + "E\nprintf '/.\\n' >var/lib/dpkg/info/lib-dev.list"},
	{name: "patched", count: 2, did: "printf '\\0mine' >usr/lib/lib.so"},
	{name: "broken", count: 3, did: "sed -i 's/ok installed/ok half-installed/' var/lib/dpkg/status"},
	{name: "strict", count: 1, did: "sed -i 's/workers = 1/workers = 9/' etc/app.conf"},
	{name: "runs", count: 5, did: "echo mine >own", running: true},
}

// TestFleet updates 50 storages in mixed states: what the commands say of it, whole, is in the documentation.
func TestFleet(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, impatient())
	h.Import(packaged(t, 1))
	h.Import(packaged(t, 2))
	for _, kind := range fleet {
		for i := range kind.count {
			name := fmt.Sprintf("%s-%02d", kind.name, i+1)
			c := created(h, "molt.test/fleet:1", name, name)
			inStorage(t, c, kind.did)
			if kind.running {
				c.Start()
			}
		}
	}
	h.Moltctl("storage", "policy", "strict-01", "text=hold")

	create := []string{"update", "create", "--from", "molt.test/fleet:1", "--to", "molt.test/fleet:2"}
	dry := h.TryMoltctl(append(create, "--dry-run")...)
	if dry.ExitCode != 3 || !strings.Contains(dry.Stdout, "in all:  41 at once, 5 at the next start, 4 not\n") {
		t.Errorf("the dry run ends with %d: %s", dry.ExitCode, dry.Stdout[max(0, len(dry.Stdout)-2000):])
	}
	var page strings.Builder
	say := func(exit int, command ...string) {
		r := h.TryMoltctl(command...)
		if r.ExitCode != exit {
			t.Errorf("moltctl %s exits with %d, not %d: %s", strings.Join(command, " "), r.ExitCode, exit, r.Stderr)
		}
		fmt.Fprintf(&page, "```\n# moltctl %s\n%s```\n\n", strings.Join(command, " "), r.Stdout+r.Stderr)
	}
	fmt.Fprintf(&page, "The dry run ends with\n\n```\n%s```\n\n", dry.Stdout[strings.LastIndex(dry.Stdout, "in all:"):]+dry.Stderr)
	say(3, create...)
	say(0, "update", "ls")
	say(0, "update", "report", "u1")
	say(3, "storage", "audit", "tied-01")
	say(3, "storage", "audit", "broken-01")
	say(0, "codes", "use-running")
	say(0, "update", "rollback", "u1", "--storage", "clash-01", "--storage", "runs-01")
	golden(t, fleetPage, fleetIntroduction+alike(page.String(), h.Namespace))
}

// fleetIntroduction begins the page.
const fleetIntroduction = `# An update of fifty storages

What the commands print for storages in all states: 18 with files of their own, 10 in which a setting was edited, 6 in which the
setting was edited that the base changes, 5 with a package that needs the old version of one of the base, 2 with a library
replaced by hand, 3 in which the package manager was interrupted, one whose policy holds it on a conflict, and 5 whose containers
run. ` + "`integration.TestFleet`" + ` makes this page. Nodes and times are left out.

`

// inStorage runs a script of the host in the root of a container that does not run.
func inStorage(t *testing.T, c *harness.Container, script string) {
	t.Helper()
	err := mount.WithTempMount(t.Context(), c.Mounts(), func(root string) error {
		command := exec.CommandContext(t.Context(), "sh", "-euc", script)
		command.Dir = root
		out, err := command.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", c.ID(), err)
	}
}

var (
	fleetNodes = regexp.MustCompile(`\bn[0-9]+\b`)
	fleetTimes = regexp.MustCompile(`[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}`)
	fleetGaps  = regexp.MustCompile(`  +`)
)

// alike replaces in the output of commands what differs from run to run, and aligns the columns again.
func alike(text, namespace string) string {
	text = strings.ReplaceAll(text, namespace+"/", "default/")
	text = strings.ReplaceAll(text, "namespace "+namespace, "namespace default")
	text = fleetNodes.ReplaceAllString(text, "n-")
	text = fleetTimes.ReplaceAllString(text, "-")
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 2, 8, 2, ' ', 0)
	_, _ = w.Write([]byte(fleetGaps.ReplaceAllString(text, "\t"))) // to memory, which does not fail
	_ = w.Flush()
	return b.String()
}

// golden compares a text with a file.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is\n%s, want\n%s", file, got, want)
	}
}
