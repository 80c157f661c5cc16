// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	"go.etcd.io/bbolt"
)

// samplePage is the size of the pages of a sample, small so that there are many of them.
const samplePage = minPageSize

// sample returns a database with all that there is in one: branches, buckets within buckets and without pages of their own,
// values of several pages, pages that are free.
func sample(t testing.TB) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: samplePage, NoSync: true})
	check(t, err)
	check(t, db.Update(func(tx *bbolt.Tx) error {
		many, err := tx.CreateBucket([]byte("many"))
		check(t, err)
		within, err := many.CreateBucket([]byte("within"))
		check(t, err)
		check(t, within.Put([]byte("big"), bytes.Repeat([]byte("x"), 3*samplePage)))
		small, err := tx.CreateBucket([]byte("small"))
		check(t, err)
		check(t, small.Put([]byte("k"), []byte("v")))
		for i := range 60 {
			check(t, many.Put(fmt.Appendf(nil, "key %d", i), bytes.Repeat([]byte("v"), 50)))
		}
		return nil
	}))
	check(t, db.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("many")).DeleteBucket([]byte("within")) }))
	check(t, db.Close())
	content, err := os.ReadFile(path)
	check(t, err)
	return content
}

// readAll lets bbolt read all of a database. A panic, as of keys that are not where they are looked for, is all that may come of it:
// wherever it goes to an address that is none, the process ends.
func readAll(path string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = nil
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, PreLoadFreelist: true, Timeout: lockTimeout})
	if err != nil {
		return err
	}
	read := 0
	var walk func(b *bbolt.Bucket) error
	walk = func(b *bbolt.Bucket) error {
		return b.ForEach(func(k, v []byte) error {
			for _, c := range append(append([]byte{}, k...), v...) {
				read += int(c)
			}
			if v != nil || b.Bucket(k) == nil {
				return nil
			}
			return walk(b.Bucket(k))
		})
	}
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error { return walk(b) })
	})
	if err != nil {
		return err
	}
	return db.Close()
}

func soundBytes(content []byte) error {
	return soundFile(bytes.NewReader(content), int64(len(content)))
}

// pageOf returns a page of a kind that is in use.
func pageOf(t *testing.T, content []byte, kind uint16) []byte {
	t.Helper()
	m, err := readMeta(bytes.NewReader(content), int64(len(content)))
	check(t, err)
	p := pages{file: bytes.NewReader(content), size: m.pageSize, count: uint64(len(content)) / samplePage, seen: map[uint64]bool{}}
	check(t, p.tree(m.root))
	if kind == flagFreelist {
		return content[m.freelist*samplePage:]
	}
	for id := range p.count {
		page := content[id*samplePage:]
		if p.seen[id] && binary.NativeEndian.Uint64(page) == id && binary.NativeEndian.Uint16(page[8:]) == kind && binary.NativeEndian.Uint16(page[10:]) > 0 {
			return page
		}
	}
	t.Fatalf("there is no page of kind %#x", kind)
	return nil
}

func TestSound(t *testing.T) {
	order := binary.NativeEndian
	check(t, soundBytes(sample(t)))
	for name, c := range map[string]struct {
		kind   uint16
		damage func(page []byte)
	}{
		"a page that is not there":            {flagBranch, func(p []byte) { order.PutUint64(p[pageHeader+8:], 1<<40) }},
		"a meta page":                         {flagBranch, func(p []byte) { order.PutUint64(p[pageHeader+8:], 1) }},
		"a page below itself":                 {flagBranch, func(p []byte) { order.PutUint64(p[pageHeader+8:], order.Uint64(p)) }},
		"a branch that leads nowhere":         {flagBranch, func(p []byte) { order.PutUint16(p[10:], 0) }},
		"a key beyond a branch":               {flagBranch, func(p []byte) { order.PutUint32(p[pageHeader:], 1<<31) }},
		"another page":                        {flagLeaf, func(p []byte) { order.PutUint64(p, order.Uint64(p)+1) }},
		"a kind that there is none of":        {flagLeaf, func(p []byte) { order.PutUint16(p[8:], 3) }},
		"more pages than the file has":        {flagLeaf, func(p []byte) { order.PutUint32(p[12:], 1<<32-1) }},
		"more elements than there is":         {flagLeaf, func(p []byte) { order.PutUint16(p[10:], 1<<16-1) }},
		"a key beyond a leaf":                 {flagLeaf, func(p []byte) { order.PutUint32(p[pageHeader+4:], 1<<32-1) }},
		"a value beyond a leaf":               {flagLeaf, func(p []byte) { order.PutUint32(p[pageHeader+12:], 1<<32-1) }},
		"a bucket that is none":               {flagLeaf, func(p []byte) { order.PutUint32(p[pageHeader:], flagBucket); order.PutUint32(p[pageHeader+12:], 0) }},
		"a free page that is in use":          {flagFreelist, func(p []byte) { order.PutUint64(p[pageHeader:], order.Uint64(p)) }},
		"a free meta page":                    {flagFreelist, func(p []byte) { order.PutUint64(p[pageHeader:], 0) }},
		"more free pages than fit":            {flagFreelist, func(p []byte) { order.PutUint16(p[10:], 1<<15) }},
		"a great many free pages":             {flagFreelist, func(p []byte) { order.PutUint16(p[10:], manyFree); order.PutUint64(p[pageHeader:], 1<<62) }},
		"a list of free pages that is a leaf": {flagFreelist, func(p []byte) { order.PutUint16(p[8:], flagLeaf) }},
	} {
		content := sample(t)
		c.damage(pageOf(t, content, c.kind))
		if err := soundBytes(content); !errdefs.IsDataLoss(err) {
			t.Errorf("%s: got error %v, want data loss", name, err)
		}
	}
	for name, content := range map[string][]byte{
		"nothing": {}, "zeros": make([]byte, 1<<14), "a text": bytes.Repeat([]byte("no database\n"), 1<<10),
	} {
		if err := soundBytes(content); !errdefs.IsDataLoss(err) {
			t.Errorf("%s: got error %v, want data loss", name, err)
		}
	}
}

// FuzzSound: what is taken for sound, bbolt can read. The input is what to change: places, of two bytes, and what they are then.
func FuzzSound(f *testing.F) {
	intact := sample(f)
	f.Add([]byte{8, 0, flagLeaf})
	f.Fuzz(func(t *testing.T, edits []byte) {
		content := bytes.Clone(intact)
		for ; len(edits) >= 3; edits = edits[3:] {
			content[int(binary.LittleEndian.Uint16(edits))%len(content)] = edits[2]
		}
		if soundBytes(content) != nil {
			return
		}
		path := filepath.Join(t.TempDir(), "db")
		check(t, os.WriteFile(path, content, 0o600))
		check(t, readAll(path))
	})
}
