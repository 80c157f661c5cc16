// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// etcCase is a case of the list of cases, in /etc: the only directory that ostree merges. Paths are relative to it.
type etcCase struct {
	id, what string
	old, new files
	user     func(t *testing.T, etc string)
	right    files
	xattrs   map[string]string // by path, what user.a must be
}

const (
	text      = "1\n2\n3\n4\n5\n6\n7\n8\n"
	textNew   = "one\n2\n3\n4\n5\n6\n7\n8\n"
	textMine  = "1\n2\n3\n4\n5\n6\n7\neight\n"
	textBoth  = "one\n2\n3\n4\n5\n6\n7\neight\n"
	textClash = "ONE\n2\n3\n4\n5\n6\n7\n8\n"
	root      = "root:x:0:0:root:/root:/bin/sh\n"
	mine      = "mine:x:1000:1000::/home/mine:/bin/sh\n"
	service1  = "svc:x:990:990::/:/usr/sbin/nologin\n"
)

// label names the contents that are long.
func label(what string) string {
	for content, name := range map[string]string{
		text: "the old text", textNew: "the new text", textMine: "the user's text", textBoth: "both changes", textClash: "the user's text",
		root: "root", root + mine: "root, mine", root + service1: "root, svc", root + mine + service1: "root, mine, svc", root + service1 + mine: "root, svc, mine",
		"": "nothing",
	} {
		mode, rest, _ := strings.Cut(what, " ")
		if what == content {
			return name
		}
		if rest == content && rest != "" {
			return mode + " " + name
		}
	}
	return strings.TrimSpace(what)
}

func does(steps ...func(t *testing.T, etc string)) func(*testing.T, string) {
	return func(t *testing.T, etc string) {
		for _, step := range steps {
			step(t, etc)
		}
	}
}

func puts(name, what string) func(*testing.T, string) {
	return func(t *testing.T, etc string) { put(t, etc, name, what) }
}

func removes(name string) func(*testing.T, string) { return puts(name, "") }

func touches(name string) func(*testing.T, string) {
	return func(t *testing.T, etc string) {
		full := filepath.Join(etc, name)
		content, err := os.ReadFile(full)
		must(t, err)
		must(t, os.WriteFile(full, content, 0o644))
	}
}

func chmods(name string, mode uint32) func(*testing.T, string) {
	return func(t *testing.T, etc string) { must(t, unix.Chmod(filepath.Join(etc, name), mode)) }
}

func links(name, other string) func(*testing.T, string) {
	return func(t *testing.T, etc string) {
		must(t, os.Link(filepath.Join(etc, other), filepath.Join(etc, name)))
	}
}

func marks(name, value string) func(*testing.T, string) {
	return func(t *testing.T, etc string) {
		must(t, unix.Setxattr(filepath.Join(etc, name), "user.a", []byte(value), 0))
	}
}

// beside is where molt puts the versions that are not in force, as seen from /etc.
const beside = "../var/lib/molt/beside/"

