// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// chattr sets the flags of a file as a container does, through the mount.
func chattr(t tb, name string, flags tree.Flags) {
	t.Helper()
	file, err := os.Open(name)
	must(t, err)
	defer file.Close()
	now, err := unix.IoctlGetUint32(int(file.Fd()), unix.FS_IOC_GETFLAGS)
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) {
		t.Skip("this file system has no inode flags (chattr)")
	}
	must(t, err)
	must(t, unix.IoctlSetPointerInt(int(file.Fd()), unix.FS_IOC_SETFLAGS, int(now&^uint32(allFlags)|uint32(flags))))
}

const allFlags = tree.Immutable | tree.AppendOnly | tree.NoDump | tree.NoAccess | tree.Sync

// lsattr returns the flags of a file that the container sees.
func lsattr(t tb, name string) tree.Flags {
	t.Helper()
	file, err := os.Open(name)
	must(t, err)
	defer file.Close()
	flags, err := unix.IoctlGetUint32(int(file.Fd()), unix.FS_IOC_GETFLAGS)
	must(t, err)
	return tree.Flags(flags) & allFlags
}

// TestFlags: what a container has set with chattr counts as metadata of the path, whatever becomes of the content.
func TestFlags(t *testing.T) {
	const both = tree.Immutable | tree.AppendOnly
	want := map[string]tree.Flags{
		"etc/fixed":    tree.Immutable, // the base has another one: its content arrives, as with any other metadata
		"etc/app.conf": both,           // merged
		"etc/mine":     tree.AppendOnly | tree.NoDump | tree.NoAccess,
		"etc/own":      tree.Immutable, // the user's content against that of the base
		"etc/same":     tree.Sync,
		"etc/d":        tree.Immutable | tree.NoAccess,
		"etc/d/x":      0,
		"etc/gone":     tree.Immutable, // the user's, removed from the base
		"etc/pair":     tree.Immutable,
		"etc/pair2":    tree.Immutable,
	}
	old := files{
		"etc/fixed": "1", "etc/app.conf": "a = 1\nb = 2\nc = 3\nd = 4\n", "etc/own": "\x00one", "etc/same": "s",
		"etc/d/x": "1", "etc/gone": "g", "etc/pair": "p",
	}
	base := files{
		"etc/fixed": "2", "etc/app.conf": "a = 2\nb = 2\nc = 3\nd = 4\n", "etc/own": "\x00two", "etc/same": "s",
		"etc/d/x": "2", "etc/pair": "q",
	}
	s := newScenario(t, old, base, func(root string) {
		u := sh{t, root}
		u.put("etc/app.conf", "a = 1\nb = 2\nc = 3\nd = 5\n")
		u.put("etc/own", "\x00mine")
		u.put("etc/gone", "mine")
		u.put("etc/mine", "m")
		must(t, linkIn(root, "etc/pair", "etc/pair2"))
		for name, flags := range want {
			if name != "etc/pair2" && flags != 0 {
				chattr(t, filepath.Join(root, name), flags)
			}
		}
	})
	s.serviced(func(root string) {
		for name, flags := range want {
			if got := lsattr(t, filepath.Join(root, name)); got != flags {
				t.Errorf("%s has the flags %q, want %q", name, got, flags)
			}
		}
		files{
			"etc/fixed": "2", "etc/app.conf": "a = 2\nb = 2\nc = 3\nd = 5\n", "etc/mine": "m", "etc/own": "\x00mine",
			"etc/d/x": "2", "etc/gone": "mine",
		}.check(t, root)
		if err := os.WriteFile(filepath.Join(root, "etc/fixed"), nil, 0o644); !errors.Is(err, unix.EPERM) {
			t.Errorf("an immutable file can be written: %v", err)
		}
		if err := os.Remove(filepath.Join(root, "etc/d/x")); !errors.Is(err, unix.EPERM) {
			t.Errorf("a file of an immutable directory can be removed: %v", err)
		}
		for name := range want { // the container may take them away again
			chattr(t, filepath.Join(root, name), 0)
		}
		must(t, os.Remove(filepath.Join(root, "etc/d/x")))
		must(t, os.WriteFile(filepath.Join(root, "etc/fixed"), nil, 0o644))
	})
}

// TestFlagsMerge: the base's flags arrive, unless the user took them away.
func TestFlagsMerge(t *testing.T) {
	for _, c := range []struct{ o, n, u, want tree.Flags }{
		{0, 0, tree.Immutable, tree.Immutable},
		{tree.Immutable, tree.Immutable, 0, 0},
		{0, tree.NoDump, tree.Immutable, tree.Immutable | tree.NoDump},
		{tree.NoDump, 0, tree.NoDump, 0},
		{tree.Immutable, tree.Immutable, tree.Immutable, tree.Immutable},
		{tree.Immutable, 0, tree.AppendOnly, tree.AppendOnly},
	} {
		if got := sides.MergeFlags(c.o, c.n, c.u); got != c.want {
			t.Errorf("%q, %q, %q become %q, want %q", c.o, c.n, c.u, got, c.want)
		}
	}
}
