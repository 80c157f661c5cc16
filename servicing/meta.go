// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// The extended attributes with a meaning of their own here.
const (
	aclXattr        = "system.posix_acl_access"
	capabilityXattr = "security.capability"
	labelXattr      = "security.selinux" // given by the policy of the machine, not by a user or a base
)

// mergeMeta merges the metadata of a path three-way, each attribute by itself; content is the node whose content the
// result has. Where both sides changed an attribute, the user's counts, without what the base took away: tightened
// permissions arrive. The time is that of the content.
func mergeMeta(t three, content node) tree.Meta {
	if content.absent() {
		return tree.Meta{}
	}
	if t.shift != nil && content.view == t.u.view && !t.o.absent() && !t.n.absent() {
		t.n.Meta = t.shift.settle(t.o.Meta, t.n.Meta)
	}
	if t.o.absent() && t.n.is(content.Kind) && t.u.is(content.Kind) { // both made it
		m := t.u.Meta
		m.Mtime = content.Mtime
		return m
	}
	if !t.o.is(content.Kind) || !t.n.is(content.Kind) || !t.u.is(content.Kind) {
		return content.Meta
	}
	m := tree.Meta{
		UID:    pick(t.o.UID, t.n.UID, t.u.UID),
		GID:    pick(t.o.GID, t.n.GID, t.u.GID),
		Mtime:  content.Mtime,
		Xattrs: mergeXattrs(t, content),
		Unread: cmp.Or(t.u.Unread, t.n.Unread, t.o.Unread),
		Flags:  mergeFlags(t.o.Flags, t.n.Flags, t.u.Flags),
	}
	m.Mode = mergeMode(t, m.Xattrs)
	return m
}

// pick is the three-way choice.
func pick[T comparable](o, n, u T) T {
	if u == o {
		return n
	}
	return u
}

// mergeFlags is pick for each flag: what the user set or took away, for example with chattr, stays so.
func mergeFlags(o, n, u tree.Flags) tree.Flags {
	changed := o ^ u
	return n&^changed | u&changed
}

// mergeMode merges the permission bits, and those in the access control list with them: the two are one thing.
func mergeMode(t three, xattrs map[string]tree.Value) uint32 {
	o, n, u := permissions(t.o), permissions(t.n), permissions(t.u)
	removed := t.o.Mode &^ t.n.Mode
	var mode uint32
	var acl string
	switch {
	case u == o:
		mode, acl = n.mode, n.acl
	case n == o:
		mode, acl = u.mode, u.acl
	default:
		mode, acl = u.mode&^removed, string(withoutBits([]byte(u.acl), removed))
	}
	delete(xattrs, aclXattr)
	if acl != "" {
		xattrs[aclXattr] = tree.NewValue([]byte(acl))
	}
	return mode
}

type permission struct {
	mode uint32
	acl  string
}

func permissions(n node) permission {
	list, _ := n.Xattrs[aclXattr].Held() // access control lists always are
	return permission{n.Mode, list}
}

// withoutBits removes permission bits from an access control list in its stored form: a version, then for each entry its
// tag, its permissions and an id. The bits of the group are in the mask if there is one.
func withoutBits(acl []byte, bits uint32) []byte {
	const header, size = 4, 8
	const owner, group, mask, other = 0x01, 0x04, 0x10, 0x20
	if len(acl) < header || (len(acl)-header)%size != 0 {
		return acl
	}
	out := bytes.Clone(acl)
	entries := slices.Collect(slices.Chunk(out[header:], size))
	masked := slices.ContainsFunc(entries, func(e []byte) bool { return binary.LittleEndian.Uint16(e) == mask })
	for _, e := range entries {
		var remove uint32
		switch binary.LittleEndian.Uint16(e) {
		case owner:
			remove = bits >> 6 & 7
		case mask:
			remove = bits >> 3 & 7
		case group:
			if !masked {
				remove = bits >> 3 & 7
			}
		case other:
			remove = bits & 7
		}
		binary.LittleEndian.PutUint16(e[2:], binary.LittleEndian.Uint16(e[2:])&^uint16(remove))
	}
	return out
}

// mergeXattrs merges the extended attributes one by one. A capability that the base took away is gone.
func mergeXattrs(t three, content node) map[string]tree.Value {
	out := make(map[string]tree.Value)
	names := maps.Clone(t.u.Xattrs)
	if names == nil {
		names = make(map[string]tree.Value)
	}
	maps.Copy(names, t.n.Xattrs)
	for name := range names {
		o, inO := t.o.Xattrs[name]
		n, inN := t.n.Xattrs[name]
		u, inU := t.u.Xattrs[name]
		value, in := u, inU
		switch {
		case name == labelXattr:
			value, in = content.Xattrs[name]
		case inU == inO && u.Equal(o), name == capabilityXattr && inO && !inN:
			value, in = n, inN
		}
		if in {
			out[name] = value
		}
	}
	return out
}

// sameMeta tells whether two have the same metadata. Times and labels do not count.
func sameMeta(kind tree.Kind, a, b tree.Meta) bool {
	if a.UID != b.UID || a.GID != b.GID || a.Flags != b.Flags || kind != tree.Symlink && a.Mode != b.Mode {
		return false
	}
	unlabelled := func(m tree.Meta) map[string]tree.Value {
		x := maps.Clone(m.Xattrs)
		delete(x, labelXattr)
		return x
	}
	return maps.EqualFunc(unlabelled(a), unlabelled(b), tree.Value.Equal)
}
