// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package accounts merges the account files of a system (passwd, shadow, group, gshadow, subuid, subgid) as one
// transaction: by name, field by field, with what both sides come from.
//
// The user's side wins where both changed a field; secrets that the user set are never replaced. Memberships are
// sets. Records that are not understood (comments, NIS lines, malformed lines) are preserved byte for byte. Who has
// an id on the user's side keeps it, because files belong to it; where the base uses that id for somebody else, or
// another id for the same name, the base's files must follow: Result.UIDs and Result.GIDs say how. An account that
// the base dropped stays as long as files of the user belong to it.
package accounts

import (
	"fmt"
	"slices"
)

// File numbers the account files.
type File int

// The account files.
const (
	Passwd File = iota
	Shadow
	Group
	Gshadow
	Subuid
	Subgid
	fileCount
)

// layout says how the records of a file look.
type layout struct {
	path   string
	fields int
	ids    []int // fields that must be numbers
}

var layouts = [fileCount]layout{
	Passwd:  {"etc/passwd", 7, []int{2, 3}},
	Shadow:  {"etc/shadow", 9, nil},
	Group:   {"etc/group", 4, []int{2}},
	Gshadow: {"etc/gshadow", 4, nil},
	Subuid:  {"etc/subuid", 3, []int{1, 2}},
	Subgid:  {"etc/subgid", 3, []int{1, 2}},
}

// Paths returns the paths of the account files, relative to the root, in the order of File.
func Paths() []string {
	var out []string
	for _, l := range layouts {
		out = append(out, l.path)
	}
	return out
}

// Files holds the contents of the account files by File; nil means that there is no such file.
type Files [fileCount][]byte

// Busy holds the ids that own files of the user. No account gets one of them, and an account of the user that has one
// of them stays.
type Busy struct{ UIDs, GIDs map[uint32]bool }

// Note is something that a person may want to know about the merge.
type Note struct {
	Path, Name string // the account file, and whom it is about
	Text       string
}

// Result is the merged state.
type Result struct {
	Files Files
	// UIDs and GIDs map ids as the new base has them to those of the result, where they differ: files of the new base
	// that belong to the first must belong to the second.
	UIDs, GIDs map[uint32]uint32
	// StandingUIDs and StandingGIDs are the same for ids that differed before: only files of the new base that the old
	// one did not have, or had with another owner, must follow.
	StandingUIDs, StandingGIDs map[uint32]uint32
	// Kept holds the accounts and groups that the new base dropped and that stay because files of the user belong to
	// them.
	Kept  []Account
	Notes []Note
	// Shared says which accounts of the new base have the id of somebody else, because no id is free: files of one
	// would belong to the other.
	Shared []Note
}

// Account is a user (of Passwd) or a group (of Group).
type Account struct {
	File File
	Name string
	ID   uint32
}

// Merge merges what the user has with the new base; old is what both come from. It is deterministic.
func Merge(old, base, user Files, busy Busy) Result {
	m := &merger{}
	for f := range fileCount {
		m.files[f] = three{parse(layouts[f], old[f]), parse(layouts[f], base[f]), parse(layouts[f], user[f])}
	}
	m.users = m.presence(Passwd, Shadow)
	m.keepOwners(Passwd, m.users, busy.UIDs)
	m.groups = m.presence(Group, Gshadow)
	m.keepOwners(Group, m.groups, busy.GIDs)
	m.keepPrimaryGroups()
	m.result.GIDs, m.result.StandingGIDs = m.mapIDs(Group, m.groups, busy.GIDs)
	m.result.UIDs, m.result.StandingUIDs = m.mapIDs(Passwd, m.users, busy.UIDs)
	for f := range fileCount {
		m.result.Files[f] = m.mergeFile(f, old[f], base[f], user[f])
	}
	return m.result
}

// Names returns, by id, who has it in a file of users (Passwd) or groups (Group), in the order of the file. Several
// accounts may share an id.
func Names(f File, content []byte) map[uint32][]string {
	db := parse(layouts[f], content)
	out := make(map[uint32][]string, len(db.byID))
	for id, keys := range db.byID {
		seen := make(map[string]bool) // of further records of one name
		for _, key := range keys {
			name := base(key)
			if name != key && (db.id(name, ownID) == id || seen[name]) {
				continue
			}
			if name != key {
				seen[name] = true
			}
			out[id] = append(out[id], name)
		}
	}
	return out
}

// three holds one file in the old base, the new base and as the user sees it.
type three struct{ o, n, u *database }

type merger struct {
	files         [fileCount]three
	users, groups map[string]bool // by name: whether it is in the result
	result        Result
}

func (m *merger) note(f File, name, text string) {
	m.result.Notes = append(m.result.Notes, Note{Path: layouts[f].path, Name: name, Text: text})
}

// presence decides for all names in a file who is in the result; a record of the user's that differs in the file or in
// its companion (shadow, gshadow) counts as changed.
func (m *merger) presence(f, companion File) map[string]bool {
	t, c := m.files[f], m.files[companion]
	out := make(map[string]bool)
	for _, name := range t.u.names() {
		changed := !t.u.same(t.o, name) || !c.u.same(c.o, name)
		out[name] = t.n.has(name) || !t.o.has(name) || changed
		if out[name] && !t.n.has(name) && t.o.has(name) {
			m.note(f, name, "removed from the base, kept because it was changed")
		}
	}
	for _, name := range t.n.names() {
		if !t.u.has(name) {
			out[name] = !t.o.has(name)
		}
	}
	return out
}

// keepOwners keeps those whom the base dropped but whose id owns files of the user, unless somebody else with that id
// stays.
func (m *merger) keepOwners(f File, present map[string]bool, busy map[uint32]bool) {
	t := m.files[f]
	names := t.u.names()
	stays := make(map[uint32]bool)
	for _, name := range names {
		if id := t.u.id(name, ownID); present[name] {
			stays[id] = true
		}
	}
	for _, name := range names {
		id := t.u.id(name, ownID)
		if !busy[id] || t.n.has(name) || stays[id] {
			continue
		}
		present[name], stays[id] = true, true
		m.result.Kept = append(m.result.Kept, Account{f, base(name), id})
		m.note(f, name, fmt.Sprintf("removed from the base, kept because files belong to it (%d)", id))
	}
}

// keepPrimaryGroups keeps groups, whatever became of them, that an account of the result has as its primary group.
func (m *merger) keepPrimaryGroups() {
	g, p := m.files[Group], m.files[Passwd]
	for _, name := range sortedNames(m.users) {
		if !m.users[name] {
			continue
		}
		groups, account := g.u, p.u
		if !p.u.has(name) {
			groups, account = g.n, p.n
		}
		for _, group := range groups.withID(account.id(name, 3)) {
			if !m.groups[group] {
				m.groups[group] = true
				m.note(Group, group, "kept as the primary group of "+name)
			}
		}
	}
}

func sortedNames(set map[string]bool) []string {
	var out []string
	for name := range set {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}
