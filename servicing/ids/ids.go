// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ids decides which accounts have which ids in the result of an update, and reads the owners of the new base
// in that numbering.
//
// A file belongs to a number, but means a name. The result has one numbering: an id that has a name on the user's
// side keeps that name as long as something of the user's belongs to it, and the new base's accounts and files make
// way. So metadata of the new base is read in the numbering of the result (Numbering.Amend), then compared and merged
// as any other.
//
// Which ids own something is known only after the walk of a plan. A plan begins with those that are known, and is
// made again with more when that changes the numbering.
package ids

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/accounts"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Owners are ids with how many files of the storage belong to each, or let each in by an access control list; 0 for
// those of which only a file of the old base stays.
type Owners struct{ UIDs, GIDs map[uint32]int }

// NewOwners returns no owners.
func NewOwners() Owners { return Owners{make(map[uint32]int), make(map[uint32]int)} }

// Add counts the owner, the group, and who is in the lists of a file.
func (o Owners) Add(m tree.Meta, files int) {
	users, groups := map[uint32]bool{m.UID: true}, map[uint32]bool{m.GID: true}
	for _, name := range aclXattrs {
		for entry := range aclEntries(heldList(m.Xattrs[name])) {
			switch binary.LittleEndian.Uint16(entry) {
			case aclUser:
				users[aclID(entry)] = true
			case aclGroup:
				groups[aclID(entry)] = true
			}
		}
	}
	for id := range users {
		o.UIDs[id] += files
	}
	for id := range groups {
		o.GIDs[id] += files
	}
}

// With returns the ids of both.
func (o Owners) With(other Owners) Owners {
	out := Owners{maps.Clone(o.UIDs), maps.Clone(o.GIDs)}
	maps.Copy(out.UIDs, other.UIDs)
	maps.Copy(out.GIDs, other.GIDs)
	return out
}

// Adds reports whether others have an id that these do not have.
func (o Owners) Adds(other Owners) bool {
	for _, k := range Kinds() {
		for id := range k.Of(other) {
			if _, known := k.Of(o)[id]; !known {
				return true
			}
		}
	}
	return false
}

func (o Owners) busy() accounts.Busy {
	return accounts.Busy{UIDs: idsOf(o.UIDs), GIDs: idsOf(o.GIDs)}
}

func idsOf(counts map[uint32]int) map[uint32]bool {
	out := make(map[uint32]bool, len(counts))
	for id := range counts {
		out[id] = true
	}
	return out
}

// Kind is one of the two kinds of ids.
type Kind struct {
	What string // for people
	Kind string // in a report
	File accounts.File
	Of   func(Owners) map[uint32]int
}

// Kinds returns both kinds of ids.
func Kinds() []Kind {
	return []Kind{
		{"user", "uid", accounts.Passwd, func(o Owners) map[uint32]int { return o.UIDs }},
		{"group", "gid", accounts.Group, func(o Owners) map[uint32]int { return o.GIDs }},
	}
}

// Path returns the path of the file that has the names.
func (k Kind) Path() string { return accounts.Paths()[k.File] }

// AccountFiles are the account files of all sides.
type AccountFiles struct {
	O, N, U   accounts.Files
	SameBases bool // neither base differs from the other
	Untouched bool // the user changed none
	odd       bool // one of them is no regular file, or too large
}

// ReadAccounts reads the account files of all sides.
func ReadAccounts(v *sides.Views) (*AccountFiles, error) {
	f := &AccountFiles{SameBases: true, Untouched: true}
	for i, name := range accounts.Paths() {
		t, err := v.Three(name)
		if err != nil {
			return nil, err
		}
		for _, side := range []struct {
			sides.Node
			to *accounts.Files
		}{{t.O, &f.O}, {t.N, &f.N}, {t.U, &f.U}} {
			side.to[i], err = sides.Read(side.Node, maxAccounts)
			if err != nil && !errors.Is(err, tree.ErrTooLarge) {
				return nil, err
			}
			f.odd = f.odd || err != nil || !side.Absent() && !side.Is(tree.Regular)
		}
		same, err := sides.Compare(t)
		if err != nil {
			return nil, err
		}
		f.SameBases = f.SameBases && same.ON
		f.Untouched = f.Untouched && same.OU
	}
	return f, nil
}

// Numbering is who has which id in the result.
type Numbering struct {
	*AccountFiles
	ByFile bool // the account files are decided on as any others
	Merged accounts.Result
	UIDs   Map
	GIDs   Map
	Old    *tree.View
}

