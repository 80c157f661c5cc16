// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package accounts

import "fmt"

// The ranges from which new ids are taken (the defaults of adduser and useradd): system accounts, and people.
const (
	firstSystemID, lastSystemID = 100, 999
	firstUserID, lastUserID     = 1000, 59999
)

// mapIDs decides which id each name has in the result and returns the maps from the new base's ids to the result's,
// where they differ: those that are new, and those that were so before. The id is field 2 of both passwd and group.
func (m *merger) mapIDs(f File, present map[string]bool, busy map[uint32]bool) (out, standing map[uint32]uint32) {
	t := m.files[f]
	out, standing = make(map[uint32]uint32), make(map[uint32]uint32)
	taken := make(map[uint32]bool)
	for id := range busy {
		taken[id] = true
	}
	for _, db := range []*database{t.u, t.n} {
		for _, name := range db.names() {
			taken[db.id(name, 2)] = true
		}
	}
	m.mapCommon(f, present, out, standing)
	for _, name := range t.n.names() {
		if t.u.has(name) || !present[name] {
			continue
		}
		id := t.n.id(name, 2)
		_, mapped := out[id]
		_, stands := standing[id]
		if mapped || stands || !m.collides(f, id, present, busy[id]) {
			continue
		}
		free, ok := freeID(id, taken)
		if !ok {
			text := fmt.Sprintf("would share id %d with %s: no id is free", id, t.u.withID(id)[0])
			m.result.Shared = append(m.result.Shared, Note{Path: layouts[f].path, Name: name, Text: text})
			continue
		}
		taken[free] = true
		out[id] = free
		m.note(f, name, fmt.Sprintf("has id %d instead of %d, which %s has", free, id, t.u.withID(id)[0]))
	}
	return out, standing
}

// mapCommon maps the ids of names that both the new base and the user have: the user's stands. Where the base did not
// change its id, the difference is older: the user's doing, or that of an earlier merge. Then only new files of the
// base have to follow.
func (m *merger) mapCommon(f File, present map[string]bool, out, standing map[uint32]uint32) {
	t := m.files[f]
	for _, name := range t.n.names() {
		if !t.u.has(name) || !present[name] {
			continue
		}
		base, user := t.n.id(name, 2), t.u.id(name, 2)
		if base == user {
			continue
		}
		if t.o.has(name) && t.o.id(name, 2) == base {
			standing[base] = user
			continue
		}
		if other, mapped := out[base]; mapped && other != user {
			m.note(
				f, name,
				fmt.Sprintf("keeps id %d; the base's files of id %d go to id %d, as those of another name", user, base,
					other),
			)
			continue
		}
		out[base] = user
		m.note(f, name, fmt.Sprintf("keeps id %d; the base's files of id %d follow", user, base))
	}
}

// collides reports whether the user has an id for somebody else than the new base, who is in the result or has files.
// Accounts that share an id on purpose (root and toor) do not collide.
func (m *merger) collides(f File, id uint32, present map[string]bool, busy bool) bool {
	t := m.files[f]
	collides := false
	for _, name := range t.u.withID(id) {
		if t.n.has(name) && t.n.id(name, 2) == id {
			return false
		}
		collides = collides || busy || present[name]
	}
	return collides
}

// freeID returns the lowest free id of the range that id is of.
func freeID(id uint32, taken map[uint32]bool) (uint32, bool) {
	first, last := uint32(firstSystemID), uint32(lastSystemID)
	if id >= firstUserID {
		first, last = firstUserID, lastUserID
	}
	for free := first; free <= last; free++ {
		if !taken[free] {
			return free, true
		}
	}
	return 0, false
}
