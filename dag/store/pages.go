// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"

	"github.com/containerd/errdefs"
)

// bbolt takes from a page where the keys, values and pages are that it speaks of, and goes there. On a damaged page
// these are addresses of anything in the process, and what comes of that is not always a panic that can be caught. So
// the pages are read here first, with every place looked at before it is gone to.

// The form of bbolt's pages; numbers are in the order of the machine.
const (
	pageHeader = 16 // id uint64, flags uint16, count uint16, overflow uint32
	// branch: pos uint32, ksize uint32, page uint64; leaf: flags uint32, pos uint32, ksize uint32, vsize uint32
	elementSize  = 16
	bucketHeader = 16 // root uint64, sequence uint64; a bucket without a root has its only page behind that
	// magic, version, page size and flags uint32, root bucket, free list, high water mark, transaction, sum uint64
	metaSize = 64

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagFreelist = 0x10
	flagBucket   = 0x01 // of an element

	manyFree   = 0xffff // the count of a list of free pages that begins with its length
	noFreelist = ^uint64(0)

	metaMagic   = 0xed0cdaed
	metaVersion = 2
	minPageSize = 1 << 10
	maxPageSize = 1 << 24
)

// sound makes sure that bbolt can read the database at path: that all pages it will come by are in the file, each of
// them once, and all that they speak of is on them. It fails with errdefs.ErrDataLoss if not.
func sound(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return soundFile(f, info.Size())
}

func soundFile(f io.ReaderAt, size int64) error {
	m, err := readMeta(f, size)
	if err != nil {
		return err
	}
	p := pages{file: f, size: m.pageSize, count: uint64(size / m.pageSize), seen: map[uint64]bool{}}
	if err := p.tree(m.root); err != nil {
		return err
	}
	if m.freelist == noFreelist {
		return nil
	}
	return p.freelist(m.freelist)
}

// meta is what a meta page says.
type meta struct {
	pageSize              int64
	root, freelist, write uint64
}

// readMeta reads the meta page that bbolt goes by: of those that are as they were written, that of the later
// transaction.
func readMeta(f io.ReaderAt, size int64) (meta, error) {
	first, ok, err := metaAt(f, 0)
	if err != nil {
		return meta{}, err
	}
	for at := int64(minPageSize); !ok && at <= maxPageSize && at+minPageSize < size; at *= 2 {
		if first, ok, err = metaAt(f, at); err != nil {
			return meta{}, err
		}
	}
	if !ok || first.pageSize < minPageSize || first.pageSize > maxPageSize {
		return meta{}, damaged("it has no valid meta page")
	}
	for _, at := range []int64{0, first.pageSize} {
		switch m, ok, err := metaAt(f, at); {
		case err != nil:
			return meta{}, err
		case ok && m.write > first.write:
			first = m
		}
	}
	return first, nil
}

// MayBeOlder reports whether the database at path may be older than it was: one of its two meta pages is damaged, and
// bbolt goes by the other one, which may be that of the change before the last. It is false where there is no database,
// or none that can be read.
func MayBeOlder(path string) (older bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	m, err := readMeta(f, info.Size())
	if errdefs.IsDataLoss(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, at := range []int64{0, m.pageSize} {
		if _, ok, err := metaAt(f, at); err != nil || !ok {
			return true, err
		}
	}
	return false, nil
}

// metaAt reads a meta page. It reports false if there is none, or not as it was written.
func metaAt(f io.ReaderAt, at int64) (m meta, ok bool, err error) {
	var data [pageHeader + metaSize]byte
	if _, err := f.ReadAt(data[:], at); errors.Is(err, io.EOF) {
		return m, false, nil
	} else if err != nil {
		return m, false, err
	}
	body, order := data[pageHeader:], binary.NativeEndian
	sum := fnv.New64a()
	if _, err := sum.Write(body[:metaSize-8]); err != nil {
		return m, false, err
	}
	m = meta{pageSize: int64(order.Uint32(body[8:])), root: order.Uint64(body[16:]), freelist: order.Uint64(body[32:]),
		write: order.Uint64(body[48:])}
	ok = order.Uint32(body) == metaMagic && order.Uint32(body[4:]) == metaVersion &&
		order.Uint64(body[metaSize-8:]) == sum.Sum64()
	return m, ok, nil
}

// pages reads the pages of a database.
type pages struct {
	file  io.ReaderAt
	size  int64  // of a page, in bytes
	count uint64 // of whole pages in the file
	seen  map[uint64]bool
}

func damaged(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, errdefs.ErrDataLoss)...)
}

