// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
	"github.com/molt-snapshotter/molt-snapshotter/integration/image"
)

// debianClean is what Debian's own checks say nothing about in a container whose packages are as they should be.
const debianClean = `set -e; test -z "$(dpkg --audit)"; apt-get check -q >/dev/null; dpkg --verify | grep -v ' c /etc/' || true`

// TestK16 installs git in Debian, with the perl that needs the very version of perl-base, and brings the security updates: all of them
// are applied but those of perl, which every command says until apt has brought them in the container.
func TestK16(t *testing.T) {
	t.Parallel()
	harness.Require(t)
	trees := debianTrees(t)
	h := harness.Start(t, impatient())
	h.Import(image.Bare("molt.test/debian:old", image.Tree(filepath.Join(trees, "old"))))
	h.Import(image.Bare("molt.test/debian:new", image.Tree(filepath.Join(trees, "new"))))
	c := h.Create(harness.ContainerSpec{
		ID: "git", Image: "molt.test/debian:old", Labels: map[string]string{labelStorage: "git"},
		Options: []oci.SpecOpts{oci.WithHostNamespace(specs.NetworkNamespace), oci.WithHostResolvconf, oci.WithHostHostsFile},
	})
	c.Start()
	shell(c, "export DEBIAN_FRONTEND=noninteractive; apt-get update -q >/dev/null && apt-get install -y -q git >/dev/null 2>&1; git --version >/dev/null")
	c.Kill()

	dry := h.TryMoltctl("update", "create", "--dry-run", "--storage", "git", "--to", "molt.test/debian:new")
	if dry.ExitCode != 3 || !strings.Contains(dry.Stdout, "perl-base") {
		t.Errorf("the dry run: %+v", dry)
	}
	r := h.TryMoltctl("update", "create", "--storage", "git", "--to", "molt.test/debian:new")
	waits := regexp.MustCompile(`applied, 1 fix waits`)
	if r.ExitCode != 3 || len(waits.FindAllString(r.Stdout, -1)) != 2 { // of the update, and of its storage
		t.Fatalf("the update: %+v", r)
	}
	for _, command := range [][]string{{"update", "ls"}, {"update", "inspect", "u" + lastUpdate(h)}, {"storage", "history", "git"}, {"storage", "inspect", "git"}} {
		if out := h.Moltctl(command...); !waits.MatchString(out) {
			t.Errorf("moltctl %s does not say that a fix waits:\n%s", strings.Join(command, " "), out)
		}
	}
	audit := h.TryMoltctl("storage", "audit", "git")
	do := regexp.MustCompile(`to do in the container: (.*)`).FindStringSubmatch(audit.Stdout)
	if audit.ExitCode != 3 || do == nil {
		t.Fatalf("the audit: %+v", audit)
	}
	c.Start()
	expect(t, c, debianClean, "")
	expect(t, c, "git --version >/dev/null && openssl version | cut -d' ' -f1", "OpenSSL\n")
	shell(c, "export DEBIAN_FRONTEND=noninteractive; ("+strings.ReplaceAll(do[1], "install", "install -y -q")+") >/dev/null 2>&1")
	expect(t, c, debianClean, "")
	c.Kill()
	if out := h.TryMoltctl("storage", "audit", "git"); strings.Contains(out.Stdout, "perl") {
		t.Errorf("the audit after the command that it named: %+v", out)
	}
}
