// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package sides

import (
	"encoding/binary"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// madeACL makes an access control list: owner, a user with an id, group, mask, others.
func madeACL(owner, user, group, mask, other uint16) []byte {
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
	regular := func(m tree.Meta) Node { return Node{&tree.View{}, tree.Entry{Kind: tree.Regular, Meta: m}} }
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
		{"a capability dropped by the base", tree.Meta{Xattrs: x(CapabilityXattr, "1")}, tree.Meta{}, tree.Meta{Xattrs: x(CapabilityXattr, "2")}, tree.Meta{}},
		{"labels are the base's with its content", tree.Meta{Xattrs: x(LabelXattr, "o")}, tree.Meta{Xattrs: x(LabelXattr, "n")}, tree.Meta{Xattrs: x(LabelXattr, "u")}, tree.Meta{Xattrs: x(LabelXattr, "n")}},
		{"an access control list of the user's", tree.Meta{Mode: 0o644}, tree.Meta{Mode: 0o644, UID: 1}, tree.Meta{Mode: 0o664, Xattrs: x(ACLXattr, string(madeACL(6, 6, 4, 6, 4)))}, tree.Meta{Mode: 0o664, UID: 1, Xattrs: x(ACLXattr, string(madeACL(6, 6, 4, 6, 4)))}},
		{"an access control list, tightened by the base", tree.Meta{Mode: 0o664}, tree.Meta{Mode: 0o640}, tree.Meta{Mode: 0o674, Xattrs: x(ACLXattr, string(madeACL(6, 7, 6, 7, 4)))}, tree.Meta{Mode: 0o650, Xattrs: x(ACLXattr, string(madeACL(6, 7, 6, 5, 0)))}},
		{"K17 a class taken by the base, and an access control list", tree.Meta{Mode: 0o644}, tree.Meta{Mode: 0o600}, tree.Meta{Mode: 0o664, Xattrs: x(ACLXattr, string(madeACL(6, 6, 4, 6, 4)))}, tree.Meta{Mode: 0o600, Xattrs: x(ACLXattr, string(madeACL(6, 6, 4, 0, 0)))}},
		{"never write without read", tree.Meta{Mode: 0o755}, tree.Meta{Mode: 0o711}, tree.Meta{Mode: 0o775}, tree.Meta{Mode: 0o711}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := Three{O: regular(c.o), N: regular(c.n), U: regular(c.u)}
			if got := MergeMeta(v, v.N); !SameMeta(tree.Regular, got, c.want) || !got.Xattrs[LabelXattr].Equal(c.want.Xattrs[LabelXattr]) {
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
