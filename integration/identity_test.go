// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
	"github.com/molt-snapshotter/molt-snapshotter/integration/image"
)

// TestIdentityStays: what makes an instance itself is neither shared through a base nor replaced by one (C3), whether it
// was made in the container or baked into the old image.
func TestIdentityStays(t *testing.T) {
	t.Parallel()
	h := harness.Start(t)
	for _, v := range []string{"1", "2"} {
		h.Import(named(t, "molt.test/host:"+v, image.Files(
			image.File("etc/machine-id", strings.Repeat(v, 32)+"\n").WithMode(0o444),
			image.File("etc/ssh/ssh_host_rsa_key", "baked "+v+"\n").WithMode(0o600),
			image.File("version", v+"\n"),
		)))
	}
	own, baked := started(h, "molt.test/host:1", "own"), started(h, "molt.test/host:1", "baked")
	shell(own, "echo 12345678901234567890123456789012 >/etc/machine-id; echo own >/etc/ssh/ssh_host_rsa_key; echo own >/etc/ssh/ssh_host_ed25519_key; chmod 600 /etc/ssh/*")
	own.Kill()
	baked.Kill()
	h.Moltctl("update", "create", "--from", "molt.test/host:1", "--to", "molt.test/host:2")
	for _, c := range []*harness.Container{own, baked} {
		c.Start()
		expect(t, c, "cat /version", "2\n")
	}
	expect(t, own, "cat /etc/machine-id /etc/ssh/ssh_host_rsa_key /etc/ssh/ssh_host_ed25519_key; stat -c %a /etc/ssh/ssh_host_rsa_key",
		"12345678901234567890123456789012\nown\nown\n600\n")
	expect(t, baked, "cat /etc/machine-id /etc/ssh/ssh_host_rsa_key; stat -c %a /etc/ssh/ssh_host_rsa_key", strings.Repeat("1", 32)+"\nbaked 1\n600\n")
}

// TestLook: a person can look inside: which node a path comes from, what it hides, how big each node is (D2).
func TestLook(t *testing.T) {
	t.Parallel()
	h := harness.Start(t)
	h.Import(app(t, 1))
	h.Import(app(t, 2))
	c := started(h, appName(1), "web")
	shell(c, customise+"; rm -rf /usr/share/doc; mkdir /usr/share/doc; rm /etc/group")
	c.Kill()
	h.Moltctl("update", "create", "--storage", "web", "--to", appName(2))
	c.Start()
	shell(c, "echo later >/later")

	for command, wants := range map[string][]string{
		"storage ls":                        {"web", "CONTAINER"},
		"storage inspect web":               {"persisted storage, open", "delta storage", "base layer", "delta layer", "KiB"},
		"storage diff web":                  {"/etc/app.conf", "directory, replaced", "deleted", "/later"},
		"storage history web":               {"u1", "applied", "before u1"},
		"layer ls":                          {"delta layer", "base layer", "sha256:"},
		"graph":                             {"Δ", "web", appName(2)},
		"graph --format dot":                {"digraph", "delta storage", "->"},
		"graph --format mermaid":            {"graph BT", "-->"},
		"update report u1":                  {"merge", "/etc/app.conf"},
		"update report u1 /etc/app.conf":    {"verdict", "merge", "sha256:"},
		"--format json storage ls":          {`"storages"`, `"points"`},
		"storage explain web /etc/app.conf": {"n5", "storage", "base", "hidden", "text"},
		"storage audit web":                 {"nothing hidden"},
		"version":                           {"daemon"},
	} {
		out := h.Moltctl(strings.Fields(command)...)
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("moltctl %s does not tell %q:\n%s", command, want, out)
			}
		}
	}
	for command, code := range map[string]int{
		"storage inspect none": 4, "update rollback u9": 4, "update rollback x": 2, "storage rm web": 5, "storage": 0, "update create --to " + appName(1): 2,
		"update create --storage web --to none:1": 4,
	} {
		if r := h.TryMoltctl(strings.Fields(command)...); r.ExitCode != code {
			t.Errorf("moltctl %s exits with %d, not %d: %s", command, r.ExitCode, code, r.Stderr)
		}
	}
	h.KillDaemon()
	if r := h.TryMoltctl("graph"); r.ExitCode != 6 || !strings.Contains(r.Stderr, "containerd-molt-grpc") {
		t.Errorf("without a daemon: %+v", r)
	}
	h.StartDaemon()
}

// TestImageIsUnpacked: an image that an update names is unpacked if it was not.
func TestImageIsUnpacked(t *testing.T) {
	t.Parallel()
	h := harness.Start(t)
	h.Import(app(t, 1))
	h.Ctr("images", "import", "--no-unpack", h.WriteImage(app(t, 2)))
	c := started(h, appName(1), "web")
	shell(c, customise)
	c.Kill()
	h.Moltctl("update", "create", "--from", appName(1), "--to", appName(2))
	c.Start()
	expect(t, c, "app", "app 2\n")
}

// TestUserNamespace: containers with ids of their own run, by containerd's way for snapshotters that do not remap ids.
func TestUserNamespace(t *testing.T) {
	t.Parallel()
	h := harness.Start(t)
	h.Import(app(t, 1))
	out := h.Ctr("run", "--rm", "--snapshotter", h.Snapshotter, "--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536",
		appName(1), "userns", "sh", "-c", "app; cat /proc/self/uid_map; echo x >/own; stat -c %u /own")
	if !strings.HasPrefix(out, "app 1\n") || !strings.Contains(out, "100000") || !strings.HasSuffix(out, "\n0\n") {
		t.Errorf("got %q", out)
	}
}
