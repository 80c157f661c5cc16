// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// create writes a database with the given contents, which takes the place of the one at path once it is on disk.
func create(path string, c contents) (db *bbolt.DB, total sum, err error) {
	temporary := path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, 0, err
	}
	if db, err = openDatabase(temporary, false); err != nil {
		return nil, 0, err
	}
	err = db.Update(func(tx *bbolt.Tx) (err error) { total, err = c.write(tx); return err })
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		err = errors.Join(err, db.Close())
		if gone := os.Remove(temporary); gone != nil && !errors.Is(gone, os.ErrNotExist) {
			err = errors.Join(err, gone) // what is left of it would keep the disk full
		}
		return nil, 0, err
	}
	return db, total, nil
}

// renew writes the database at path again with the contents that were read from it. When the disk is full that database
// is used as it is: what frees space must work then.
func renew(path string, c contents) (*bbolt.DB, sum, error) {
	db, total, err := create(path, c)
	if err == nil || !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return db, total, err
	}
	if info, missing := os.Stat(path); missing != nil || info.Size() == 0 {
		return nil, 0, err
	}
	db, total, failed := reuse(path)
	if failed != nil {
		return nil, 0, errors.Join(err, failed)
	}
	return db, total, nil
}

// reuse opens the database at path to go on with it, and returns the sum of its records. One of an earlier version is
// refused where it has no sum; the first change makes it one of this version.
func reuse(path string) (db *bbolt.DB, total sum, err error) {
	if db, err = openDatabase(path, false); err != nil {
		return nil, 0, err
	}
	err = guarded(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			version, err := readNumber(tx, keyVersion)
			if err == nil && (version < firstWithSum || version > Version) {
				err = fmt.Errorf("schema version %d cannot be written to: %w", version, errdefs.ErrFailedPrecondition)
			}
			if err == nil {
				err = verifySum(tx)
			}
			if err == nil {
				total, err = recordsSum(tx)
			}
			return err
		})
	})
	if err != nil {
		return nil, 0, errors.Join(err, db.Close())
	}
	return db, total, nil
}

// write fills an empty database.
func (c contents) write(tx *bbolt.Tx) (total sum, err error) {
	for _, name := range [][]byte{bucketMeta, bucketNodes, bucketNames, bucketStorages, bucketUpdates} {
		if _, err := tx.CreateBucket(name); err != nil {
			return 0, err
		}
	}
	err = errors.Join(
		put(tx, &total, bucketNodes, byKey(c.nodes, func(n dag.Node) dag.NodeID { return n.ID }), numberKey),
		put(tx, &total, bucketNames, byKey(c.names, func(n dag.Name) string { return n.Key }), textKey),
		put(tx, &total, bucketStorages, byKey(c.storages, func(s dag.Storage) string { return s.Name }), textKey),
		put(tx, &total, bucketUpdates, byKey(c.updates, func(u dag.Update) dag.UpdateID { return u.ID }), numberKey),
	)
	if err != nil {
		return 0, err
	}
	return total, putMeta(tx, total, map[*[]byte]uint64{&keyNextNode: c.nextNode, &keyNextUpdate: c.nextUpdate,
		&keySequence: c.sequence})
}

func byKey[K comparable, V any](records []V, key func(V) K) map[K]*V {
	m := make(map[K]*V, len(records))
	for i := range records {
		m[key(records[i])] = &records[i]
	}
	return m
}

// save writes a change, and returns the sum of the records with it.
func (s *Store) save(tx *bbolt.Tx, c dag.Change) (sum, error) {
	s.ids.Lock()
	nextNode, nextUpdate := uint64(s.nextNode), uint64(s.nextUpdate)
	s.ids.Unlock()
	next := s.sum
	err := errors.Join(
		put(tx, &next, bucketNodes, c.Nodes, numberKey),
		put(tx, &next, bucketNames, c.Names, textKey),
		put(tx, &next, bucketStorages, c.Storages, textKey),
		put(tx, &next, bucketUpdates, c.Updates, numberKey),
		putMeta(tx, next, map[*[]byte]uint64{&keyNextNode: nextNode, &keyNextUpdate: nextUpdate,
			&keySequence: s.sequence.Load() + 1}),
	)
	return next, err
}

// putMeta writes what a database says of itself.
func putMeta(tx *bbolt.Tx, records sum, numbers map[*[]byte]uint64) error {
	meta := tx.Bucket(bucketMeta)
	errs := []error{meta.Put(keyVersion, number(Version))}
	for key, n := range numbers {
		errs = append(errs, meta.Put(*key, number(n)))
	}
	total, err := withMeta(tx, records)
	return errors.Join(append(errs, err, meta.Put(keySum, number(uint64(total))))...)
}

func put[K comparable, V any](tx *bbolt.Tx, total *sum, bucket []byte, records map[K]*V, key func(K) []byte) error {
	b := tx.Bucket(bucket)
	for k, v := range records {
		if old := b.Get(key(k)); old != nil {
			*total -= record(bucket, key(k), old)
		}
		if v == nil {
			if err := b.Delete(key(k)); err != nil {
				return err
			}
			continue
		}
		data, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if err := b.Put(key(k), data); err != nil {
			return err
		}
		*total += record(bucket, key(k), data)
	}
	return nil
}
