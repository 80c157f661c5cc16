// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"hash/fnv"

	"go.etcd.io/bbolt"
)

// sum reports whether a set of records is the one that was written: bbolt guards its meta pages only, so that a page of
// records that went bad on the disk would pass for another set of records. It is the sum of what each record
// contributes, so that a change of few records costs little.
type sum uint64

// record is what one record contributes.
func record(bucket, key, value []byte) sum {
	h := fnv.New64a()
	for _, part := range [][]byte{bucket, key, value} {
		// A hash never fails to be written to.
		_, _ = h.Write(number(uint64(len(part))))
		_, _ = h.Write(part)
	}
	return sum(h.Sum64())
}

// recordsSum adds up all records of the graph: those of buckets that a newer version may bring, too, so that its sum is
// understood by this one.
func recordsSum(tx *bbolt.Tx) (total sum, err error) {
	err = tx.ForEach(func(bucket []byte, b *bbolt.Bucket) error {
		if bytes.Equal(bucket, bucketMeta) {
			return nil
		}
		return b.ForEach(func(k, v []byte) error { total += record(bucket, k, v); return nil })
	})
	return total, err
}

// withMeta adds what the database says of itself, without the sum.
func withMeta(tx *bbolt.Tx, records sum) (sum, error) {
	err := tx.Bucket(bucketMeta).ForEach(func(k, v []byte) error {
		if !bytes.Equal(k, keySum) {
			records += record(bucketMeta, k, v)
		}
		return nil
	})
	return records, err
}

// sumOf adds up all that a database says.
func sumOf(tx *bbolt.Tx) (sum, error) {
	records, err := recordsSum(tx)
	if err != nil {
		return 0, err
	}
	return withMeta(tx, records)
}
