// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package accounts

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// mergeFile returns the merged content. A file that the user removed stays removed.
func (m *merger) mergeFile(f File, old, base, user []byte) []byte {
	if user == nil && (old != nil || base == nil) {
		return nil
	}
	t := m.files[f]
	stays := func(name string) bool { return m.present(f, name) }
	if base == nil && bytes.Equal(user, old) && !slices.ContainsFunc(t.u.names(), stays) {
		return nil
	}
	var out []record
	for _, r := range t.u.records {
		if merged, ok := m.userRecord(f, r); ok {
			out = append(out, merged)
		}
	}
	arrivals := m.arrivals(f)
	at := len(out)
	for at > 0 && strings.ContainsAny(out[at-1].raw[:1], "+-") {
		at-- // NIS lines end the file: nothing behind them is read
	}
	out = slices.Insert(out, at, arrivals...)
	merged := render(out)
	existing := [][]byte{user, base}
	if bytes.Equal(user, old) {
		existing = [][]byte{base, user}
	}
	for _, content := range existing {
		if sameRecords(merged, content) {
			return content
		}
	}
	return merged
}

// userRecord returns what becomes of a record that the user has; false when it goes.
func (m *merger) userRecord(f File, r record) (record, bool) {
	t := m.files[f]
	if r.name == "" {
		removed := t.o.hasRaw(r.raw) && !t.n.hasRaw(r.raw)
		return r, !removed
	}
	if !m.present(f, r.name) {
		return record{}, false
	}
	if !t.n.has(r.name) {
		return m.withoutGone(f, r), true
	}
	fields := m.mergeFields(f, r.name)
	if !slices.Equal(fields, r.fields) {
		r = newRecord(r.name, fields)
	}
	return m.withoutGone(f, r), true
}

// arrivals returns the records of the new base that the user does not have and did not remove.
func (m *merger) arrivals(f File) []record {
	t := m.files[f]
	var out []record
	for _, r := range t.n.records {
		switch {
		case r.name == "":
			if !t.o.hasRaw(r.raw) && !t.u.hasRaw(r.raw) {
				out = append(out, r)
			}
		case !t.u.has(r.name) && m.present(f, r.name):
			out = append(out, m.withoutGone(f, m.translated(f, r)))
		}
	}
	return out
}

// present reports whether a record is in the result. shadow follows passwd and gshadow follows group, so that the pairs
// stay consistent; records without a counterpart, and those of subuid and subgid, are decided on their own.
func (m *merger) present(f File, name string) bool {
	t := m.files[f]
	switch f {
	case Passwd, Shadow:
		if in, known := m.users[name]; known {
			return in
		}
	case Group, Gshadow:
		if in, known := m.groups[name]; known {
			return in
		}
	case Subuid, Subgid:
		if in, known := m.users[base(name)]; known && !in {
			return false
		}
	}
	switch {
	case !t.u.has(name):
		return !t.o.has(name)
	case !t.n.has(name):
		return !t.o.has(name) || !t.u.same(t.o, name)
	default:
		return true
	}
}

// base strips the number that parse gives to further records of the same name.
func base(key string) string {
	name, _, _ := strings.Cut(key, ":")
	return name
}

// translated returns a record of the new base with the ids of the result.
func (m *merger) translated(f File, r record) record {
	fields := slices.Clone(r.fields)
	switch f {
	case Passwd:
		fields[2] = translate(fields[2], m.result.UIDs, m.result.StandingUIDs)
		fields[groupID] = translate(fields[groupID], m.result.GIDs, m.result.StandingGIDs)
	case Group:
		fields[2] = translate(fields[2], m.result.GIDs, m.result.StandingGIDs)
	case Subuid, Subgid:
		fields[1] = m.freeRange(f, fields)
	}
	if slices.Equal(fields, r.fields) {
		return r
	}
	return newRecord(r.name, fields)
}

func translate(field string, maps ...map[uint32]uint32) string {
	id, err := strconv.ParseUint(field, 10, 32)
	if err != nil {
		return field
	}
	for _, ids := range maps {
		if to, mapped := ids[uint32(id)]; mapped {
			return number(to)
		}
	}
	return field
}

// freeRange returns the start for a range of subordinate ids: its own, or behind all others if it overlaps one of the
// user's.
func (m *merger) freeRange(f File, fields []string) string {
	t := m.files[f]
	start, _ := strconv.ParseUint(fields[1], 10, 32) // split made sure that these are numbers
	count, _ := strconv.ParseUint(fields[2], 10, 32)
	end, overlaps := start+count, false
	behind := end
	for _, db := range []*database{t.u, t.n} {
		for _, name := range db.names() {
			first := uint64(db.id(name, 1))
			last := first + uint64(db.id(name, 2))
			behind = max(behind, last)
			overlaps = overlaps || db == t.u && start < last && first < end
		}
	}
	if !overlaps || behind+count > 1<<32-1 {
		return fields[1]
	}
	m.note(f, fields[0], "got a range of its own, because the base's overlaps another one")
	return strconv.FormatUint(behind, 10)
}

func newRecord(name string, fields []string) record {
	return record{raw: strings.Join(fields, ":") + "\n", name: name, fields: fields}
}

func (db *database) hasRaw(raw string) bool {
	return slices.ContainsFunc(db.records, func(r record) bool {
		return r.name == "" && strings.TrimSuffix(r.raw, "\n") == strings.TrimSuffix(raw, "\n")
	})
}

// render joins records; only the last one may lack its newline.
func render(records []record) []byte {
	var out bytes.Buffer
	for i, r := range records {
		out.WriteString(r.raw)
		if i < len(records)-1 && !strings.HasSuffix(r.raw, "\n") {
			out.WriteByte('\n')
		}
	}
	return out.Bytes()
}

// sameRecords reports whether two files hold the same lines, in whatever order: then the existing one is as good.
func sameRecords(a, b []byte) bool {
	if b == nil {
		return false
	}
	linesOf := func(content []byte) []string {
		all := strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
		slices.Sort(all)
		return all
	}
	return slices.Equal(linesOf(a), linesOf(b))
}
