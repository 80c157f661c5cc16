// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/containerd/errdefs"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

// Version is the version of the database schema that this package writes. Version 1 had neither sequence nor sum;
// version 2 neither the base that a container asked for, nor withdrawn updates, nor digests of nodes.
const Version = 3

// firstWithSum is the first version whose records have a sum.
const firstWithSum = 2

// lockTimeout bounds the wait for another process that has the database open.
const lockTimeout = 2 * time.Second

var (
	bucketMeta     = []byte("meta")
	bucketNodes    = []byte("nodes")
	bucketNames    = []byte("names")
	bucketStorages = []byte("storages")
	bucketUpdates  = []byte("updates")

	keyVersion    = []byte("version")
	keyNextNode   = []byte("next_node")
	keyNextUpdate = []byte("next_update")
	keySequence   = []byte("sequence")
	keySum        = []byte("sum")
)

// openDatabase opens a database, to read only or to write as well. What is not a database gives errdefs.ErrDataLoss.
func openDatabase(path string, readOnly bool) (db *bbolt.DB, err error) {
	// The list of free pages is kept: to find it again bbolt reads all of the others where damage cannot be caught.
	options := &bbolt.Options{Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType, ReadOnly: readOnly}
	err = guarded(func() error {
		db, err = bbolt.Open(path, 0o600, options)
		return err
	})
	// of the disk or the kernel: that tells nothing of what is in the database
	_, failed := errors.AsType[unix.Errno](err)
	if err == nil || failed || errdefs.IsDataLoss(err) {
		return db, err
	}
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fmt.Errorf("another process has it open: %w", errdefs.ErrUnavailable)
	}
	return nil, fmt.Errorf("%w: %w", errdefs.ErrDataLoss, err)
}

// guarded calls fn, which reads a database that may have been damaged since [sound] looked at it: bbolt panics on pages
// that make no sense, and the kernel sends a signal for pages that are not in the file.
func guarded(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the database is damaged: %v: %w", r, errdefs.ErrDataLoss)
		}
	}()
	return fn()
}

func corrupt(bucket, key []byte, why string) error {
	return fmt.Errorf("%s record %s: %s: %w", bucket, show(bucket, key), why, errdefs.ErrDataLoss)
}

// maxShown bounds the keys that are shown, in bytes.
const maxShown = 200

// show writes a key for people.
func show(bucket, key []byte) string {
	numbered := bytes.Equal(bucket, bucketNodes) || bytes.Equal(bucket, bucketUpdates)
	if numbered && len(key) == numberSize {
		return fmt.Sprint(binary.BigEndian.Uint64(key))
	}
	key = key[:min(len(key), maxShown)] // a damaged one can be huge
	return fmt.Sprintf("%q", key)
}

// numberSize is the length of a number on disk.
const numberSize = 8

func number(n uint64) []byte          { return binary.BigEndian.AppendUint64(nil, n) }
func numberKey[K ~uint64](k K) []byte { return number(uint64(k)) }
func textKey(k string) []byte         { return []byte(k) }