// read returns a page with those that follow it as a part of it, each of which is found once only.
func (p pages) read(id uint64) (data []byte, flags uint16, err error) {
	if id < 2 || id >= p.count {
		return nil, 0, damaged("there is no page %d", id)
	}
	header := make([]byte, pageHeader)
	if _, err := p.file.ReadAt(header, int64(id)*p.size); err != nil {
		return nil, 0, err
	}
	more := uint64(binary.NativeEndian.Uint32(header[12:]))
	if got := binary.NativeEndian.Uint64(header); got != id || more >= p.count-id {
		return nil, 0, damaged("page %d says that it is page %d with %d more", id, got, more)
	}
	for part := id; part <= id+more; part++ {
		if p.seen[part] {
			return nil, 0, damaged("page %d is found twice", part)
		}
		p.seen[part] = true
	}
	data = make([]byte, int64(1+more)*p.size)
	_, err = p.file.ReadAt(data, int64(id)*p.size)
	return data, binary.NativeEndian.Uint16(header[8:]), err
}

// tree looks at a page of a bucket and all below it.
func (p pages) tree(id uint64) error {
	data, flags, err := p.read(id)
	if err != nil {
		return err
	}
	switch flags {
	case flagBranch:
		err = p.branch(data)
	case flagLeaf:
		err = p.leaf(data)
	default:
		err = damaged("its kind is %#x", flags)
	}
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

// element returns the nth element of a page, and all from there to the end of the page.
func element(data []byte, n int) ([]byte, error) {
	at := pageHeader + n*elementSize
	if at+elementSize > len(data) {
		return nil, damaged("element %d is not on it", n)
	}
	return data[at:], nil
}

// part returns what an element says is at a place, counted from the element.
func part(data []byte, at, size uint32) ([]byte, error) {
	if uint64(at)+uint64(size) > uint64(len(data)) {
		return nil, damaged("%d bytes at %d are not on it", size, at)
	}
	return data[at:][:size], nil
}

func (p pages) branch(data []byte) error {
	count := int(binary.NativeEndian.Uint16(data[10:]))
	if count == 0 {
		return damaged("a branch leads nowhere")
	}
	for n := range count {
		e, err := element(data, n)
		if err != nil {
			return err
		}
		if _, err := part(e, binary.NativeEndian.Uint32(e), binary.NativeEndian.Uint32(e[4:])); err != nil {
			return err
		}
		if err := p.tree(binary.NativeEndian.Uint64(e[8:])); err != nil {
			return err
		}
	}
	return nil
}

func (p pages) leaf(data []byte) error {
	for n := range int(binary.NativeEndian.Uint16(data[10:])) {
		e, err := element(data, n)
		if err != nil {
			return err
		}
		at, key, value := binary.NativeEndian.Uint32(e[4:]), binary.NativeEndian.Uint32(e[8:]),
			binary.NativeEndian.Uint32(e[12:])
		if uint64(at)+uint64(key) > uint64(len(e)) {
			return damaged("the key of element %d is not on it", n)
		}
		content, err := part(e, at+key, value)
		if err != nil {
			return err
		}
		if binary.NativeEndian.Uint32(e)&flagBucket == 0 {
			continue
		}
		if err := p.bucket(content); err != nil {
			return err
		}
	}
	return nil
}

// bucket looks at the value that is a bucket.
func (p pages) bucket(value []byte) error {
	if len(value) < bucketHeader {
		return damaged("a bucket of %d bytes", len(value))
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return p.tree(root)
	}
	inline := value[bucketHeader:]
	if len(inline) < pageHeader || binary.NativeEndian.Uint16(inline[8:]) != flagLeaf {
		return damaged("a bucket without a page")
	}
	return p.leaf(inline)
}

// freelist looks at the list of free pages, which must be free indeed: they are the ones that are written next.
func (p pages) freelist(id uint64) error {
	data, flags, err := p.read(id)
	if err != nil {
		return err
	}
	if flags != flagFreelist {
		return damaged("page %d is no list of free pages", id)
	}
	ids, count := data[pageHeader:], uint64(binary.NativeEndian.Uint16(data[10:]))
	if count == manyFree {
		count, ids = binary.NativeEndian.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		return damaged("%d free pages are not on page %d", count, id)
	}
	for n := range count {
		free := binary.NativeEndian.Uint64(ids[8*n:])
		if free < 2 || p.seen[free] {
			return damaged("page %d is free and in use", free)
		}
		p.seen[free] = true
	}
	return nil
}
