// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package hostile holds attempts of containers to get out of their storage, or to harm the root process that services it.
// What is outside is watched: whoever opens a file there, or changes one, is seen.
package hostile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/integration/inprocess"
)

// secret is what no storage, report or message may ever hold.
const secret = "canary:$6$SECRET$do-not-read:0:0::/:/bin/sh\n"

// canary is a tree outside all storages.
type canary struct {
	t     *testing.T
	dir   string
	watch int
	state string
}

func newCanary(t *testing.T) *canary {
	t.Helper()
	needRoot(t)
	c := &canary{t: t, dir: filepath.Join(t.TempDir(), "outside")}
	for _, dir := range []string{"", "/etc", "/var/lib/dpkg/info", "/lib/apk/db", "/d"} {
		check(t, os.MkdirAll(c.dir+dir, 0o755))
	}
	for _, file := range []string{"file", "etc/passwd", "etc/shadow", "var/lib/dpkg/status", "var/lib/dpkg/info/a.list", "lib/apk/db/installed", "d/file"} {
		check(t, os.WriteFile(filepath.Join(c.dir, file), []byte(secret), 0o644))
	}
	check(t, unix.Mkfifo(c.dir+"/fifo", 0o666))
	check(t, unix.Mknod(c.dir+"/zero", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))))
	c.state = c.look()
	var err error
	c.watch, err = unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	check(t, err)
	t.Cleanup(func() { check(t, unix.Close(c.watch)) })
	c.guard(c.dir)
	return c
}

// events are what nobody may do: metadata is not asked about, it tells nothing that a container does not know.
const events = unix.IN_OPEN | unix.IN_ACCESS | unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_CREATE | unix.IN_DELETE |
	unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF

// guard watches a file or all directories and files of a tree.
func (c *canary) guard(root string) {
	c.t.Helper()
	check(c.t, filepath.WalkDir(root, func(name string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		_, err = unix.InotifyAddWatch(c.watch, name, events|unix.IN_DONT_FOLLOW)
		return err
	}))
	c.seen() // walking the directories opened them
}

// seen returns what happened in guarded places since it was asked last.
func (c *canary) seen() []string {
	c.t.Helper()
	var out []string
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(c.watch, buf)
		if errors.Is(err, unix.EAGAIN) {
			return out
		}
		check(c.t, err)
		for at := 0; at < n; {
			e := (*unix.InotifyEvent)(unsafe.Pointer(&buf[at]))
			name := buf[at+unix.SizeofInotifyEvent : at+unix.SizeofInotifyEvent+int(e.Len)]
			out = append(out, fmt.Sprintf("event %#x %q", e.Mask, bytes.TrimRight(name, "\x00")))
			at += unix.SizeofInotifyEvent + int(e.Len)
		}
	}
}

// look describes the tree, with contents and times, and opens nothing but regular files.
func (c *canary) look() string {
	c.t.Helper()
	var out strings.Builder
	check(c.t, filepath.WalkDir(c.dir, func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil {
			return err
		}
		fmt.Fprintf(&out, "%s %o %d %d %d %v %v", name, st.Mode, st.Uid, st.Gid, st.Size, st.Mtim, st.Ctim)
		if d.Type().IsRegular() {
			content, err := os.ReadFile(name)
			fmt.Fprintf(&out, " %q", content)
			return err
		}
		return nil
	}))
	return out.String()
}

// unharmed checks that nobody was outside.
func (c *canary) unharmed() {
	c.t.Helper()
	if seen := c.seen(); len(seen) > 0 {
		c.t.Errorf("outside: %s", seen)
	}
	if state := c.look(); state != c.state {
		c.t.Errorf("outside changed from\n%s\nto\n%s", c.state, state)
	}
	c.seen() // that was this look
}

// hides checks that a text does not tell the secret, nor its digest.
func hides(t *testing.T, what string, text []byte) {
	t.Helper()
	sum := sha256.Sum256([]byte(secret))
	for _, s := range []string{"do-not-read", hex.EncodeToString(sum[:])} {
		if bytes.Contains(text, []byte(s)) {
			t.Errorf("%s tells %q", what, s)
		}
	}
}

// hidesBelow checks that no file below a directory holds the secret, reading regular files of a moderate size.
func hidesBelow(t *testing.T, dir string) {
	t.Helper()
	check(t, filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if info, err := d.Info(); err != nil || info.Size() > 1<<20 {
			return err
		}
		content, err := os.ReadFile(name)
		hides(t, name, content)
		return err
	}))
}

func needRoot(t *testing.T) {
	t.Helper()
	inprocess.NeedRoot(t, "devices and attributes")
}

// full reports whether the heavy attempts are made, too.
func full() bool { return os.Getenv("MOLT_HOSTILE") == "full" }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
