// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"encoding/binary"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// TestAttributesOnDisk takes attributes through a real mount and a real delta storage.
func TestAttributesOnDisk(t *testing.T) {
	s := newScenario(t, files{"etc/a": "0644 1", "usr/bin/ping": "0755 1"}, files{"etc/a": "0644 2", "usr/bin/ping": "0755 2"}, func(root string) {
		must(t, unix.Setxattr(filepath.Join(root, "etc/a"), "user.mine", []byte("1"), 0))
		must(t, unix.Setxattr(filepath.Join(root, "etc/a"), sides.ACLXattr, acl(6, 6, 4, 6, 4), 0))
		must(t, unix.Chown(filepath.Join(root, "usr/bin/ping"), 1, 2))
		must(t, unix.Chmod(filepath.Join(root, "usr/bin/ping"), 0o6755))
	})
	s.serviced(func(root string) {
		files{"etc/a": "0664 2", "usr/bin/ping": "6755 2"}.check(t, root)
		for name, want := range map[string]string{"user.mine": "1", sides.ACLXattr: string(acl(6, 6, 4, 6, 4))} {
			value := make([]byte, 256)
			n, err := unix.Getxattr(filepath.Join(root, "etc/a"), name, value)
			must(t, err)
			if string(value[:n]) != want {
				t.Errorf("%s is %q", name, value[:n])
			}
		}
		owners(t, root, map[string][2]uint32{"usr/bin/ping": {1, 2}})
	})
	unchangedBase(t, s)
}

// acl makes an access control list: owner, a user with an id, group, mask, others.
func acl(owner, user, group, mask, other uint16) []byte {
	out := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{0x01, owner, 0xffffffff}, {0x02, user, 1000}, {0x04, group, 0xffffffff}, {0x10, mask, 0xffffffff}, {0x20, other, 0xffffffff}} {
		out = binary.LittleEndian.AppendUint16(out, e.tag)
		out = binary.LittleEndian.AppendUint16(out, e.perm)
		out = binary.LittleEndian.AppendUint32(out, e.id)
	}
	return out
}
