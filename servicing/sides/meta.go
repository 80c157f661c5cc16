// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package sides

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
	ACLXattr        = "system.posix_acl_access"
	CapabilityXattr = "security.capability"
	LabelXattr      = "security.selinux" // given by the policy of the machine, not by a user or a base
)

// MergeMeta merges the metadata of a path three-way, each attribute by itself; content is the node whose content the
// result has. Where both sides changed an attribute, the user's counts, without what the base took away: tightened
// permissions arrive. The time is that of the content.
func MergeMeta(t Three, content Node) tree.Meta {
	if content.Absent() {
		return tree.Meta{}
	}
	if t.shift != nil && content.View == t.U.View && !t.O.Absent() && !t.N.Absent() {
		t.N.Meta = t.shift.Settle(t.O.Meta, t.N.Meta)
	}
	if t.O.Absent() && t.N.Is(content.Kind) && t.U.Is(content.Kind) { // both made it
		m := t.U.Meta
		m.Mtime = content.Mtime
		return m
	}
	if !t.O.Is(content.Kind) || !t.N.Is(content.Kind) || !t.U.Is(content.Kind) {
		return content.Meta
	}
	m := tree.Meta{
		UID:    pick(t.O.UID, t.N.UID, t.U.UID),
		GID:    pick(t.O.GID, t.N.GID, t.U.GID),
		Mtime:  content.Mtime,
		Xattrs: mergeXattrs(t, content),
		Unread: cmp.Or(t.U.Unread, t.N.Unread, t.O.Unread),
		Flags:  MergeFlags(t.O.Flags, t.N.Flags, t.U.Flags),
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

// MergeFlags is pick for each flag: what the user set or took away, for example with chattr, stays so.
func MergeFlags(o, n, u tree.Flags) tree.Flags {
	changed := o ^ u
	return n&^changed | u&changed
}

// mergeMode merges the permission bits, and those in the access control list with them: the two are one thing.
func mergeMode(t Three, xattrs map[string]tree.Value) uint32 {
	o, n, u := permissions(t.O), permissions(t.N), permissions(t.U)
	removed := takenAway(t.O.Mode, t.N.Mode, t.U.Mode)
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
	delete(xattrs, ACLXattr)
	if acl != "" {
		xattrs[ACLXattr] = tree.NewValue([]byte(acl))
	}
	return mode
}

// takenAway returns the bits that the new base takes away from the user's mode. A class that has nothing left in the
// base loses all, and one that may no longer read does not write: nobody means that.
func takenAway(o, n, u uint32) uint32 {
	removed := o &^ n
	for shift := range 3 {
		class := uint32(7) << (3 * shift)
		read, write := uint32(4)<<(3*shift), uint32(2)<<(3*shift)
		if removed&class == 0 {
			continue
		}
		if n&class == 0 {
			removed |= class
		}
		if u&^removed&(read|write) == write {
			removed |= write
		}
	}
	return removed
}

type permission struct {
	mode uint32
	acl  string
}

func permissions(n Node) permission {
	list, _ := n.Xattrs[ACLXattr].Held() // access control lists always are
	return permission{n.Mode, list}
}

// withoutBits removes permission bits from an access control list in its stored form: a version, then for each entry
// its tag, its permissions and an id. The bits of the group are in the mask if there is one.
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
func mergeXattrs(t Three, content Node) map[string]tree.Value {
	out := make(map[string]tree.Value)
	names := maps.Clone(t.U.Xattrs)
	if names == nil {
		names = make(map[string]tree.Value)
	}
	maps.Copy(names, t.N.Xattrs)
	for name := range names {
		o, inO := t.O.Xattrs[name]
		n, inN := t.N.Xattrs[name]
		u, inU := t.U.Xattrs[name]
		value, in := u, inU
		switch {
		case name == LabelXattr:
			value, in = content.Xattrs[name]
		case inU == inO && u.Equal(o), name == CapabilityXattr && inO && !inN:
			value, in = n, inN
		}
		if in {
			out[name] = value
		}
	}
	return out
}

// SameMeta reports whether two have the same metadata. Times and labels do not count.
func SameMeta(kind tree.Kind, a, b tree.Meta) bool {
	if a.UID != b.UID || a.GID != b.GID || a.Flags != b.Flags || kind != tree.Symlink && a.Mode != b.Mode {
		return false
	}
	unlabelled := func(m tree.Meta) map[string]tree.Value {
		x := maps.Clone(m.Xattrs)
		delete(x, LabelXattr)
		return x
	}
	return maps.EqualFunc(unlabelled(a), unlabelled(b), tree.Value.Equal)
}

// MetaConflict reports whether both sides changed mode, owner or an attribute, and not to the same.
func MetaConflict(t Three) bool {
	if !t.O.Is(t.U.Kind) || !t.N.Is(t.U.Kind) || t.U.Absent() {
		return false
	}
	clash := func(on, ou, nu bool) bool { return !on && !ou && !nu }
	if clash(
		t.O.UID == t.N.UID, t.O.UID == t.U.UID, t.N.UID == t.U.UID,
	) || clash(t.O.GID == t.N.GID, t.O.GID == t.U.GID, t.N.GID == t.U.GID) {
		return true
	}
	o, n, u := permissions(t.O), permissions(t.N), permissions(t.U)
	if t.U.Kind != tree.Symlink && clash(o == n, o == u, n == u) {
		return true
	}
	names := maps.Clone(t.U.Xattrs)
	if names == nil {
		names = make(map[string]tree.Value)
	}
	maps.Copy(names, t.N.Xattrs)
	maps.Copy(names, t.O.Xattrs)
	for name := range names {
		if name != LabelXattr && name != ACLXattr && clash(
			sameXattr(name, t.O, t.N), sameXattr(name, t.O, t.U), sameXattr(name, t.N, t.U),
		) {
			return true
		}
	}
	return false
}

func sameXattr(name string, a, b Node) bool {
	x, inX := a.Xattrs[name]
	y, inY := b.Xattrs[name]
	return inX == inY && x.Equal(y)
}