// NewNumbering decides on the numbering, as far as it is known what belongs to whom.
func NewNumbering(v *sides.Views, f *AccountFiles, known Owners) *Numbering {
	n := &Numbering{AccountFiles: f, ByFile: true, Old: v.Old}
	if f.odd || f.Untouched && (f.SameBases || !f.concern(known)) {
		return n
	}
	n.Merged = accounts.Merge(f.O, f.N, f.U, known.busy())
	n.ByFile = f.SameBases
	n.UIDs = Map{n.Merged.UIDs, n.Merged.StandingUIDs}
	n.GIDs = Map{n.Merged.GIDs, n.Merged.StandingGIDs}
	return n
}

// concern reports whether an id in use, that has a name for the user, has none of its names in the new base.
func (f *AccountFiles) concern(known Owners) bool {
	for _, k := range Kinds() {
		users, bases := accounts.Names(k.File, f.U[k.File]), accounts.Names(k.File, f.N[k.File])
		for id := range k.Of(known) {
			if len(users[id]) > 0 && !Overlap(users[id], bases[id]) {
				return true
			}
		}
	}
	return false
}

// Overlap reports whether two have a name in common. A user may give one id to any number of names.
func Overlap(a, b []string) bool {
	in := make(map[string]bool, len(b))
	for _, name := range b {
		in[name] = true
	}
	return slices.ContainsFunc(a, func(name string) bool { return in[name] })
}

// Same reports whether two numberings of the same files are one.
func (n *Numbering) Same(other *Numbering) bool {
	return n.ByFile == other.ByFile && reflect.DeepEqual(n.Merged, other.Merged)
}

// Moves reports whether something of the new base gets another owner.
func (n *Numbering) Moves() bool { return !n.UIDs.empty() || !n.GIDs.empty() }

// Amend gives an entry of the new base the owners of the result.
func (n *Numbering) Amend(e *tree.Entry) error {
	to := e.Meta
	to.UID, to.GID = n.UIDs.of(e.UID, nil), n.GIDs.of(e.GID, nil)
	to.Xattrs = remapLists(e.Xattrs, n.UIDs, n.GIDs)
	if SameOwners(to, e.Meta) {
		return nil
	}
	old, err := sides.Lookup(n.Old, e.Path)
	if err != nil {
		return err
	}
	if !old.Absent() {
		to.UID, to.GID = n.UIDs.of(e.UID, &old.UID), n.GIDs.of(e.GID, &old.GID)
	}
	if sameLists(old.Xattrs, e.Xattrs) { // the user saw the standing ones so
		to.Xattrs = remapLists(e.Xattrs, Map{IDs: n.UIDs.IDs}, Map{IDs: n.GIDs.IDs})
	}
	e.Meta = sides.NotAsRoot(e.Meta, to)
	return nil
}

// Settle makes the owner, the group and the lists of the new base at a path those of the old one where only their names
// differ: for a content that is the user's, the base changed nothing about them.
func (n *Numbering) Settle(o, base tree.Meta) tree.Meta {
	if base.UID == n.UIDs.of(o.UID, nil) {
		base.UID = o.UID
	}
	if base.GID == n.GIDs.of(o.GID, nil) {
		base.GID = o.GID
	}
	if sameLists(base.Xattrs, remapLists(o.Xattrs, n.UIDs, n.GIDs)) {
		base.Xattrs = maps.Clone(base.Xattrs)
		for _, name := range aclXattrs {
			if list, ok := o.Xattrs[name]; ok {
				base.Xattrs[name] = list
			}
		}
	}
	return base
}

// SameOwners reports whether two have the same owner, group and access control lists.
func SameOwners(a, b tree.Meta) bool {
	return a.UID == b.UID && a.GID == b.GID && sameLists(a.Xattrs, b.Xattrs)
}

// Map says which ids of the new base's files become which.
type Map struct {
	IDs, Standing map[uint32]uint32
}

func (m Map) empty() bool { return len(m.IDs)+len(m.Standing) == 0 }

// of returns the id for a file of the new base; old is the id that it has in the old base, if it is there.
func (m Map) of(id uint32, old *uint32) uint32 {
	if to, ok := m.IDs[id]; ok {
		return to
	}
	if to, ok := m.Standing[id]; ok && (old == nil || *old != id) {
		return to
	}
	return id
}

// Of returns which id an id of the new base is in the result.
func (n *Numbering) Of(k Kind, id uint32) uint32 {
	if k.File == accounts.Group {
		return n.GIDs.of(id, nil)
	}
	return n.UIDs.of(id, nil)
}

// AccountNames returns, by id, who has it in a scene.
func AccountNames(s *sides.Scene, k Kind) (map[uint32][]string, error) {
	content, err := s.Read(k.Path(), maxAccounts)
	return accounts.Names(k.File, content), err
}

// maxAccounts is the size up to which an account file is read.
const maxAccounts = 16 << 20

// FilesIn counts files; 0 is for an unknown number.
func FilesIn(n int) string {
	switch n {
	case 0:
		return "files"
	case 1:
		return "1 file"
	}
	return fmt.Sprintf("%d files", n)
}
