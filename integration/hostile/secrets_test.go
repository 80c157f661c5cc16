// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/integration/inprocess"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// secrets are files that hold what nobody may be told, of the old base, the new base and the user: accounts, keys, and
// configuration of which the user's cannot be read, so that an error is about its content.
func secrets() map[string][3]string {
	const hash = "$6$do-not-read$"
	keys := three("do-not-read 1\n", "do-not-read 2\n", "do-not-read 3\n")
	out := map[string][3]string{
		"etc/shadow":               three("root:*:1::::::\n", "root:"+hash+"base:2::::::\n", "root:"+hash+"user:3::::::\nme:"+hash+":1::::::\n"),
		"etc/passwd":               three(passwd(""), strings.Replace(passwd(""), ":x:", ":"+hash+"1:", 1), strings.Replace(passwd(""), ":x:", ":"+hash+"2:", 1)),
		"etc/gshadow":              three("root:*::\n", "root:"+hash+"1::\n", "root:"+hash+"2::\n"),
		"etc/ssl/private/key.pem":  keys,
		"etc/ssh/ssh_host_rsa_key": keys,
		"etc/app/credentials":      keys,
	}
	for name, broken := range map[string]string{
		"yaml": "password: [do-not-read\n  do-not-read: {", "json": `{"password": "do-not-read" "do-not-read": }`,
		"toml": "password = do-not-read\n[do-not-read\n", "ini": "[do-not-read\npassword = do-not-read\n[[x",
	} {
		whole := map[string]string{
			"yaml": "a: %d\npassword: do-not-read%[1]d\n", "json": `{"a": %d, "password": "do-not-read%[1]d"}`,
			"toml": "a = %d\npassword = \"do-not-read%[1]d\"\n", "ini": "[a]\na = %d\npassword = do-not-read%[1]d\n",
		}[name]
		base := func(version int) string { return fmt.Sprintf(whole, version) }
		out["etc/app/broken."+name] = three(base(1), base(2), broken)
		out["etc/app/both."+name] = three(base(1), base(2), base(3))
	}
	return out
}

// TestSecretsInReports lets both sides change accounts, keys and configuration, and looks for what they hold in what is told.
func TestSecretsInReports(t *testing.T) {
	s := newStage(t, tmpfs(t))
	for side, root := range s.sides() {
		build(t, root, side)
	}
	for name, content := range secrets() {
		s.all(name, content[:]...)
	}
	got := s.service()
	if got.Error != "" {
		t.Fatal(got.Error)
	}
	hides(t, "the report", got.Report)
	hides(t, "what is held", []byte(strings.Join(got.Held, "\n")))
}

// TestSecretsInLogs updates a storage with secrets from one base to the other and back, once as it is and once when that fails,
// and looks for them in what was logged and in all that stands beside the content.
func TestSecretsInLogs(t *testing.T) {
	l := inprocess.GatherLog(t)
	check(t, log.SetLevel("trace"))
	w := newServed(t)
	var ids [2]dag.NodeID
	for side, name := range []string{"old", "new"} {
		mounts, err := w.s.Prepare(t.Context(), "x "+name, "")
		check(t, err)
		w.fill(t, inprocess.Upper(mounts), side)
		check(t, w.s.Commit(t.Context(), name, "x "+name))
		w.s.State().Graph(func(g *dag.Graph) { n, _ := g.Name(name); ids[side] = n.Node })
	}
	for i, name := range []string{"whole", "held"} {
		dir := w.prepare(t, fmt.Sprintf("default/%d/c", i+1), "old", name)
		w.fill(t, dir, 2)
		if name == "held" {
			put(t, dir, "var/lib/dpkg/status", "Package: p\nStatus: install ok half-installed\nDescription: do-not-read\n\n\x00do-not-read", 0o600)
			put(t, dir, "etc/passwd", "do-not-read:do-not-read\n\x00do-not-read", 0o600)
		}
	}
	w.move(t, ids[0], ids[1])
	for _, name := range []string{"default/whole", "default/held"} {
		for path := range secrets() {
			e, err := w.s.Inspector().Explain(t.Context(), name, path)
			hides(t, "what is told of "+path, fmt.Appendf(nil, "%+v %v", e, err))
		}
	}
	if text := l.String(); !strings.Contains(text, "storage serviced") {
		t.Errorf("no update was logged: %s", text)
	} else {
		hides(t, "the log", []byte(text))
	}
	inside(t, w.root)
}

// fill writes a small system with secrets as one side has it.
func (w *served) fill(t *testing.T, dir string, side int) {
	t.Helper()
	build(t, dir, side)
	for name, content := range secrets() {
		put(t, dir, name, content[side], 0o600)
	}
}

// move updates all storages of a base, and waits until that has come to its end.
func (w *served) move(t *testing.T, from, to dag.NodeID) {
	t.Helper()
	id, err := w.s.Updates().Begin(t.Context(), updates.Request{From: from, To: to, FromRef: "old", ToRef: "new"})
	check(t, err)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		var u dag.Update
		w.s.State().Graph(func(g *dag.Graph) { u, _ = g.Update(id) })
		if u.State != dag.Staging && u.State != dag.Staged {
			hides(t, "the update", fmt.Appendf(nil, "%+v", u))
			return
		}
	}
	t.Fatalf("update %v does not come to its end", id)
}
