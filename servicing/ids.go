// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"encoding/binary"
	"errors"
	"maps"
	"reflect"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/accounts"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// A file belongs to a number, but means a name. The result has one numbering: an id that has a name on the user's side
// keeps that name as long as something of the user's belongs to it, and the new base's accounts and files make way. So
// metadata of the new base is read in the numbering of the result (numbering.amend), then compared and merged as any other.
//
// Which ids own something is known only after the walk. A plan begins with those that are known, and is made again with
// more when that changes the numbering: see makePlan.

// fileOwners are ids with how many files of the storage belong to each, or let each in by an access control list; 0 for
// those of which only a file of the old base stays.
type fileOwners struct{ uids, gids map[uint32]int }

func newFileOwners() fileOwners { return fileOwners{make(map[uint32]int), make(map[uint32]int)} }

// add counts the owner, the group, and who is in the lists of a file.
func (o fileOwners) add(m tree.Meta, files int) {
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
		o.uids[id] += files
	}
	for id := range groups {
		o.gids[id] += files
	}
}

// with returns the ids of both.
func (o fileOwners) with(other fileOwners) fileOwners {
	out := fileOwners{maps.Clone(o.uids), maps.Clone(o.gids)}
	maps.Copy(out.uids, other.uids)
	maps.Copy(out.gids, other.gids)
	return out
}

// adds reports whether others have an id that these do not have.
func (o fileOwners) adds(other fileOwners) bool {
	for _, k := range idKinds() {
		for id := range k.of(other) {
			if _, known := k.of(o)[id]; !known {
				return true
			}
		}
	}
	return false
}

func (o fileOwners) busy() accounts.Busy {
	return accounts.Busy{UIDs: idsOf(o.uids), GIDs: idsOf(o.gids)}
}

func idsOf(counts map[uint32]int) map[uint32]bool {
	out := make(map[uint32]bool, len(counts))
	for id := range counts {
		out[id] = true
	}
	return out
}

// idKind is one of the two kinds of ids.
type idKind struct {
	what string // for people
	kind string // in a report
	file accounts.File
	of   func(fileOwners) map[uint32]int
}

func idKinds() []idKind {
	return []idKind{
		{"user", "uid", accounts.Passwd, func(o fileOwners) map[uint32]int { return o.uids }},
		{"group", "gid", accounts.Group, func(o fileOwners) map[uint32]int { return o.gids }},
	}
}

// path returns the path of the file that has the names.
func (k idKind) path() string { return accounts.Paths()[k.file] }

// accountFiles are the account files of all sides.
type accountFiles struct {
	o, n, u   accounts.Files
	sameBases bool // neither base differs from the other
	untouched bool // the user changed none
	odd       bool // one of them is no regular file, or too large
}

// readAccounts reads the account files of all sides.
func (v *views) readAccounts() (*accountFiles, error) {
	f := &accountFiles{sameBases: true, untouched: true}
	for i, name := range accounts.Paths() {
		t, err := v.three(name)
		if err != nil {
			return nil, err
		}
		for _, side := range []struct {
			node
			to *accounts.Files
		}{{t.o, &f.o}, {t.n, &f.n}, {t.u, &f.u}} {
			side.to[i], err = read(side.node, maxAccounts)
			if err != nil && !errors.Is(err, tree.ErrTooLarge) {
				return nil, err
			}
			f.odd = f.odd || err != nil || !side.absent() && !side.is(tree.Regular)
		}
		same, err := compare(t)
		if err != nil {
			return nil, err
		}
		f.sameBases = f.sameBases && same.on
		f.untouched = f.untouched && same.ou
	}
	return f, nil
}

// numbering is who has which id in the result.
type numbering struct {
	*accountFiles
	byFile bool // the account files are decided on as any others
	merged accounts.Result
	uids   idMap
	gids   idMap
	old    *tree.View
}

