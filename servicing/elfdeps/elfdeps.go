// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package elfdeps reads from ELF files what the dynamic loader goes by: which libraries a program needs, which
// versions of their symbols, where to look for them, and which versions a library defines.
//
// It reads what the loader reads, the segments: the section headers, which debug/elf goes by, may be stripped, and
// need not say the same. Files are hostile. Every count and every length is bounded, nothing is allocated by what a
// file claims, and a file that makes no sense is ErrFormat.
package elfdeps

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The bounds. Real files stay far below them.
const (
	maxSegments = 512
	maxDynamic  = 16 << 10 // entries
	maxText     = 4 << 10  // bytes of a name or a search path
	maxLoader   = 4 << 10  // bytes of the path of the loader
	maxNeeded   = 4 << 10
	maxVersions = 16 << 10 // entries in all tables of versions together
)

// ErrFormat is wrapped by the error about a file that is no ELF file, or whose parts make no sense.
var ErrFormat = errors.New("not a usable ELF file")

// Kind tells for which machine a file is; only files of one kind can be loaded together.
type Kind struct {
	Class   elf.Class
	Data    elf.Data
	Machine elf.Machine
}

// String names the kind as people know it.
func (k Kind) String() string { return fmt.Sprintf("%s %s", k.Machine, k.Class) }

// File is what the loader goes by.
type File struct {
	Kind
	Type     elf.Type
	Loader   string   // the program that loads it (PT_INTERP); "" for none
	Dynamic  bool     // it has something to load
	Soname   string   // the name that a library goes by; "" when it says none
	Needed   []string // the libraries, by name, or by path if there is a slash in it
	RPath    []string // directories, as written; nothing when there is a RunPath
	RunPath  []string
	NoDefLib bool // the default directories are not looked in
	// Requires holds for libraries the versions that must be defined by them. Weak ones are left out.
	Requires map[string][]string
	// Defines holds the versions that a library defines.
	Defines []string
}

// Magic is what every ELF file begins with.
const Magic = elf.ELFMAG

// Read reads a file of a size. Errors wrap ErrFormat, or are those of the reader.
func Read(r io.ReaderAt, size int64) (*File, error) {
	d := &decoder{r: r, size: size}
	f, err := d.file()
	if err != nil {
		return nil, fmt.Errorf("read ELF file: %w", err)
	}
	return f, nil
}

// decoder reads pieces of a file.
type decoder struct {
	r        io.ReaderAt
	size     int64
	order    binary.ByteOrder
	wide     bool // of 64 bits
	loads    []segment
	versions int // entries of tables of versions read
}

// segment is a part of the file that stands at an address in memory.
type segment struct{ address, offset, size uint64 }

// at returns a piece of the file.
func (d *decoder) at(offset uint64, length int) ([]byte, error) {
	if offset > uint64(d.size) || uint64(length) > uint64(d.size)-offset {
		return nil, fmt.Errorf("%w: it ends early", ErrFormat)
	}
	out := make([]byte, length)
	n, err := d.r.ReadAt(out, int64(offset))
	switch {
	case n == length:
		return out, nil // an io.ReaderAt may say that this was the end
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%w: it became shorter", ErrFormat)
	default:
		return nil, err
	}
}

// pick returns a number of the length that the class of the file has at one of two offsets.
func (d *decoder) pick(b []byte, at32, at64 int) uint64 {
	if d.wide {
		return d.order.Uint64(b[at64:])
	}
	return uint64(d.order.Uint32(b[at32:]))
}

func (d *decoder) file() (*File, error) {
	ident, err := d.at(0, elf.EI_NIDENT)
	if err != nil {
		return nil, err
	}
	f := &File{Requires: make(map[string][]string)}
	f.Class, f.Data = elf.Class(ident[elf.EI_CLASS]), elf.Data(ident[elf.EI_DATA])
	switch {
	case string(ident[:len(Magic)]) != Magic:
		return nil, fmt.Errorf("%w: it begins with something else", ErrFormat)
	case f.Class != elf.ELFCLASS32 && f.Class != elf.ELFCLASS64, f.Data != elf.ELFDATA2LSB && f.Data != elf.ELFDATA2MSB:
		return nil, fmt.Errorf("%w: of no known class or byte order", ErrFormat)
	}
	d.wide = f.Class == elf.ELFCLASS64
	d.order = binary.LittleEndian
	if f.Data == elf.ELFDATA2MSB {
		d.order = binary.BigEndian
	}
	length := 52
	if d.wide {
		length = 64
	}
	header, err := d.at(0, length)
	if err != nil {
		return nil, err
	}
	f.Type, f.Machine = elf.Type(d.order.Uint16(header[16:])), elf.Machine(d.order.Uint16(header[18:]))
	return f, d.segments(f, header)
}

// segments reads the program headers and what they lead to.
func (d *decoder) segments(f *File, header []byte) error {
	offset := d.pick(header, 28, 32)
	tail := header[len(header)-12:] // flags come before, and the same six numbers after
	size, count := int(d.order.Uint16(tail[2:])), int(d.order.Uint16(tail[4:]))
	least := 32
	if d.wide {
		least = 56
	}
	if count > maxSegments || count > 0 && size < least {
		return fmt.Errorf("%w: %d program headers of %d bytes", ErrFormat, count, size)
	}
	table, err := d.at(offset, count*size)
	if err != nil {
		return err
	}
	var loader, dynamic *segment
	for i := range count {
		b := table[i*size:]
		s := segment{offset: d.pick(b, 4, 8), address: d.pick(b, 8, 16), size: d.pick(b, 16, 32)}
		switch elf.ProgType(d.order.Uint32(b)) {
		case elf.PT_LOAD:
			d.loads = append(d.loads, s)
		case elf.PT_INTERP:
			loader = &s
		case elf.PT_DYNAMIC:
			dynamic = &s
		}
	}
	if loader != nil {
		if f.Loader, err = d.text(loader.offset, min(loader.size, maxLoader)); err != nil {
			return err
		}
	}
	if dynamic == nil {
		return nil
	}
	f.Dynamic = true
	return d.dynamic(f, *dynamic)
}

// text returns the string at an offset, which ends with a zero byte within a length.
func (d *decoder) text(offset, length uint64) (string, error) {
	if offset > uint64(d.size) {
		return "", fmt.Errorf("%w: a name is outside of it", ErrFormat)
	}
	b, err := d.at(offset, int(min(length, uint64(d.size)-offset)))
	if err != nil {
		return "", err
	}
	name, _, ends := bytes.Cut(b, []byte{0})
	if !ends {
		return "", fmt.Errorf("%w: a name does not end", ErrFormat)
	}
	return string(name), nil
}

// offset returns where in the file an address is.
func (d *decoder) offset(address uint64) (uint64, error) {
	for _, s := range d.loads {
		if address >= s.address && address-s.address < s.size {
			offset := s.offset + (address - s.address)
			if offset < s.offset {
				break
			}
			return offset, nil
		}
	}
	return 0, fmt.Errorf("%w: an address is in no segment", ErrFormat)
}
