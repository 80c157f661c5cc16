// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package accounts

import (
	"slices"
	"strings"
)

// How fields are merged.
type fieldKind int

const (
	plain fieldKind = iota // three-way, the user's wins
	own                    // the user's
	names                  // a set of names
)

// fieldKinds says how the fields of each file are merged. Ids are the user's, because files belong to them; ranges of
// subordinate ids as well.
var fieldKinds = [fileCount][]fieldKind{
	Passwd:  {own, plain, own, plain, plain, plain, plain},
	Shadow:  {own, plain, plain, plain, plain, plain, plain, plain, plain},
	Group:   {own, plain, own, names},
	Gshadow: {own, plain, names, names},
	Subuid:  {own, own, own},
	Subgid:  {own, own, own},
}

// secrets are the fields whose content is never told.
var secrets = [fileCount]int{Passwd: 1, Shadow: 1, Group: 1, Gshadow: 1, Subuid: -1, Subgid: -1}

// mergeFields merges a record that the user and the new base have. Where the old base has none, nothing is known about
// what was changed, and the user's fields stand.
func (m *merger) mergeFields(f File, name string) []string {
	t := m.files[f]
	o, stored, u := t.o.get(name), t.n.get(name), t.u.get(name)
	n := m.translated(f, t.n.records[t.n.index[name]]).fields
	if f == Passwd && o != nil && m.sameGroup(o[groupID], stored[groupID]) {
		// it means what it meant: that the user gave the group another id is no change of the base's
		n[groupID] = o[groupID]
	}
	out := slices.Clone(u)
	for i, kind := range fieldKinds[f] {
		switch {
		case kind == own:
		case kind == names && o != nil:
			out[i] = mergeSets(o[i], n[i], u[i])
		case kind == names:
			out[i] = mergeSets("", n[i], u[i])
		case o == nil || n[i] == o[i] || u[i] == n[i]:
		case u[i] == o[i]:
			out[i] = n[i]
		case i == secrets[f]:
			m.note(f, name, "both sides changed the password: the user's stays")
		default:
			m.note(f, name, "both sides changed a field: "+u[i]+" stays, not "+n[i])
		}
	}
	return out
}

// groupID is the field in which a user has the gid of the primary group.
const groupID = 3

// sameGroup reports whether a gid in the old base and one in the new base are the same number and mean the same groups.
func (m *merger) sameGroup(o, n string) bool {
	groups := m.files[Group]
	return o == n && slices.Equal(groups.o.withID(uint32Of(o)), groups.n.withID(uint32Of(n)))
}

// mergeSets merges comma-separated names: the user's, in their order, with what the base added and without what it
// removed.
func mergeSets(o, n, u string) string {
	switch o {
	case n:
		return u
	case u:
		return n
	}
	listN, listU := set(n), set(u)
	inO, inN, inU := members(set(o)), members(listN), members(listU)
	var out []string
	for _, name := range listU {
		if inN[name] || !inO[name] {
			out = append(out, name)
		}
	}
	for _, name := range listN {
		if !inO[name] && !inU[name] {
			out = append(out, name)
		}
	}
	if slices.Equal(out, listU) {
		return u // as it was written
	}
	return strings.Join(out, ",")
}

// set returns the names of a field, each once.
func set(field string) []string {
	var out []string
	seen := make(map[string]bool)
	for name := range strings.SplitSeq(field, ",") {
		if name != "" && !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	return out
}

// members makes a set be looked up in: a user may write any number of names into a field.
func members(list []string) map[string]bool {
	out := make(map[string]bool, len(list))
	for _, name := range list {
		out[name] = true
	}
	return out
}

// withoutGone strips members whose account is not in the result although the base or the user has it. A member that the
// user's record had already without an account is left alone.
func (m *merger) withoutGone(f File, r record) record {
	if f != Group && f != Gshadow {
		return r
	}
	fields := slices.Clone(r.fields)
	for i, kind := range fieldKinds[f] {
		if kind != names {
			continue
		}
		var before map[string]bool
		if user := m.files[f].u.get(r.name); user != nil {
			before = members(set(user[i]))
		}
		all := set(fields[i])
		kept := slices.DeleteFunc(slices.Clone(all), func(name string) bool {
			in, known := m.users[name]
			return known && !in && (m.files[Passwd].u.has(name) || !before[name])
		})
		if len(kept) != len(all) {
			fields[i] = strings.Join(kept, ",")
		}
	}
	if slices.Equal(fields, r.fields) {
		return r
	}
	return newRecord(r.name, fields)
}
