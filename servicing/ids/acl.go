// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package ids

import (
	"encoding/binary"
	"iter"
	"maps"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// aclXattrs are the extended attributes that hold access control lists.
var aclXattrs = []string{sides.ACLXattr, defaultACLXattr}

// An access control list as it is stored: a version, then for each entry its tag, its permissions and an id.
const (
	aclHeader = 4
	aclEntry  = 8
	aclUser   = 0x02
	aclGroup  = 0x08
)

// aclEntries yields the entries of a list, none of one that is malformed.
func aclEntries(list []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if len(list) < aclHeader || (len(list)-aclHeader)%aclEntry != 0 {
			return
		}
		for at := aclHeader; at < len(list); at += aclEntry {
			if !yield(list[at : at+aclEntry]) {
				return
			}
		}
	}
}

// heldList returns the bytes of an access control list, which are always held; none where there is no list.
func heldList(v tree.Value) []byte {
	list, _ := v.Held()
	return []byte(list)
}

// aclID returns whom an entry is about.
func aclID(entry []byte) uint32 { return binary.LittleEndian.Uint32(entry[4:]) }

// remapLists returns extended attributes with other ids in the access control lists.
func remapLists(xattrs map[string]tree.Value, uids, gids Map) map[string]tree.Value {
	out := xattrs
	for _, name := range aclXattrs {
		list, ok := xattrs[name].Held() // access control lists always are
		if !ok {
			continue
		}
		mapped := []byte(list)
		for entry := range aclEntries(mapped) {
			switch binary.LittleEndian.Uint16(entry) {
			case aclUser:
				binary.LittleEndian.PutUint32(entry[4:], uids.of(aclID(entry), nil))
			case aclGroup:
				binary.LittleEndian.PutUint32(entry[4:], gids.of(aclID(entry), nil))
			}
		}
		if string(mapped) != list {
			out = maps.Clone(out)
			out[name] = tree.NewValue(mapped)
		}
	}
	return out
}

// sameLists reports whether two have the same access control lists.
func sameLists(a, b map[string]tree.Value) bool {
	return a[sides.ACLXattr].Equal(b[sides.ACLXattr]) && a[defaultACLXattr].Equal(b[defaultACLXattr])
}

const defaultACLXattr = "system.posix_acl_default"
