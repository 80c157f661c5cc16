// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package elftest makes ELF files for tests: no code, only what the dynamic loader goes by.
package elftest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/elfdeps"
)

// Build makes a file with what f says. The first needed libraries come first; a kind that is not set is that of amd64.
func Build(f elfdeps.File) []byte {
	if f.Class == 0 {
		f.Kind = elfdeps.Kind{Class: elf.ELFCLASS64, Data: elf.ELFDATA2LSB, Machine: elf.EM_X86_64}
	}
	if f.Type == 0 {
		f.Type = elf.ET_DYN
	}
	b := &builder{f: f, order: binary.ByteOrder(binary.LittleEndian), names: []byte{0}}
	if f.Data == elf.ELFDATA2MSB {
		b.order = binary.BigEndian
	}
	return b.build()
}

// base is the address at which the file stands in memory.
const base = 0x10000

type builder struct {
	f     elfdeps.File
	order binary.ByteOrder
	names []byte
	out   bytes.Buffer
}

func (b *builder) wide() bool { return b.f.Class == elf.ELFCLASS64 }

// name adds a string to the table and returns where it is.
func (b *builder) name(s string) uint64 {
	at := len(b.names)
	b.names = append(append(b.names, s...), 0)
	return uint64(at)
}

func (b *builder) put(w *bytes.Buffer, values ...any) {
	for _, v := range values {
		if err := binary.Write(w, b.order, v); err != nil {
			panic(err) // a value that is no number: a mistake in this file
		}
	}
}

// word adds a number of the length of an address.
func (b *builder) word(w *bytes.Buffer, values ...uint64) {
	for _, v := range values {
		if b.wide() {
			b.put(w, v)
		} else {
			b.put(w, uint32(v))
		}
	}
}

// piece adds to the body and returns where it is.
func (b *builder) piece(body *bytes.Buffer, content []byte) uint64 {
	for body.Len()%8 != 0 {
		body.WriteByte(0)
	}
	at := body.Len()
	body.Write(content)
	return uint64(at)
}

func (b *builder) build() []byte {
	header, segment, segments := 52, 32, 3
	if b.wide() {
		header, segment = 64, 56
	}
	var body bytes.Buffer
	body.Write(make([]byte, header+segments*segment))
	loader := b.piece(&body, append([]byte(b.f.Loader), 0))
	var dynamic bytes.Buffer
	for _, name := range b.f.Needed {
		b.word(&dynamic, uint64(elf.DT_NEEDED), b.name(name))
	}
	for _, one := range []struct {
		tag  elf.DynTag
		text string
	}{
		{elf.DT_SONAME, b.f.Soname}, {elf.DT_RPATH, strings.Join(b.f.RPath, ":")},
		{elf.DT_RUNPATH, strings.Join(b.f.RunPath, ":")},
	} {
		if one.text != "" {
			b.word(&dynamic, uint64(one.tag), b.name(one.text))
		}
	}
	if b.f.NoDefLib {
		b.word(&dynamic, uint64(elf.DT_FLAGS_1), 0x800)
	}
	if len(b.f.Requires) > 0 {
		b.word(&dynamic, uint64(elf.DT_VERNEED), base+b.piece(&body, b.requires()))
		b.word(&dynamic, uint64(elf.DT_VERNEEDNUM), uint64(len(b.f.Requires)))
	}
	if len(b.f.Defines) > 0 {
		b.word(&dynamic, uint64(elf.DT_VERDEF), base+b.piece(&body, b.defines()))
		b.word(&dynamic, uint64(elf.DT_VERDEFNUM), uint64(len(b.f.Defines)+1))
	}
	b.word(&dynamic, uint64(elf.DT_STRTAB), base+b.piece(&body, b.names), uint64(elf.DT_STRSZ), uint64(len(b.names)))
	b.word(&dynamic, 0, 0)
	at := b.piece(&body, dynamic.Bytes())
	b.header(header, segment, segments)
	b.segment(elf.PT_LOAD, 0, uint64(body.Len()))
	kind, size := elf.PT_INTERP, uint64(len(b.f.Loader)+1)
	if b.f.Loader == "" {
		kind = elf.PT_NULL
	}
	b.segment(kind, loader, size)
	b.segment(elf.PT_DYNAMIC, at, uint64(dynamic.Len()))
	return append(b.out.Bytes(), body.Bytes()[b.out.Len():]...)
}

func (b *builder) header(size, segment, segments int) {
	b.out.WriteString(elf.ELFMAG)
	b.out.Write([]byte{byte(b.f.Class), byte(b.f.Data), 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	b.put(&b.out, uint16(b.f.Type), uint16(b.f.Machine), uint32(1))
	b.word(&b.out, 0, uint64(size), 0)
	b.put(&b.out, uint32(0), uint16(size), uint16(segment), uint16(segments), uint16(0), uint16(0), uint16(0))
}

func (b *builder) segment(kind elf.ProgType, offset, size uint64) {
	b.put(&b.out, uint32(kind))
	if b.wide() {
		b.put(&b.out, uint32(elf.PF_R))
	}
	b.word(&b.out, offset, base+offset, base+offset, size, size)
	if !b.wide() {
		b.put(&b.out, uint32(elf.PF_R))
	}
	b.word(&b.out, 8)
}

// requires is the table of the versions that are needed.
func (b *builder) requires() []byte {
	var out bytes.Buffer
	libraries := slices.Sorted(maps.Keys(b.f.Requires))
	for i, library := range libraries {
		versions := b.f.Requires[library]
		next := uint32(16 + 16*len(versions))
		if i == len(libraries)-1 {
			next = 0
		}
		b.put(&out, uint16(1), uint16(len(versions)), uint32(b.name(library)), uint32(16), next)
		for j, version := range versions {
			next := uint32(16)
			if j == len(versions)-1 {
				next = 0
			}
			b.put(&out, uint32(0), uint16(0), uint16(2), uint32(b.name(version)), next)
		}
	}
	return out.Bytes()
}

// defines is the table of the versions that there are; the first is the name of the library.
func (b *builder) defines() []byte {
	var out bytes.Buffer
	all := append([]string{b.f.Soname}, b.f.Defines...)
	for i, version := range all {
		flags, next := uint16(0), uint32(28)
		if i == 0 {
			flags = 1
		}
		if i == len(all)-1 {
			next = 0
		}
		b.put(&out, uint16(1), flags, uint16(i+1), uint16(1), uint32(0), uint32(20), next, uint32(b.name(version)),
			uint32(0))
	}
	return out.Bytes()
}
