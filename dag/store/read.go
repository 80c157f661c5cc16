// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	"go.etcd.io/bbolt"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// inspect reads a database without writing to it, and makes sure that every record is as it was written. One that does
// not exist or is empty says nothing.
func inspect(path string) (c contents, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0 {
		return contents{nextNode: 1, nextUpdate: 1}, nil
	}
	if err != nil {
		return c, err
	}
	if err := sound(path); err != nil {
		return c, err
	}
	db, err := openDatabase(path, true)
	if err != nil {
		return c, err
	}
	err = guarded(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			if c, err = read(tx); err == nil {
				err = verifySum(tx)
			}
			// a version that is not what was written must not pass for a newer one alone
			return errors.Join(err, supported(tx))
		})
	})
	c.sequence = max(c.sequence, 1) // version 1 did not count
	return c, errors.Join(err, db.Close())
}

func verifySum(tx *bbolt.Tx) error {
	if version, err := readNumber(tx, keyVersion); err != nil || version < Version {
		return err
	}
	got, err := sumOf(tx)
	if err != nil {
		return err
	}
	want, err := readNumber(tx, keySum)
	if err == nil && want != uint64(got) {
		err = fmt.Errorf("its records are not those that were written: %w", errdefs.ErrDataLoss)
	}
	return err
}

// supported refuses a database of a newer version.
func supported(tx *bbolt.Tx) error {
	got, err := readNumber(tx, keyVersion)
	if err != nil || got <= Version {
		return err
	}
	return fmt.Errorf("schema version %d is newer than %d, which this version of molt knows: %w", got, Version,
		errdefs.ErrFailedPrecondition)
}

// contents is all that a database says.
type contents struct {
	nodes    []dag.Node
	names    []dag.Name
	storages []dag.Storage
	updates  []dag.Update

	nextNode, nextUpdate, sequence uint64
}

func (c contents) graph() *dag.Graph {
	g := dag.New()
	g.Load(c.nodes, c.names, c.storages, c.updates)
	return g
}

// used has ids up to some never given out.
func (c *contents) used(node dag.NodeID, update dag.UpdateID) {
	c.nextNode, c.nextUpdate = max(c.nextNode, uint64(node)+1), max(c.nextUpdate, uint64(update)+1)
}

func read(tx *bbolt.Tx) (c contents, err error) {
	var errs [7]error
	c.nextNode, errs[0] = readNumber(tx, keyNextNode)
	c.nextUpdate, errs[1] = readNumber(tx, keyNextUpdate)
	if version, err := readNumber(tx, keyVersion); err != nil || version > 1 {
		c.sequence, errs[2] = readNumber(tx, keySequence)
	}
	c.nodes, errs[3] = all(tx, bucketNodes, func(n dag.Node) []byte { return numberKey(n.ID) })
	c.names, errs[4] = all(tx, bucketNames, func(n dag.Name) []byte { return textKey(n.Key) })
	c.storages, errs[5] = all(tx, bucketStorages, func(s dag.Storage) []byte { return textKey(s.Name) })
	c.updates, errs[6] = all(tx, bucketUpdates, func(u dag.Update) []byte { return numberKey(u.ID) })
	return c, errors.Join(errs[:]...)
}

// all reads the records of a bucket, each of which must say that it has the key under which it is.
func all[V any](tx *bbolt.Tx, bucket []byte, keyOf func(V) []byte) ([]V, error) {
	b := tx.Bucket(bucket)
	if b == nil {
		return nil, corrupt(bucketMeta, bucket, "there is no such bucket")
	}
	var vs []V
	err := b.ForEach(func(k, data []byte) error {
		var v V
		if err := json.Unmarshal(data, &v); err != nil {
			return corrupt(bucket, k, err.Error())
		}
		if key := keyOf(v); !bytes.Equal(key, k) {
			return corrupt(bucket, k, "it belongs to "+show(bucket, key))
		}
		vs = append(vs, v)
		return nil
	})
	return vs, err
}

func readNumber(tx *bbolt.Tx, key []byte) (uint64, error) {
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		return 0, fmt.Errorf("it has no bucket %s: %w", bucketMeta, errdefs.ErrDataLoss)
	}
	v := meta.Get(key)
	if len(v) != numberSize {
		return 0, corrupt(bucketMeta, key, fmt.Sprintf("it has %d bytes, not %d", len(v), numberSize))
	}
	return binary.BigEndian.Uint64(v), nil
}
