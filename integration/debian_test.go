// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
	"github.com/molt-snapshotter/molt-snapshotter/integration/image"
)

// TestDebian is the real one: a Debian container in which packages were installed and files edited gets the security
// updates of its base, from an image that was rebuilt and from one that is layers on top of the old one, and goes back.
func TestDebian(t *testing.T) {
	t.Parallel()
	harness.Require(t)
	trees := debianTrees(t)
	h := harness.Start(t, impatient())
	old, updated := image.Tree(filepath.Join(trees, "old")), image.Tree(filepath.Join(trees, "new"))
	h.Import(image.Bare("molt.test/debian:old", old))
	h.Import(image.Bare("molt.test/debian:rebuilt", updated))
	h.Import(image.Bare("molt.test/debian:layered", old, image.Tree(filepath.Join(trees, "upper"))))
	version := sslVersion(t, filepath.Join(trees, "new"))

	c := h.Create(harness.ContainerSpec{
		ID: "web", Image: "molt.test/debian:old", Labels: map[string]string{labelStorage: "web"},
		Options: []oci.SpecOpts{oci.WithHostNamespace(specs.NetworkNamespace), oci.WithHostResolvconf, oci.WithHostHostsFile},
	})
	c.Start()
	inDebian(t, c, "customise.sh")
	if t.Failed() {
		t.FailNow()
	}
	c.Kill()
	before := listed(t, c)

	for _, to := range []string{"molt.test/debian:rebuilt", "molt.test/debian:layered"} {
		t.Run(to, func(t *testing.T) {
			h, c := h.For(t), c.For(t)
			h.Moltctl("update", "create", "--storage", "web", "--to", to)
			update := "u" + lastUpdate(h)
			c.Start()
			inDebian(t, c, "check.sh", version)
			expect(t, c, "apt-get update -q >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends hello >/dev/null && hello", "Hello, world!\n")
			shell(c, "echo later >/srv/data/later")
			c.Kill()
			t.Log(h.Moltctl("update", "report", "--storage", "web", update))
			if r := h.TryMoltctl("storage", "audit", "web"); r.ExitCode != 3 || !strings.Contains(r.Stdout, "/usr/share/doc/openssl/changelog.gz") {
				t.Errorf("the audit does not tell of the deleted documents: %+v", r)
			}

			h.Moltctl("update", "rollback", "--storage", "web", update)
			sameTree(t, "exact rollback", listed(t, c), before)

			h.Moltctl("update", "create", "--storage", "web", "--to", to)
			c.Start()
			shell(c, "echo later >/srv/data/later; echo '# later' >>/etc/ssh/sshd_config")
			c.Kill()
			h.Moltctl("update", "rollback", "--carry", "--storage", "web", "u"+lastUpdate(h))
			c.Start()
			expect(t, c, "cat /srv/data/later; tail -n 1 /etc/ssh/sshd_config", "later\n# later\n")
			inDebian(t, c, "check.sh", sslVersion(t, filepath.Join(trees, "old")))
			shell(c, "rm /srv/data/later; sed -i '$d' /etc/ssh/sshd_config")
			c.Kill()
			before = listed(t, c)
		})
	}
}

// treesInMaking is held while the trees are made, which several tests need.
var treesInMaking sync.Mutex

// debianTrees makes the trees, or finds them made.
func debianTrees(t *testing.T) string {
	t.Helper()
	treesInMaking.Lock()
	defer treesInMaking.Unlock()
	dir, err := filepath.Abs("../.cache/debian")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "debian/trees.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("make the Debian trees: %v\n%s", err, out)
	}
	return dir
}

// sslVersion returns the version of libssl3 in a tree.
func sslVersion(t *testing.T, tree string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "dpkg-query", "--admindir", filepath.Join(tree, "var/lib/dpkg"), "-W", "-f", "${Version}", "libssl3").Output()
	if err != nil {
		t.Fatalf("version of libssl3 in %s: %v", tree, err)
	}
	return string(out)
}

// inDebian runs a script of the folder debian in a container.
func inDebian(t *testing.T, c *harness.Container, script string, args ...string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("debian", script))
	if err != nil {
		t.Fatal(err)
	}
	r := c.TryExec(append([]string{"sh", "-c", string(text), script}, args...)...)
	if r.ExitCode != 0 {
		t.Errorf("%s %s: exit code %d\n%s\n%s", script, strings.Join(args, " "), r.ExitCode, r.Stdout, r.Stderr)
	}
}
