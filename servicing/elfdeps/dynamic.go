// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package elfdeps

import (
	"debug/elf"
	"fmt"
	"slices"
	"strings"
)

// noDefaultLibrary is the bit of DT_FLAGS_1 by which a file wants no default directories.
const noDefaultLibrary = 0x800

// table holds the entries of the dynamic section that matter here.
type table struct {
	values           map[elf.DynTag]uint64
	needed           []uint64
	names, namesSize uint64 // the string table: where it is in the file, and how long
}

// dynamic reads the dynamic section.
func (d *decoder) dynamic(f *File, s segment) error {
	t, err := d.entries(s)
	if err != nil {
		return err
	}
	address, has := t.values[elf.DT_STRTAB]
	if !has {
		return nil // nothing in it has a name
	}
	if t.names, err = d.offset(address); err != nil {
		return err
	}
	t.namesSize = t.values[elf.DT_STRSZ]
	for _, at := range t.needed {
		name, err := d.name(t, at)
		if err != nil {
			return err
		}
		f.Needed = append(f.Needed, name)
	}
	if f.Soname, err = d.named(t, elf.DT_SONAME); err != nil {
		return err
	}
	if f.RPath, err = d.paths(t, elf.DT_RPATH); err != nil {
		return err
	}
	if f.RunPath, err = d.paths(t, elf.DT_RUNPATH); err != nil {
		return err
	}
	if f.RunPath != nil {
		f.RPath = nil
	}
	f.NoDefLib = t.values[elf.DT_FLAGS_1]&noDefaultLibrary != 0
	if err := d.required(f, t); err != nil {
		return err
	}
	return d.defined(f, t)
}

// entries reads the pairs of tags and values.
func (d *decoder) entries(s segment) (*table, error) {
	size := 8
	if d.wide {
		size = 16
	}
	count := int(min(s.size/uint64(size), maxDynamic))
	t := &table{values: make(map[elf.DynTag]uint64)}
	b, err := d.at(s.offset, count*size)
	if err != nil {
		return nil, err
	}
	for entry := range slices.Chunk(b, size) {
		tag, value := elf.DynTag(d.pick(entry, 0, 0)), d.pick(entry, 4, 8)
		switch tag {
		case elf.DT_NULL:
			return t, nil
		case elf.DT_NEEDED:
			if len(t.needed) == maxNeeded {
				return nil, fmt.Errorf("%w: it needs more than %d libraries", ErrFormat, maxNeeded)
			}
			t.needed = append(t.needed, value)
		case elf.DT_STRTAB, elf.DT_STRSZ, elf.DT_SONAME, elf.DT_RPATH, elf.DT_RUNPATH, elf.DT_FLAGS_1,
			elf.DT_VERNEED, elf.DT_VERNEEDNUM, elf.DT_VERDEF, elf.DT_VERDEFNUM:
			t.values[tag] = value
		}
	}
	return t, nil
}

// name returns a string of the string table.
func (d *decoder) name(t *table, at uint64) (string, error) {
	if at >= t.namesSize || t.names+at < t.names {
		return "", fmt.Errorf("%w: a name is outside of its table", ErrFormat)
	}
	return d.text(t.names+at, min(t.namesSize-at, maxText))
}

// named returns the string that an entry leads to; "" when there is no such entry.
func (d *decoder) named(t *table, tag elf.DynTag) (string, error) {
	at, has := t.values[tag]
	if !has {
		return "", nil
	}
	return d.name(t, at)
}

// paths returns the directories that an entry leads to.
func (d *decoder) paths(t *table, tag elf.DynTag) ([]string, error) {
	text, err := d.named(t, tag)
	if err != nil || text == "" {
		return nil, err
	}
	return strings.Split(text, ":"), nil
}

// weakVersion is the flag of a version that may be missing.
const weakVersion = 0x2

// baseVersion is the flag of the definition that is the name of the library itself.
const baseVersion = 0x1

// required reads which versions of symbols are needed: a chain of libraries, each with a chain of versions.
func (d *decoder) required(f *File, t *table) error {
	return d.chain(t, elf.DT_VERNEED, elf.DT_VERNEEDNUM, 16, 12, func(entry []byte, at uint64) error {
		library, err := d.name(t, uint64(d.order.Uint32(entry[4:])))
		if err != nil {
			return err
		}
		count, first := int(d.order.Uint16(entry[2:])), uint64(d.order.Uint32(entry[8:]))
		return d.each(at+first, count, 16, 12, func(version []byte, _ uint64) error {
			if d.order.Uint16(version[4:])&weakVersion != 0 {
				return nil
			}
			name, err := d.name(t, uint64(d.order.Uint32(version[8:])))
			if err == nil {
				f.Requires[library] = append(f.Requires[library], name)
			}
			return err
		})
	})
}

// defined reads which versions of symbols there are: a chain of definitions, whose first name counts.
func (d *decoder) defined(f *File, t *table) error {
	return d.chain(t, elf.DT_VERDEF, elf.DT_VERDEFNUM, 20, 16, func(entry []byte, at uint64) error {
		if d.order.Uint16(entry[2:])&baseVersion != 0 {
			return nil
		}
		first := uint64(d.order.Uint32(entry[12:]))
		return d.each(at+first, 1, 8, 4, func(name []byte, _ uint64) error {
			text, err := d.name(t, uint64(d.order.Uint32(name)))
			if err == nil {
				f.Defines = append(f.Defines, text)
			}
			return err
		})
	})
}

// chain goes through a table that two entries of the dynamic section tell of.
func (d *decoder) chain(
	t *table, address, number elf.DynTag, size, next int, do func(entry []byte, at uint64) error,
) error {
	at, has := t.values[address]
	if !has {
		return nil
	}
	offset, err := d.offset(at)
	if err != nil {
		return err
	}
	return d.each(offset, int(min(t.values[number], maxVersions)), size, next, do)
}

// each goes through entries of a size, of which each tells, in its last four bytes, how far away the next one is.
func (d *decoder) each(at uint64, count, size, next int, do func(entry []byte, at uint64) error) error {
	for range count {
		if d.versions++; d.versions > maxVersions {
			return fmt.Errorf("%w: it has more than %d versions", ErrFormat, maxVersions)
		}
		entry, err := d.at(at, size)
		if err != nil {
			return err
		}
		if err := do(entry, at); err != nil {
			return err
		}
		step := uint64(d.order.Uint32(entry[next:]))
		if step == 0 {
			return nil
		}
		at += step
	}
	return nil
}
