// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/oci"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
	"github.com/molt-snapshotter/molt-snapshotter/integration/image"
)

// withDefaults is app with the defaults of its version: each has what the other has not.
func withDefaults(t *testing.T, version int) image.Image {
	t.Helper()
	img := app(t, version)
	idle, path := img.Config.Cmd, img.Config.Env[0]
	switch version {
	case 1:
		img.Config.Entrypoint, img.Config.Cmd = idle[:2], idle[2:]
		img.Config.Env = []string{path, "VERSION=1", "MODE=old", "GONE=yes"}
		img.Config.WorkingDir = "/usr/share/doc"
		img.Config.Labels = map[string]string{"org.example.version": "1", "org.example.old": "yes"}
	default:
		img.Config.Entrypoint, img.Config.Cmd = []string{"sh", "-u", "-c"}, idle[2:]
		img.Config.Env = []string{path, "VERSION=2", "MODE=new", "CAME=yes"}
		img.Config.WorkingDir = "/usr/share/doc/app"
		img.Config.User = "100:100"
		img.Config.Labels = map[string]string{"org.example.version": "2"}
	}
	return img
}

// defaultsOf tells what the first process of a container was started with: what is executed in it later has the variables of
// the record.
func defaultsOf(t *testing.T, c *harness.Container) string {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/", c.PID())
	read := func(name string) []string {
		content, err := os.ReadFile(dir + name)
		if err != nil {
			t.Fatal(err)
		}
		return strings.FieldsFunc(string(content), func(r rune) bool { return r == 0 || r == '\n' })
	}
	// At first it is runc.
	command := read("cmdline")
	for ; len(command) == 0 || command[0] != "sh"; command = read("cmdline") {
		if t.Context().Err() != nil {
			t.Fatalf("the container runs %q", command)
		}
		time.Sleep(10 * time.Millisecond)
	}
	var seen []string
	for _, entry := range read("environ") {
		// The runtime adds HOME.
		if name, _, _ := strings.Cut(entry, "="); name != "PATH" && name != "HOME" {
			seen = append(seen, entry)
		}
	}
	slices.Sort(seen)
	cwd, err := os.Readlink(dir + "cwd")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range read("status") {
		if ids := strings.Fields(line); ids[0] == "Uid:" || ids[0] == "Gid:" {
			seen = append(seen, ids[1])
		}
	}
	return strings.Join(append(append(seen, cwd), command[:2]...), " ")
}

func expectDefaults(t *testing.T, c *harness.Container, want string) {
	t.Helper()
	if got := defaultsOf(t, c); got != want {
		t.Errorf("%s was started with\n%s, want\n%s", c.ID(), got, want)
	}
}

// TestH7ImageDefaults: after an update a container still has the environment, command, directory, user and labels of its old
// image, until it is refreshed; what was set for the container itself stays.
func TestH7ImageDefaults(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, impatient())
	h.Import(withDefaults(t, 1))
	h.Import(withDefaults(t, 2))
	// ctr and nerdctl copy the labels of the image; here they are given.
	labels := map[string]string{labelStorage: "web", "mine": "1", "org.example.version": "1", "org.example.old": "yes"}
	c := h.Create(harness.ContainerSpec{
		ID: "web", Image: appName(1), Labels: labels,
		Options: []oci.SpecOpts{oci.WithEnv([]string{"OWN=mine", "MODE=mine"})},
	})
	c.Start()
	shell(c, "echo 42 >/answer")
	const old = "GONE=yes MODE=mine OWN=mine VERSION=1 0 0 /usr/share/doc sh -c"
	expectDefaults(t, c, old)
	h.Moltctl("update", "create", "--storage", "web", "--to", appName(2))
	restart(c)
	expect(t, c, "app", "app 2\n")
	expectDefaults(t, c, old)

	refresh := []string{"--namespace", h.Namespace, "container", "refresh", "--from", appName(1), "--to", appName(2)}
	before := h.Ctr("containers", "info", "web")
	for _, want := range []string{"VERSION", "dropped", "kept", "cwd", "args", "user", "org.example.version", "image"} {
		if preview := h.Moltctl(append(refresh, "--dry-run", "web")...); !strings.Contains(preview, want) {
			t.Errorf("the preview does not tell of %s:\n%s", want, preview)
		}
	}
	if after := h.Ctr("containers", "info", "web"); after != before {
		t.Errorf("the preview changed the record:\n%s\nwas:\n%s", after, before)
	}
	if r := h.TryMoltctl(append(refresh, "web")...); r.ExitCode != 5 {
		t.Errorf("a container that runs was refreshed: %+v", r)
	}
	expectDefaults(t, c, old)
	c.Kill()
	h.Moltctl(append(refresh, "web")...)
	c.Start()
	expectDefaults(t, c, "CAME=yes MODE=mine OWN=mine VERSION=2 100 100 /usr/share/doc/app sh -u")
	expect(t, c, "cat /answer", "42\n")
	info, err := c.Info(h.Context())
	if err != nil {
		t.Fatal(err)
	}
	if l := info.Labels; info.Image != appName(2) || l["org.example.version"] != "2" || l["org.example.old"] != "" || l["mine"] != "1" || l[labelStorage] != "web" {
		t.Errorf("the record has image %s and labels %v", info.Image, l)
	}
	if again := h.Moltctl(append(refresh, "web")...); strings.Contains(again, "changed") || strings.Contains(again, "added") {
		t.Errorf("a second time is not nothing:\n%s", again)
	}
	if r := h.TryMoltctl(append(refresh, "other")...); r.ExitCode != 4 {
		t.Errorf("a container that is not there: %+v", r)
	}
}