func etcCases() []etcCase {
	return []etcCase{
		{id: "A1", what: "written, not changed", old: files{"a": "old"}, new: files{"a": "new"}, user: touches("a"), right: files{"a": "new"}},
		{id: "A2", what: "changed by the user", old: files{"a": "old"}, new: files{"a": "old", "b": "new"}, user: puts("a", "mine"), right: files{"a": "mine", "b": "new"}},
		{id: "A3", what: "changed to the same", old: files{"a": "old"}, new: files{"a": "new"}, user: puts("a", "new"), right: files{"a": "new"}},
		{id: "A4", what: "text, changes apart", old: files{"a": text}, new: files{"a": textNew}, user: puts("a", textMine), right: files{"a": textBoth}},
		{id: "A5", what: "text, changes overlap", old: files{"a": text}, new: files{"a": textNew}, user: puts("a", textClash), right: files{"a": textClash, beside + "new/etc/a": textNew}},
		{id: "A6", what: "binary, changed on both sides", old: files{"a": "\x00old"}, new: files{"a": "\x00new"}, user: puts("a", "\x00mine"), right: files{"a": "\x00mine", beside + "new/etc/a": "\x00new"}},
		{id: "A7", what: "only the mode changed by the user", old: files{"a": "0644 old"}, new: files{"a": "0644 new"}, user: chmods("a", 0o600), right: files{"a": "0600 new"}},
		{id: "R5", what: "edited by the user, tightened by the base", old: files{"a": "0644 old"}, new: files{"a": "0600 old"}, user: puts("a", "0644 mine"), right: files{"a": "0600 mine"}},
		{id: "B1", what: "deleted by the user, changed by the base", old: files{"a": "old", "b": "1"}, new: files{"a": "new", "b": "1"}, user: removes("a"), right: files{"a": "", "b": "1"}},
		{id: "B3", what: "edited by the user, deleted by the base", old: files{"a": "old", "b": "1"}, new: files{"b": "1"}, user: puts("a", "mine"), right: files{"a": "mine"}},
		{id: "B4", what: "directory deleted, the base adds to it", old: files{"d/a": "1"}, new: files{"d/a": "1", "d/new": "1"}, user: removes("d"), right: files{"d/a": "", "d/new": "1"}},
		{id: "B5", what: "directory deleted and made anew", old: files{"d/a": "1"}, new: files{"d/a": "1", "d/new": "1"}, user: does(removes("d"), puts("d/mine", "1")), right: files{"d/a": "", "d/new": "1", "d/mine": "1"}},
		{id: "C1", what: "directory became a link", old: files{"d/a": "1", "e/x": "1"}, new: files{"d": "-> e", "e/x": "1", "e/a": "2"}, user: puts("d/mine", "1"), right: files{"d": "-> e", "e/a": "2", "e/x": "1", "e/mine": "1"}},
		{id: "C3", what: "file replaced by a link", old: files{"a": "old"}, new: files{"a": "new"}, user: puts("a", "-> b"), right: files{"a": "-> b"}},
		{id: "C4", what: "directory replaced by a link", old: files{"d/a": "1", "x": "1"}, new: files{"d/a": "2", "x": "2"}, user: puts("d", "-> srv"), right: files{"d": "-> srv", "x": "2"}},
		{id: "C5", what: "directory became a file", old: files{"d/a": "1", "x": "1"}, new: files{"d": "file", "x": "2"}, user: puts("d/mine", "1"), right: files{"d": "file", beside + "old/etc/d/mine": "1", "x": "2"}},
		{id: "C7", what: "file became a directory", old: files{"a": "old", "x": "1"}, new: files{"a/b": "new", "x": "2"}, user: puts("a", "mine"), right: files{"a/b": "new", beside + "old/etc/a": "mine", "x": "2"}},
		{id: "C11", what: "a FIFO of the user's", old: files{"x": "1"}, new: files{"x": "2"}, user: puts("fifo", "fifo"), right: files{"fifo": "fifo", "x": "2"}},
		{id: "R14", what: "hard links made by the user", old: files{"x": "1"}, new: files{"x": "2"}, user: does(puts("l1", "1"), links("l2", "l1")), right: files{"l1": "1", "l2": "= l1"}},
		{id: "R14", what: "a second name for a file that the base changed", old: files{"a": text}, new: files{"a": textNew}, user: does(puts("a", textMine), links("l", "a")), right: files{"a": textBoth, "l": "= a"}},
		{id: "R2", what: "only an attribute changed by the user", old: files{"a": "old"}, new: files{"a": "new"}, user: marks("a", "mine"), right: files{"a": "new"}, xattrs: map[string]string{"a": "mine"}},
		{id: "R2", what: "content and attribute changed by the user", old: files{"a": "old"}, new: files{"a": "old", "b": "1"}, user: does(puts("a", "mine"), marks("a", "mine")), right: files{"a": "mine"}, xattrs: map[string]string{"a": "mine"}},
		{id: "H9", what: "setuid program of the user's", old: files{"x": "1"}, new: files{"x": "2"}, user: puts("p", "4755 mine"), right: files{"p": "4755 mine"}},
		{id: "E1", what: "accounts added on both sides", old: files{"passwd": root}, new: files{"passwd": root + service1}, user: puts("passwd", root+mine), right: files{"passwd": root + mine + service1}},
		{id: "F8", what: "machine-id from the base, never changed", old: files{"machine-id": "aaaa\n"}, new: files{"machine-id": "bbbb\n"}, user: puts("x", "1"), right: files{"machine-id": "aaaa\n"}},
	}
}

// outcome is how one system ended in one case.
type outcome struct {
	text  string
	right bool
}

// judge compares what stands in a directory with what is right.
func (c etcCase) judge(t *testing.T, etc string) outcome {
	t.Helper()
	var out []string
	right := true
	for _, name := range slices.Sorted(maps.Keys(c.right)) {
		got := look(t, etc, name, c.right[name])
		right = right && got == c.right[name]
		out = append(out, name+": "+strings.ReplaceAll(label(got), "\x00", "binary "))
	}
	for name, want := range c.xattrs {
		value := make([]byte, 64)
		n, err := unix.Getxattr(filepath.Join(etc, name), "user.a", value)
		got := "none"
		if err == nil {
			got = string(value[:n])
		}
		right = right && got == want
		out = append(out, name+" attribute: "+got)
	}
	return outcome{strings.Join(out, ", "), right}
}

// throughMolt services a storage with the engine.
func (c etcCase) throughMolt(t *testing.T) (out outcome) {
	t.Helper()
	old, base := tempDir(t), tempDir(t)
	below(c.old, "etc").build(t, old)
	below(c.new, "etc").build(t, base)
	report := serviced(t, old, base, servicing.Options{}, func(root string) { c.user(t, filepath.Join(root, "etc")) },
		func(root string) { out = c.judge(t, filepath.Join(root, "etc")) })
	if len(report.Holds) > 0 {
		return outcome{text: "held: " + report.Holds[0].Message}
	}
	return out
}

