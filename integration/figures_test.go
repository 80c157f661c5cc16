// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
)

// line returns the line of a text that begins with a word, its blanks made one each; empty if there is none.
func line(text, first string) string {
	for l := range strings.SplitSeq(text, "\n") {
		if fields := strings.Fields(l); len(fields) > 0 && fields[0] == first {
			return strings.Join(fields, " ")
		}
	}
	return ""
}

// TestFigures3Cand4A: containers on one base layer (3A), an update (3B), a new container by the old name that stands on the delta
// layer (3C), and the rollback of the update, which names that container and takes it along, and after which a new container
// stands on the base layer (4A).
func TestFigures3Cand4A(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, harness.WithDaemonConfig("[servicing]\ngrace = \"500ms\"\nnew_containers = \"newest\"\n"))
	h.Import(app(t, 1))
	h.Import(app(t, 2))
	one := started(h, appName(1), "c1")
	expect(t, one, "app", "app 1\n")
	shell(one, customise)
	one.Kill()
	h.Moltctl("update", "create", "--from", appName(1), "--to", appName(2))

	three := started(h, appName(1), "c3")
	expect(t, three, "app", "app 2\n")
	shell(three, "echo 43 >/answer; sed -i s/80/8080/ /etc/app.conf")
	if got := line(h.Moltctl("storage", "history", "c3"), "begun"); !strings.Contains(got, "u1 leads there") {
		t.Errorf("the history of c3 says %q", got)
	}
	restart(three)
	expect(t, three, "app; cat /answer", "app 2\n43\n")
	three.Kill()

	// Rolled back exactly, and what was written since and the delta storage are gone at once.
	back := h.Moltctl("update", "rollback", "u1", "--discard", "--with-new")
	for storage, want := range map[string]string{"c1": "rolled back", "c3": "taken along by u2"} {
		if got := line(back, h.Namespace+"/"+storage); got != h.Namespace+"/"+storage+" "+want {
			t.Errorf("the rollback says %q of %s", got, storage)
		}
	}
	expectOutcome(t, h, "u1", "c1", "rolled-back -")
	if got := h.Moltctl("storage", "history", "c1"); strings.Contains(got, "set aside") {
		t.Errorf("after the rollback with --discard, the history is\n%s", got)
	}
	if g := graphOf(t, h); g.deltaLayers() != 0 {
		t.Errorf("there are delta layers although no update leads to them:\n%s", h.Moltctl("graph"))
	}
	one.Start()
	three.Start()
	expect(t, one, "app; cat /var/data/answer", "app 1\n42\n")
	expect(t, three, "app; cat /answer; grep -c 8080 /etc/app.conf; grep -c 'workers = 1' /etc/app.conf", "app 1\n43\n1\n1\n")
	expect(t, started(h, appName(1), "c4"), "app", "app 1\n")
}

// TestContainersMadeLater: they stand on the base that they name, which is told; a standing update takes them in, also after a
// restart of the daemon, until it is cancelled.
func TestContainersMadeLater(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, impatient())
	h.Import(app(t, 1))
	h.Import(app(t, 2))
	started(h, appName(1), "first").Kill()
	h.Moltctl("update", "create", "--from", appName(1), "--to", appName(2))
	late := started(h, appName(1), "late")
	expect(t, late, "app", "app 1\n")
	if got := line(h.Moltctl("storage", "ls"), h.Namespace+"/late"); !strings.Contains(got, "outdated: u1 leads to ") {
		t.Errorf("storage ls says %q", got)
	}
	if got := h.Moltctl("update", "inspect", "u1"); !strings.Contains(got, "1 container was made on the old base since") {
		t.Errorf("the update shows\n%s", got)
	}
	late.Kill()
	h.Moltctl("update", "create", "--from", appName(1), "--to", appName(2), "--standing")
	h.RestartDaemon()
	expect(t, started(h, appName(1), "later"), "app", "app 2\n")
	expectOutcome(t, h, "u2", "later", "applied")
	h.Moltctl("update", "cancel", "u2")
	expect(t, started(h, appName(1), "last"), "app", "app 1\n")
}