// number decides on the numbering, as far as it is known what belongs to whom.
func (v *views) number(f *accountFiles, known fileOwners) *numbering {
	n := &numbering{accountFiles: f, byFile: true, old: v.old}
	if f.odd || f.untouched && (f.sameBases || !f.concern(known)) {
		return n
	}
	n.merged = accounts.Merge(f.o, f.n, f.u, known.busy())
	n.byFile = f.sameBases
	n.uids = idMap{n.merged.UIDs, n.merged.StandingUIDs}
	n.gids = idMap{n.merged.GIDs, n.merged.StandingGIDs}
	return n
}

// concern reports whether an id in use, that has a name for the user, has none of its names in the new base.
func (f *accountFiles) concern(known fileOwners) bool {
	for _, k := range idKinds() {
		users, bases := accounts.Names(k.file, f.u[k.file]), accounts.Names(k.file, f.n[k.file])
		for id := range k.of(known) {
			if len(users[id]) > 0 && !overlap(users[id], bases[id]) {
				return true
			}
		}
	}
	return false
}

// overlap reports whether two have a name in common. A user may give one id to any number of names.
func overlap(a, b []string) bool {
	in := make(map[string]bool, len(b))
	for _, name := range b {
		in[name] = true
	}
	return slices.ContainsFunc(a, func(name string) bool { return in[name] })
}

// same reports whether two numberings of the same files are one.
func (n *numbering) same(other *numbering) bool {
	return n.byFile == other.byFile && reflect.DeepEqual(n.merged, other.merged)
}

// moves reports whether something of the new base gets another owner.
func (n *numbering) moves() bool { return !n.uids.empty() || !n.gids.empty() }

// amend gives an entry of the new base the owners of the result.
func (n *numbering) amend(e *tree.Entry) error {
	to := e.Meta
	to.UID, to.GID = n.uids.of(e.UID, nil), n.gids.of(e.GID, nil)
	to.Xattrs = remapLists(e.Xattrs, n.uids, n.gids)
	if sameOwners(to, e.Meta) {
		return nil
	}
	old, err := lookup(n.old, e.Path)
	if err != nil {
		return err
	}
	if !old.absent() {
		to.UID, to.GID = n.uids.of(e.UID, &old.UID), n.gids.of(e.GID, &old.GID)
	}
	if sameLists(old.Xattrs, e.Xattrs) { // the user saw the standing ones so
		to.Xattrs = remapLists(e.Xattrs, idMap{ids: n.uids.ids}, idMap{ids: n.gids.ids})
	}
	e.Meta = notAsRoot(e.Meta, to)
	return nil
}

// settle makes the owner, the group and the lists of the new base at a path those of the old one where only their names
// differ: for a content that is the user's, the base changed nothing about them.
func (n *numbering) settle(o, base tree.Meta) tree.Meta {
	if base.UID == n.uids.of(o.UID, nil) {
		base.UID = o.UID
	}
	if base.GID == n.gids.of(o.GID, nil) {
		base.GID = o.GID
	}
	if sameLists(base.Xattrs, remapLists(o.Xattrs, n.uids, n.gids)) {
		base.Xattrs = maps.Clone(base.Xattrs)
		for _, name := range aclXattrs {
			if list, ok := o.Xattrs[name]; ok {
				base.Xattrs[name] = list
			}
		}
	}
	return base
}

func sameOwners(a, b tree.Meta) bool {
	return a.UID == b.UID && a.GID == b.GID && sameLists(a.Xattrs, b.Xattrs)
}

// idMap says which ids of the new base's files become which.
type idMap struct {
	ids, standing map[uint32]uint32
}

func (m idMap) empty() bool { return len(m.ids)+len(m.standing) == 0 }

// of returns the id for a file of the new base; old is the id that it has in the old base, if it is there.
func (m idMap) of(id uint32, old *uint32) uint32 {
	if to, ok := m.ids[id]; ok {
		return to
	}
	if to, ok := m.standing[id]; ok && (old == nil || *old != id) {
		return to
	}
	return id
}