// below puts files into a directory.
func below(f files, dir string) files {
	out := files{dir: "dir"}
	for name, what := range f {
		if other, ok := strings.CutPrefix(what, "= "); ok {
			what = "= " + dir + "/" + other
		}
		out[dir+"/"+name] = what
	}
	return out
}

// sysroot is a system root of ostree without a running system.
type sysroot struct {
	t   *testing.T
	dir string
}

// run runs ostree; the error holds what it said.
func (s sysroot) run(args ...string) error {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), "ostree", args...)
	// Deployments may be written to: they are on no read-only mount here.
	cmd.Env = append(os.Environ(), "OSTREE_SYSROOT_DEBUG=mutable-deployments", "LC_ALL=C")
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s", strings.TrimSpace(said.String()))
	}
	return nil
}

// branch is no hexadecimal number: ostree would take it for the beginning of a checksum.
const branch = "testing"

// deploy commits a tree whose default configuration is in f, and deploys it; the configuration of the deployment before is
// merged. It returns the configuration of the new deployment.
func (s sysroot) deploy(f files) (string, error) {
	s.t.Helper()
	whole := below(f, "usr/etc")
	maps.Copy(whole, files{"usr/lib/os-release": "ID=evidence\n", "usr/lib/modules/1/vmlinuz": "kernel", "usr/lib/modules/1/initramfs.img": "initramfs"})
	dir := tempDir(s.t)
	whole.build(s.t, dir)
	before := s.deployments()
	must(s.t, s.run("--repo="+filepath.Join(s.dir, "ostree/repo"), "commit", "--branch="+branch, "--subject=evidence", "--tree=dir="+dir))
	if err := s.run("admin", "deploy", "--sysroot="+s.dir, "--os=test", branch); err != nil {
		return "", err
	}
	for _, one := range s.deployments() {
		if slices.Contains(before, one) {
			continue
		}
		for name, what := range f { // so that what is judged is what was meant
			if got := look(s.t, filepath.Join(one, "usr/etc"), name, ""); !strings.HasSuffix(what, got) {
				s.t.Fatalf("the default %s of the new deployment is %q, not %q", name, got, what)
			}
		}
		return filepath.Join(one, "etc"), nil
	}
	s.t.Fatal("there is no new deployment")
	return "", nil
}

func (s sysroot) deployments() []string {
	s.t.Helper()
	all, err := filepath.Glob(filepath.Join(s.dir, "ostree/deploy/test/deploy/*.[0-9]"))
	must(s.t, err)
	return all
}

// throughOSTree deploys the old tree, lets the user work in its configuration, and deploys the new one.
func (c etcCase) throughOSTree(t *testing.T) outcome {
	t.Helper()
	s := sysroot{t, tempDir(t)}
	must(t, s.run("admin", "init-fs", s.dir))
	must(t, s.run("admin", "os-init", "--sysroot="+s.dir, "test"))
	etc, err := s.deploy(c.old)
	must(t, err)
	c.user(t, etc)
	updated, err := s.deploy(c.new)
	if err != nil {
		_, reason, _ := strings.Cut(err.Error(), "error: ")
		return outcome{text: "the whole update fails: " + reason}
	}
	return c.judge(t, updated)
}

// throughOverlay only puts the storage over the new base.
func (c etcCase) throughOverlay(t *testing.T) (out outcome) {
	t.Helper()
	old, base, upper := tempDir(t), tempDir(t), filepath.Join(tempDir(t), "fs")
	below(c.old, "etc").build(t, old)
	below(c.new, "etc").build(t, base)
	must(t, os.Mkdir(upper, 0o755))
	mounted(t, upper, []string{old}, func(root string) { c.user(t, filepath.Join(root, "etc")) })
	must(t, tree.Seal(context.Background(), upper))
	mounted(t, "", []string{upper, base}, func(root string) { out = c.judge(t, filepath.Join(root, "etc")) })
	return out
}

// TestAgainstOSTree puts the same cases through ostree's merge of /etc, through molt's engine, and through a plain overlay on
// the new base, and prints a table.
func TestAgainstOSTree(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	if _, err := exec.LookPath("ostree"); err != nil {
		t.Skip("ostree is not installed: apt-get install ostree")
	}
	var table strings.Builder
	table.WriteString("| case | | ostree | | plain overlay | | molt | |\n|---|---|---|---|---|---|---|---|\n")
	var counts [3]int
	cases := etcCases()
	for _, c := range cases {
		all := [3]outcome{c.throughOSTree(t), c.throughOverlay(t), c.throughMolt(t)}
		fmt.Fprintf(&table, "| %s | %s |", c.id, c.what)
		for i, one := range all {
			mark := "wrong"
			if one.right {
				mark = "right"
				counts[i]++
			}
			fmt.Fprintf(&table, " %s | %s |", one.text, mark)
		}
		table.WriteString("\n")
		if !all[2].right {
			t.Errorf("%s, %s: molt ends with %s, right is %v", c.id, c.what, all[2].text, c.right)
		}
	}
	fmt.Fprintf(&table, "| | right, of %d | | %d | | %d | | %d |\n", len(cases), counts[0], counts[1], counts[2])
	t.Logf("\n%s", table.String())
}
