// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// diffSides are the contents of a path on each side, "-" for nothing, and of one called was in the old base and the storage.
type diffSides struct {
	name, was    string
	old, next    string
	user, result string
	mode         os.FileMode // of the storage's
	prepare      func(t *testing.T, root string)
	diffs        []string // as [diffed] writes them
	unapplied    bool
}

// input writes the sides, each to a directory of its own.
func (c diffSides) input(t *testing.T) DiffInput {
	t.Helper()
	was := c.name
	if c.was != "" {
		was = c.was
	}
	side := func(name, path, content string, mode os.FileMode) tree.Stack {
		root := filepath.Join(t.TempDir(), name)
		file := filepath.Join(root, path)
		err := os.MkdirAll(filepath.Dir(file), 0o755)
		if content != "-" {
			err = errors.Join(err, os.WriteFile(file, []byte(content), 0o600), os.Chmod(file, mode))
		}
		if err != nil {
			t.Fatal(err)
		}
		return tree.Stack{root}
	}
	mode := c.mode
	if mode == 0 {
		mode = 0o644
	}
	in := DiffInput{Old: side("old", was, c.old, 0o644), New: side("new", c.name, c.next, 0o644), User: side("user", was, c.user, mode)}
	if !c.unapplied {
		in.Result = side("result", c.name, c.result, 0o644)
	}
	if c.prepare != nil {
		c.prepare(t, in.User[0])
	}
	return in
}

// diffed writes what was found in short: the lines that changed, or why there is no diff.
func diffed(d *PathDiff) (out []string) {
	for _, one := range d.Diffs {
		text := one.Why
		for line := range strings.Lines(one.Text) {
			if strings.HasPrefix(line, "-") || strings.HasPrefix(line, "+") || strings.HasPrefix(line, "@@") {
				text += strings.TrimSuffix(line, "\n") + "|"
			}
		}
		out = append(out, text)
	}
	return out
}

func all(why string) []string { return []string{why, why, why} }

func TestDiffPath(t *testing.T) {
	huge := strings.Repeat("x\n", comparedSize/2) + "y"
	long := strings.Repeat("a line\n", comparedSize/10)
	for name, c := range map[string]diffSides{
		"text": {name: "etc/conf", old: "a\nb\nc\n", next: "a\nb\nC\n", user: "A\nb\nc\n", result: "A\nb\nC\n", diffs: []string{
			"--- old base|+++ new base|@@ -1,3 +1,3 @@|-c|+C|", "--- old base|+++ storage|@@ -1,3 +1,3 @@|-a|+A|", "--- storage|+++ result|@@ -1,3 +1,3 @@|-c|+C|"}},
		"the same": {name: "f", old: "a", next: "b", user: "a", result: "a", diffs: []string{
			"--- old base|+++ new base|@@ -1 +1 @@|-a|+b|", "the content is the same", "the content is the same"}},
		"comes and goes": {name: "f", old: "-", next: "n\n", user: "-", result: "n\n", diffs: []string{
			"--- old base|+++ new base|@@ -0,0 +1 @@|+n|", "it is in neither of them", "--- storage|+++ result|@@ -0,0 +1 @@|+n|"}},
		"empty": {name: "f", old: "-", next: "", user: "", result: "", diffs: []string{
			"one of them is empty, and the other one is not there", "one of them is empty, and the other one is not there", "the content is the same"}},
		"not applied": {name: "f", old: "a\n", next: "a\n", user: "b\n", unapplied: true, diffs: []string{
			"the content is the same", "--- old base|+++ storage|@@ -1 +1 @@|-a|+b|"}},
		"another path": {name: "usr/f", was: "f", old: "a\n", next: "a\n", user: "b\n", result: "b\n", diffs: []string{
			"the content is the same", "--- old base|+++ storage|@@ -1 +1 @@|-a|+b|", "the content is the same"}},
		"binary": {name: "f", old: "a", next: "a\x00", user: "b", result: "\xff", diffs: []string{
			"it is binary in the new base", "--- old base|+++ storage|@@ -1 +1 @@|-a|+b|", "it is binary in the result"}},
		"the same binary": {name: "f", old: "\x00", next: "\x00", user: "\x00", result: "\x00", diffs: all("the content is the same")},
		"huge": {name: "f", old: "a", next: huge, user: "b", result: huge, diffs: []string{
			"it is larger than 256 KiB in the new base", "--- old base|+++ storage|@@ -1 +1 @@|-a|+b|", "it is larger than 256 KiB in the result"}},
		"a huge diff": {name: "f", old: "-", next: long, user: "-", result: long, diffs: []string{
			"the diff is larger than 128 KiB", "it is in neither of them", "the diff is larger than 128 KiB"}},
		"shadow":            {name: "etc/shadow-", old: "a", next: "b", user: "c", result: "d", diffs: all("it is one of those that hold secrets in the old base")},
		"gshadow":           {name: "etc/gshadow", old: "-", next: "b", user: "-", result: "d", diffs: all("it is one of those that hold secrets in the new base")},
		"host key":          {name: "etc/ssh/ssh_host_rsa_key", old: "-", next: "-", user: "c", result: "-", diffs: all("it is one of those that hold secrets in the storage")},
		"another key":       {name: "f", old: "a", next: "b", user: "-----BEGIN EC PRIVATE KEY-----\n", result: "c", diffs: all("it holds a private key in the storage")},
		"a key in a binary": {name: "f", old: "a", next: "b", user: "c", result: "\x00PRIVATE KEY", diffs: all("it holds a private key in the result")},
		"private":           {name: "f", old: "a", next: "b", user: "c", result: "d", mode: 0o640, diffs: all("not everybody may read it in the storage")},
		"huge and private":  {name: "f", old: "a", next: "b", user: huge, result: "d", mode: 0o600, diffs: all("not everybody may read it in the storage")},
		"in a private directory": {name: "home/me/d/f", old: "a", next: "b", user: "c", result: "d", prepare: func(t *testing.T, root string) {
			if err := os.Chmod(filepath.Join(root, "home/me"), 0o750); err != nil {
				t.Fatal(err)
			}
		}, diffs: all("it is in a directory that not everybody may enter in the storage")},
		"a link out": {name: "f", old: "a", next: "a", user: "-", result: "a", prepare: func(t *testing.T, root string) {
			if err := os.Symlink("/etc/hostname", filepath.Join(root, "f")); err != nil {
				t.Fatal(err)
			}
		}, diffs: []string{"the content is the same", "it is a symbolic link in the storage", "it is a symbolic link in the storage"}},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := DiffPath(t.Context(), c.input(t), c.name, c.was)
			if err != nil {
				t.Fatal(err)
			}
			if got := diffed(d); !slices.Equal(got, c.diffs) {
				t.Errorf("got\n%q\nwant\n%q", got, c.diffs)
			}
		})
	}
}

