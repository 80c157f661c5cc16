// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"encoding/binary"
	"maps"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

const defaultACLXattr = "system.posix_acl_default"

// An access control list as it is stored: a version, then for each entry its tag, its permissions and an id.
const (
	aclHeader = 4
	aclEntry  = 8
	aclUser   = 0x02
	aclGroup  = 0x08
)

// remapLists returns extended attributes with other ids in the access control lists.
func remapLists(xattrs map[string]tree.Value, uids, gids idMap) map[string]tree.Value {
	out := xattrs
	for _, name := range []string{aclXattr, defaultACLXattr} {
		list, ok := xattrs[name].Held() // access control lists always are
		if !ok || len(list) < aclHeader || (len(list)-aclHeader)%aclEntry != 0 {
			continue
		}
		mapped := []byte(list)
		for at := aclHeader; at < len(mapped); at += aclEntry {
			id := mapped[at+4 : at+8]
			switch binary.LittleEndian.Uint16(mapped[at:]) {
			case aclUser:
				binary.LittleEndian.PutUint32(id, uids.of(binary.LittleEndian.Uint32(id), nil))
			case aclGroup:
				binary.LittleEndian.PutUint32(id, gids.of(binary.LittleEndian.Uint32(id), nil))
			}
		}
		if string(mapped) != list {
			out = maps.Clone(out)
			out[name] = tree.NewValue(mapped)
		}
	}
	return out
}

// sameLists tells whether two have the same access control lists.
func sameLists(a, b map[string]tree.Value) bool {
	return a[aclXattr].Equal(b[aclXattr]) && a[defaultACLXattr].Equal(b[defaultACLXattr])
}
