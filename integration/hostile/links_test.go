// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// obstacles are what an attempt puts in the place of a file or directory that servicing reads or writes.
var obstacles = []struct {
	name string
	make func(t *testing.T, c *canary, at, name string)
}{
	{"absolute link", func(t *testing.T, c *canary, at, name string) { link(t, outside(c, name), at) }},
	{"link with ..", func(t *testing.T, c *canary, at, name string) {
		link(t, strings.Repeat("../", 40)+outside(c, name)[1:], at)
	}},
	{"link to the outside's directory", func(t *testing.T, c *canary, at, _ string) { link(t, c.dir, at) }},
	{"link through /proc", func(t *testing.T, c *canary, at, _ string) { link(t, "/proc/self/root"+c.dir+"/etc/shadow", at) }},
	{"link to a file beside", func(t *testing.T, _ *canary, at, _ string) { link(t, "molt-target", at) }},
	{"link to itself", func(t *testing.T, _ *canary, at, _ string) { link(t, filepath.Base(at), at) }},
	{"link to its directory", func(t *testing.T, _ *canary, at, _ string) { link(t, ".", at) }},
	{"FIFO", func(t *testing.T, c *canary, at, _ string) { check(t, unix.Mkfifo(at, 0o666)); c.guard(at) }},
	{"device without end", func(t *testing.T, c *canary, at, _ string) {
		check(t, unix.Mknod(at, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))))
		c.guard(at)
	}},
	{"block device", func(t *testing.T, c *canary, at, _ string) {
		check(t, unix.Mknod(at, unix.S_IFBLK|0o666, int(unix.Mkdev(7, 0))))
		c.guard(at)
	}},
	{"socket", func(t *testing.T, _ *canary, at, _ string) { socket(t, at) }},
	{"directory", func(t *testing.T, _ *canary, at, _ string) {
		check(t, os.Mkdir(at, 0o755))
		check(t, os.WriteFile(at+"/x", []byte("x"), 0o600))
	}},
	{"file nobody may read", func(t *testing.T, _ *canary, at, _ string) { check(t, os.WriteFile(at, []byte("x\n"), 0o000)) }},
	{"file of 10 GiB", func(t *testing.T, _ *canary, at, _ string) {
		check(t, os.WriteFile(at, nil, 0o600))
		check(t, os.Truncate(at, 10<<30))
	}},
	{"binary rubbish", func(t *testing.T, _ *canary, at, _ string) {
		check(t, os.WriteFile(at, []byte("\x00\xff\n\xfe:::\n\n\n: \n P:\n\x00"), 0o600))
	}},
}

func link(t *testing.T, target, at string) {
	t.Helper()
	check(t, os.Symlink(target, at))
}

// outside is the file out there that has the same name, if there is one.
func outside(c *canary, name string) string {
	if _, err := os.Lstat(filepath.Join(c.dir, name)); err == nil {
		return filepath.Join(c.dir, name)
	}
	return c.dir + "/file"
}

func socket(t *testing.T, at string) {
	t.Helper()
	check(t, unix.Mknod(at, unix.S_IFSOCK|0o666, 0))
}

// places are where obstacles are put: all files of the system, and the directories that they are in.
func places() []string {
	all := make(map[string]bool)
	for name := range system {
		for ; name != "."; name = filepath.Dir(name) {
			all[name] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// TestObstacles puts each obstacle in each place, in the old base, the new one and the storage. It takes a part of
// the places by turns, unless all are asked for.
func TestObstacles(t *testing.T) {
	c := newCanary(t)
	for turn, o := range obstacles {
		t.Run(o.name, func(t *testing.T) {
			c.t = t
			s := newStage(t, tmpfs(t))
			for side, root := range s.sides() {
				build(t, root, side)
			}
			refused := make(map[string][]string)
			for i, place := range places() {
				for side := range s.sides() {
					if !full() && (i+side+turn)%6 != 0 && (side != ofUser || (i+turn)%3 != 0) {
						continue
					}
					if got := s.obstruct(c, place, side, o.make); got.Error != "" {
						refused[got.Error] = append(refused[got.Error], place)
					}
				}
			}
			for message, where := range refused {
				t.Errorf("cannot be serviced: %s: %s", where, message)
			}
		})
	}
}

// obstruct makes one attempt, and puts back what was in the place.
func (s *stage) obstruct(c *canary, place string, side int, obstacle func(*testing.T, *canary, string, string)) outcome {
	s.t.Helper()
	at := filepath.Join(s.sides()[side], place)
	stash := filepath.Join(filepath.Dir(s.into), "stash")
	check(s.t, os.MkdirAll(filepath.Dir(at), 0o755))
	err := os.Rename(at, stash)
	there := err == nil
	if !errors.Is(err, fs.ErrNotExist) {
		check(s.t, err)
	}
	obstacle(s.t, c, at, place)
	c.seen()
	got := s.service()
	c.unharmed()
	hides(s.t, "the report of "+place, got.Report)
	hidesBelow(s.t, s.into)
	check(s.t, errors.Join(os.RemoveAll(at), os.RemoveAll(s.into), os.Mkdir(s.into, 0o755)))
	if there {
		check(s.t, os.Rename(stash, at))
	}
	c.seen() // a file that was guarded is gone
	if s.t.Failed() {
		s.t.Fatalf("at %s, side %d", place, side)
	}
	return got
}
