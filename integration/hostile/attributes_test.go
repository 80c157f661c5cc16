// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	endian "encoding/binary" // a function here has its name
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// xfs mounts a file system of its own that holds any number of extended attributes of up to 64 KiB each.
func xfs(t *testing.T) string {
	t.Helper()
	needRoot(t)
	mkfs, err := exec.LookPath("mkfs.xfs")
	if err != nil {
		t.Skip("no mkfs.xfs: `make deps` installs it")
	}
	dir := t.TempDir()
	image, mnt := dir+"/image", dir+"/mnt"
	check(t, os.WriteFile(image, nil, 0o600))
	check(t, os.Truncate(image, 1<<30))
	if out, err := exec.CommandContext(t.Context(), mkfs, "-q", image).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	check(t, os.Mkdir(mnt, 0o755))
	if out, err := exec.CommandContext(t.Context(), "mount", "-o", "loop", image, mnt).CombinedOutput(); err != nil {
		t.Skipf("no loop mounts: %s", out)
	}
	t.Cleanup(func() { check(t, unix.Unmount(mnt, 0)) })
	return mnt
}

// attributed gives a file of the storage attributes with values of a size.
func (s *stage) attributed(name string, n, size int) {
	s.t.Helper()
	value := make([]byte, size)
	for i := range n {
		copy(value, fmt.Sprint(name, i))
		check(s.t, unix.Setxattr(filepath.Join(s.user, name), fmt.Sprintf("user.a%05d", i), value, 0))
	}
}

// TestAttributesTakeNoMemory checks the bound that docs/hostile.md states for a servicing on what any user of a
// container can make, on files that both sides changed: so each has an outcome that is kept until the end.
func TestAttributesTakeNoMemory(t *testing.T) {
	files := 5000
	if full() {
		files = 15_000
	}
	for _, c := range []struct {
		name  string
		where func(*testing.T) string
		make  func(s *stage)
		most  int64 // in MiB
		held  string
	}{
		{"many files with 3 values of 1040 bytes", tmpfs, func(s *stage) {
			for i := range files {
				name := fmt.Sprintf("srv/%d/x%d", i%100, i)
				s.all(name, "1", "2", "3")
				s.attributed(name, 3, 1040)
			}
		}, int64(files / 50), ""},
		{"large values to reconcile", xfs, func(s *stage) {
			for i := range 6 {
				name := fmt.Sprintf("srv/x%d", i)
				s.all(name, "1", "2", "3")
				s.attributed(name, 300, 64<<10)
			}
		}, 128, ""},
		{"large values of the user's own file", xfs, func(s *stage) {
			s.user1("srv/own", "mine")
			s.attributed("srv/own", 2000, 64<<10)
		}, 128, ""},
		{"access control lists, more than a plan holds", xfs, func(s *stage) {
			for i := range 1700 {
				name := fmt.Sprintf("srv/x%d", i)
				s.all(name, "1", "2", "3")
				check(s.t, unix.Setxattr(filepath.Join(s.user, name), "system.posix_acl_access", accessList(5000), 0))
			}
		}, 256, "attributes: the extended attributes of the paths to be reconciled take more than 64 MiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t, c.where(t))
			c.make(s)
			got := s.apart()
			t.Logf("peak %d MiB, held %.300q", got.Peak>>20, got.Held)
			if got.Error != "" {
				t.Errorf("cannot be serviced: %.500s", got.Error)
			}
			held := strings.Join(got.Held, "\n")
			if (c.held == "") != (held == "") || !strings.HasPrefix(held, c.held) {
				t.Errorf("held: %.500q", got.Held)
			}
			if got.Peak > c.most<<20 {
				t.Errorf("%d MiB of memory", got.Peak>>20)
			}
		})
	}
}

// accessList is an access control list for many users, as the kernel stores it.
func accessList(users int) []byte {
	list := endian.LittleEndian.AppendUint32(nil, 2)
	entry := func(tag, permissions uint16, id uint32) {
		list = endian.LittleEndian.AppendUint16(list, tag)
		list = endian.LittleEndian.AppendUint16(list, permissions)
		list = endian.LittleEndian.AppendUint32(list, id)
	}
	const nobody = ^uint32(0)
	entry(0x01, 6, nobody)
	for i := range users {
		entry(0x02, 4, uint32(1000+i))
	}
	entry(0x04, 4, nobody)
	entry(0x10, 4, nobody)
	entry(0x20, 4, nobody)
	return list
}