// TestDiffPathSides: what is on each side is told, also where no content is.
func TestDiffPathSides(t *testing.T) {
	c := diffSides{name: "new/f", was: "f", old: "-", next: "abc", user: "\x1b", result: "abc", mode: 0o640}
	d, err := DiffPath(t.Context(), c.input(t), c.name, c.was)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range d.Sides {
		got = append(got, fmt.Sprintf("%s %s %s %s %d", s.Side, s.At, s.What, s.Mode, s.Size))
	}
	want := []string{"old base f   0", "new base  regular file 0644 3", "storage f regular file 0640 1", "result  regular file 0644 3"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestDiffPathOutside: a link on the way leads nowhere.
func TestDiffPathOutside(t *testing.T) {
	outside, root := t.TempDir(), t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(outside, "f"), []byte("outside\n"), 0o600), os.Chmod(filepath.Join(outside, "f"), 0o644),
		os.Symlink(outside, filepath.Join(root, "d"))); err != nil {
		t.Fatal(err)
	}
	side := tree.Stack{root}
	d, err := DiffPath(t.Context(), DiffInput{Old: tree.Stack{t.TempDir()}, New: side, User: side, Result: side}, "d/f", "")
	if err != nil {
		t.Fatal(err)
	}
	if got := diffed(d); !slices.Equal(got, all("it is in neither of them")) {
		t.Errorf("got %q", got)
	}
}

func TestDiffPathCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := DiffPath(ctx, DiffInput{}, "f", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestDiffPathSize: however the content looks, the answer fits in one message, and is there soon.
func TestDiffPathSize(t *testing.T) {
	var old, next strings.Builder
	for i := range diffSize / 2 / 10 {
		fmt.Fprintf(&old, "<%07d\n", i)
		fmt.Fprintf(&next, "<%07d\n", i+i%2)
	}
	c := diffSides{name: "f", old: old.String(), next: next.String(), user: next.String(), result: old.String()}
	d, err := DiffPath(t.Context(), c.input(t), c.name, c.was)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Diffs[0].Text) < diffSize/4 || len(data) > 4<<20 {
		t.Errorf("a diff of %d bytes, an answer of %d", len(d.Diffs[0].Text), len(data))
	}
}
