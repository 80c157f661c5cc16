// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"bytes"
	"encoding/binary"
	"iter"
	"maps"
)

const defaultACLXattr = "system.posix_acl_default"

// aclXattrs are the extended attributes that hold access control lists.
var aclXattrs = []string{aclXattr, defaultACLXattr}

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

// aclID returns whom an entry is about.
func aclID(entry []byte) uint32 { return binary.LittleEndian.Uint32(entry[4:]) }

// remapLists returns extended attributes with other ids in the access control lists.
func remapLists(xattrs map[string][]byte, uids, gids idMap) map[string][]byte {
	out := xattrs
	for _, name := range aclXattrs {
		mapped := bytes.Clone(xattrs[name])
		for entry := range aclEntries(mapped) {
			switch binary.LittleEndian.Uint16(entry) {
			case aclUser:
				binary.LittleEndian.PutUint32(entry[4:], uids.of(aclID(entry), nil))
			case aclGroup:
				binary.LittleEndian.PutUint32(entry[4:], gids.of(aclID(entry), nil))
			}
		}
		if !bytes.Equal(mapped, xattrs[name]) {
			out = maps.Clone(out)
			out[name] = mapped
		}
	}
	return out
}

// sameLists tells whether two have the same access control lists.
func sameLists(a, b map[string][]byte) bool {
	return bytes.Equal(a[aclXattr], b[aclXattr]) && bytes.Equal(a[defaultACLXattr], b[defaultACLXattr])
}
