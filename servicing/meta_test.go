// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"encoding/binary"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

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

func TestMergeMeta(t *testing.T) {
	regular := func(m tree.Meta) node { return node{&tree.View{}, tree.Entry{Kind: tree.Regular, Meta: m}} }
	x := func(pairs ...string) map[string]tree.Value {
		out := map[string]tree.Value{}
		for i := 0; i < len(pairs); i += 2 {
			out[pairs[i]] = tree.NewValue([]byte(pairs[i+1]))
		}
		return out
	}
	for _, c := range []struct {
		name          string
		o, n, u, want tree.Meta
	}{
		{"nothing changed", tree.Meta{Mode: 0o644}, tree.Meta{Mode: 0o644}, tree.Meta{Mode: 0o644}, tree.Meta{Mode: 0o644}},
		{"changed by the base", tree.Meta{Mode: 0o644}, tree.Meta{Mode: 0o664, UID: 1}, tree.Meta{Mode: 0o644}, tree.Meta{Mode: 0o664, UID: 1}},
		{"owner here, group there", tree.Meta{}, tree.Meta{UID: 1}, tree.Meta{GID: 2}, tree.Meta{UID: 1, GID: 2}},
		{"owner on both sides", tree.Meta{}, tree.Meta{UID: 1}, tree.Meta{UID: 2}, tree.Meta{UID: 2}},
		{"setuid dropped by the base", tree.Meta{Mode: 0o4755}, tree.Meta{Mode: 0o755}, tree.Meta{Mode: 0o4711}, tree.Meta{Mode: 0o711}},
		{"bits added by the base do not arrive over the user's", tree.Meta{Mode: 0o644}, tree.Meta{Mode: 0o666}, tree.Meta{Mode: 0o600}, tree.Meta{Mode: 0o600}},
		{"attributes one by one", tree.Meta{Xattrs: x("user.a", "1", "user.b", "1", "user.c", "1", "user.d", "1")}, tree.Meta{Xattrs: x("user.a", "2", "user.c", "1", "user.d", "2", "user.n", "1")},
			tree.Meta{Xattrs: x("user.a", "1", "user.b", "1", "user.d", "3", "user.u", "1")}, tree.Meta{Xattrs: x("user.a", "2", "user.d", "3", "user.n", "1", "user.u", "1")}},
		{"a capability dropped by the base", tree.Meta{Xattrs: x(capabilityXattr, "1")}, tree.Meta{}, tree.Meta{Xattrs: x(capabilityXattr, "2")}, tree.Meta{}},
		{"labels are the base's with its content", tree.Meta{Xattrs: x(labelXattr, "o")}, tree.Meta{Xattrs: x(labelXattr, "n")}, tree.Meta{Xattrs: x(labelXattr, "u")}, tree.Meta{Xattrs: x(labelXattr, "n")}},
		{"an access control list of the user's", tree.Meta{Mode: 0o644}, tree.Meta{Mode: 0o644, UID: 1}, tree.Meta{Mode: 0o664, Xattrs: x(aclXattr, string(acl(6, 6, 4, 6, 4)))}, tree.Meta{Mode: 0o664, UID: 1, Xattrs: x(aclXattr, string(acl(6, 6, 4, 6, 4)))}},
		{"an access control list, tightened by the base", tree.Meta{Mode: 0o664}, tree.Meta{Mode: 0o640}, tree.Meta{Mode: 0o674, Xattrs: x(aclXattr, string(acl(6, 7, 6, 7, 4)))}, tree.Meta{Mode: 0o650, Xattrs: x(aclXattr, string(acl(6, 7, 6, 5, 0)))}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := three{o: regular(c.o), n: regular(c.n), u: regular(c.u)}
			if got := mergeMeta(v, v.n); !sameMeta(tree.Regular, got, c.want) || !got.Xattrs[labelXattr].Equal(c.want.Xattrs[labelXattr]) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
	for _, odd := range [][]byte{nil, {1}, {2, 0, 0, 0, 1}} {
		if got := withoutBits(odd, 0o777); string(got) != string(odd) {
			t.Errorf("%v became %v", odd, got)
		}
	}
}

// TestAttributesOnDisk takes attributes through a real mount and a real delta storage.
func TestAttributesOnDisk(t *testing.T) {
	s := newScenario(t, files{"etc/a": "0644 1", "usr/bin/ping": "0755 1"}, files{"etc/a": "0644 2", "usr/bin/ping": "0755 2"}, func(root string) {
		must(t, unix.Setxattr(filepath.Join(root, "etc/a"), "user.mine", []byte("1"), 0))
		must(t, unix.Setxattr(filepath.Join(root, "etc/a"), aclXattr, acl(6, 6, 4, 6, 4), 0))
		must(t, unix.Chown(filepath.Join(root, "usr/bin/ping"), 1, 2))
		must(t, unix.Chmod(filepath.Join(root, "usr/bin/ping"), 0o6755))
	})
	s.serviced(func(root string) {
		files{"etc/a": "0664 2", "usr/bin/ping": "6755 2"}.check(t, root)
		for name, want := range map[string]string{"user.mine": "1", aclXattr: string(acl(6, 6, 4, 6, 4))} {
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
