// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
)

// listing is a whole tree as a container sees it, through the kernel's own overlay: for each path all that can be compared.
type listing map[string]string

// listed looks at what a container would see, whether it runs or not.
func listed(t *testing.T, c *harness.Container) listing {
	t.Helper()
	return listedAt(t, c.Mounts())
}

func listedAt(t *testing.T, mounts []mount.Mount) listing {
	t.Helper()
	l := listing{}
	if err := mount.WithReadonlyTempMount(t.Context(), mounts, func(root string) error {
		names := map[uint64]string{} // the first path of each hard-linked file
		return filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			entry, err := describe(path, names)
			l["/"+strings.TrimPrefix(strings.TrimPrefix(path, root), "/")] = entry
			return err
		})
	}); err != nil {
		t.Fatalf("list files: %v", err)
	}
	return l
}

func describe(path string, names map[uint64]string) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "", err
	}
	text := fmt.Sprintf("mode %o owner %d:%d time %d.%09d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		data, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		text += fmt.Sprintf(" size %d content %x", st.Size, sha256.Sum256(data))
		if first, ok := names[st.Ino]; ok {
			text += " linked to " + first
		} else if st.Nlink > 1 {
			names[st.Ino] = filepath.Base(path)
		}
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		text += " to " + target
	case unix.S_IFCHR, unix.S_IFBLK:
		text += fmt.Sprintf(" device %d", st.Rdev)
	}
	attributes, err := xattrs(path)
	return text + attributes, err
}

func xattrs(path string) (string, error) {
	buffer := make([]byte, 1<<16)
	n, err := unix.Llistxattr(path, buffer)
	if err != nil || n == 0 {
		return "", err
	}
	var text strings.Builder
	names := strings.Split(strings.TrimSuffix(string(buffer[:n]), "\x00"), "\x00")
	slices.Sort(names)
	for _, name := range names {
		value := make([]byte, 1<<16)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&text, " %s=%q", name, value[:n])
	}
	return text.String(), nil
}

// sameTree fails the test for every path at which two listings differ.
func sameTree(t *testing.T, what string, got, want listing) {
	t.Helper()
	paths := map[string]bool{}
	for _, l := range []listing{got, want} {
		for path := range l {
			paths[path] = true
		}
	}
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		if got[path] != want[path] {
			t.Errorf("%s: %s\n got: %s\nwant: %s", what, path, orNothing(got[path]), orNothing(want[path]))
		}
	}
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}
