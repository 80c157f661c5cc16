// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package accounts

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// record is one line. A record without a name is one that is not understood.
type record struct {
	raw    string // with the newline, if it had one
	name   string // key: the name, with a number from the second record of that name on
	fields []string
}

// database is an account file as records in their order.
type database struct {
	records []record
	index   map[string]int // by key
	byID    map[uint32][]string
}

// parse splits a file into records; nothing is lost and nothing is an error.
func parse(l layout, content []byte) *database {
	db := &database{index: make(map[string]int), byID: make(map[uint32][]string)}
	next := make(map[string]int) // by name, the number of its next record
	for _, raw := range strings.SplitAfter(string(content), "\n") {
		if raw == "" {
			continue
		}
		r := record{raw: raw}
		if fields, ok := split(l, strings.TrimSuffix(raw, "\n")); ok {
			r.name, r.fields = fields[0], fields
			if next[r.name]++; next[r.name] > 1 {
				r.name = fmt.Sprintf("%s:%d", fields[0], next[fields[0]]) // no name contains a colon
			}
			db.index[r.name] = len(db.records)
			if slices.Contains(l.ids, ownID) {
				id := uint32Of(fields[ownID])
				db.byID[id] = append(db.byID[id], r.name)
			}
		}
		db.records = append(db.records, r)
	}
	return db
}

// split returns the fields of a well-formed record. Comments and NIS lines (+, -) are not.
func split(l layout, line string) ([]string, bool) {
	fields := strings.Split(line, ":")
	if len(fields) != l.fields || fields[0] == "" || strings.ContainsAny(fields[0][:1], "+-#") {
		return nil, false
	}
	for _, i := range l.ids {
		if _, err := strconv.ParseUint(fields[i], 10, 32); err != nil {
			return nil, false
		}
	}
	return fields, true
}

func (db *database) has(name string) bool {
	_, ok := db.index[name]
	return ok
}

// get returns the fields of a record, nil when there is none.
func (db *database) get(name string) []string {
	if i, ok := db.index[name]; ok {
		return db.records[i].fields
	}
	return nil
}

// same reports whether both have the same record of that name, or none.
func (db *database) same(other *database, name string) bool {
	return slices.Equal(db.get(name), other.get(name))
}

// names returns the keys in the order of the file.
func (db *database) names() []string {
	var out []string
	for _, r := range db.records {
		if r.name != "" {
			out = append(out, r.name)
		}
	}
	return out
}

// id returns a numeric field of a record that exists.
func (db *database) id(name string, field int) uint32 {
	fields := db.get(name)
	if fields == nil {
		return 0
	}
	return uint32Of(fields[field])
}

func uint32Of(field string) uint32 {
	id, _ := strconv.ParseUint(field, 10, 32) // split made sure that it is a number
	return uint32(id)
}

// ownID is the field in which a user has its uid, a group its gid.
const ownID = 2

// withID returns the names of the users or groups that have an id.
func (db *database) withID(id uint32) []string { return db.byID[id] }

func number(id uint32) string { return strconv.FormatUint(uint64(id), 10) }
