// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ldcache merges the cache of the dynamic loader, /etc/ld.so.cache: which library is where. It is derived
// from all libraries there are, but each of them is a record of its own; so the cache for a merged system can be made
// of two caches, without looking at a library and without running anything of the container.
//
// Only the format that glibc has written since 2.32 is understood, little-endian, and without libraries for certain
// kinds of processors (glibc-hwcaps).
package ldcache

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
)

// The layout of the file: a header, the entries, the strings that they point to, and extensions.
const (
	magic        = "glibc-ld.so.cache1.1"
	headerSize   = 48
	entrySize    = 24
	countAt      = 20
	stringsAt    = 24
	flagsAt      = 28
	littleEndian = 2
)

// Library is an entry of the cache.
type Library struct {
	Name, Path string
	Flags      uint32 // what kind of library it is: for which C library and which architecture
	OSVersion  uint32
	HWCap      uint64
}

// Cache is the content of a cache, in its order.
type Cache []Library

// Parse reads a cache; it reports false when it is not understood.
func Parse(content []byte) (Cache, bool) {
	le := binary.LittleEndian
	if len(content) < headerSize || string(content[:len(magic)]) != magic || content[flagsAt]&3 != littleEndian {
		return nil, false
	}
	count := int(le.Uint32(content[countAt:]))
	if count > (len(content)-headerSize)/entrySize {
		return nil, false
	}
	out := make(Cache, 0, count)
	for entry := range slices.Chunk(content[headerSize:headerSize+count*entrySize], entrySize) {
		name, okName := text(content, le.Uint32(entry[4:]))
		path, okPath := text(content, le.Uint32(entry[8:]))
		one := Library{name, path, le.Uint32(entry), le.Uint32(entry[12:]), le.Uint64(entry[16:])}
		if !okName || !okPath || one.HWCap != 0 {
			return nil, false
		}
		out = append(out, one)
	}
	return out, true
}

// text returns the string at an offset.
func text(content []byte, at uint32) (string, bool) {
	if int64(at) >= int64(len(content)) {
		return "", false
	}
	end := bytes.IndexByte(content[at:], 0)
	if end < 0 {
		return "", false
	}
	return string(content[at : int(at)+end]), true
}

// Merge merges three-way by library: the user's with what the base added and without what it removed, as far as they
// exist.
func Merge(old, base, user Cache, exists func(path string) bool) Cache {
	inOld, inBase, inUser := set(old), set(base), set(user)
	var out Cache
	for _, one := range user {
		if inBase[one] || !inOld[one] {
			out = append(out, one)
		}
	}
	for _, one := range base {
		if !inOld[one] && !inUser[one] {
			out = append(out, one)
		}
	}
	out = slices.DeleteFunc(out, func(one Library) bool { return !exists(one.Path) })
	slices.SortStableFunc(out, compare)
	return out
}

func set(c Cache) map[Library]bool {
	out := make(map[Library]bool, len(c))
	for _, one := range c {
		out[one] = true
	}
	return out
}

// compare orders libraries as the loader expects them: by name, descending, then by kind, descending.
func compare(a, b Library) int {
	if order := compareNames(b.Name, a.Name); order != 0 {
		return order
	}
	switch {
	case a.Flags > b.Flags:
		return -1
	case a.Flags < b.Flags:
		return 1
	default:
		return 0
	}
}

// compareNames compares names with the numbers in them as numbers.
func compareNames(a, b string) int {
	for a != "" && b != "" {
		numberA, restA := digits(a)
		numberB, restB := digits(b)
		switch {
		case numberA != "" && numberB != "":
			if order := compareNumbers(numberA, numberB); order != 0 {
				return order
			}
			a, b = restA, restB
		case numberA != "":
			return 1
		case numberB != "":
			return -1
		case a[0] != b[0]:
			return int(a[0]) - int(b[0])
		default:
			a, b = a[1:], b[1:]
		}
	}
	return len(a) - len(b)
}

func digits(s string) (number, rest string) {
	end := 0
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	return s[:end], s[end:]
}

func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// Render writes the cache.
func (c Cache) Render() []byte {
	le := binary.LittleEndian
	var table bytes.Buffer
	offsets := make(map[string]uint32)
	offset := func(s string) uint32 {
		at, known := offsets[s]
		if !known {
			at = uint32(headerSize + len(c)*entrySize + table.Len())
			offsets[s] = at
			table.WriteString(s)
			table.WriteByte(0)
		}
		return at
	}
	out := make([]byte, headerSize, headerSize+len(c)*entrySize)
	for _, one := range c {
		out = le.AppendUint32(out, one.Flags)
		out = le.AppendUint32(out, offset(one.Name))
		out = le.AppendUint32(out, offset(one.Path))
		out = le.AppendUint32(out, one.OSVersion)
		out = le.AppendUint64(out, one.HWCap)
	}
	copy(out, magic)
	le.PutUint32(out[countAt:], uint32(len(c)))
	le.PutUint32(out[stringsAt:], uint32(table.Len()))
	out[flagsAt] = littleEndian
	return append(out, table.Bytes()...)
}
