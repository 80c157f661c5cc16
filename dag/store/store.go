// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package store keeps a [dag.Graph] on disk, in a bbolt database.
//
// The graph is read into memory when the store is opened; readers never touch the database. A change is written in one
// transaction: after a crash the graph has all of it or nothing.
package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// Version is the version of the database schema that this package writes.
const Version = 1

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
)

// Store is a graph on disk. It is safe for concurrent use.
type Store struct {
	db *bbolt.DB

	write sync.Mutex   // held for a whole change
	read  sync.RWMutex // guards graph against readers while a change is applied
	graph *dag.Graph

	ids        sync.Mutex
	nextNode   dag.NodeID
	nextUpdate dag.UpdateID
}

// Open reads the graph in the database at path, and creates an empty one where there is none. It fails with
// errdefs.ErrUnavailable when another process has the database open, with errdefs.ErrFailedPrecondition when a newer
// version wrote it, and with errdefs.ErrDataLoss and the name of the record when one cannot be read. Node ids up to and
// including used are never given out.
func Open(path string, used dag.NodeID) (*Store, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open %s: another process has it open: %w", path, errdefs.ErrUnavailable)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	s := &Store{db: db, graph: dag.New()}
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("load %s: %w", path, err), db.Close())
	}
	s.nextNode = max(s.nextNode, used+1)
	return s, nil
}

// Close closes the database. The store cannot be used afterwards.
func (s *Store) Close() error {
	s.write.Lock()
	defer s.write.Unlock()
	return s.db.Close()
}

// NewNode returns a node id that was not given out since the store was opened, that no node of the graph ever had, and that
// was not given out before a change that is on disk. After a crash only directories can tell of later ones; see used of
// [Open].
func (s *Store) NewNode() dag.NodeID {
	s.ids.Lock()
	defer s.ids.Unlock()
	id := s.nextNode
	s.nextNode++
	return id
}

// NewUpdate returns an update id that was never given out to an update that was recorded.
func (s *Store) NewUpdate() dag.UpdateID {
	s.ids.Lock()
	defer s.ids.Unlock()
	id := s.nextUpdate
	s.nextUpdate++
	return id
}

// View calls fn with the graph, which does not change meanwhile. fn must neither keep the graph nor block.
func (s *Store) View(fn func(g *dag.Graph)) {
	s.read.RLock()
	defer s.read.RUnlock()
	fn(s.graph)
}

// Do carries out transformations as one change. When it returns without an error the change is on disk; when it fails,
// nothing has changed.
func (s *Store) Do(ts ...dag.Transformation) (dag.Change, error) {
	s.write.Lock()
	defer s.write.Unlock()
	// Only a holder of write changes the graph, so it can be read here without the other lock.
	c, err := s.graph.Plan(ts...)
	if err != nil {
		return dag.Change{}, err
	}
	if err := s.db.Update(func(tx *bbolt.Tx) error { return s.save(tx, c) }); err != nil {
		return dag.Change{}, fmt.Errorf("write change: %w", err)
	}
	s.read.Lock()
	defer s.read.Unlock()
	s.graph.Apply(c)
	return c, nil
}

func (s *Store) save(tx *bbolt.Tx, c dag.Change) error {
	s.ids.Lock()
	nextNode, nextUpdate := uint64(s.nextNode), uint64(s.nextUpdate)
	s.ids.Unlock()
	meta := tx.Bucket(bucketMeta)
	return errors.Join(
		meta.Put(keyNextNode, number(nextNode)),
		meta.Put(keyNextUpdate, number(nextUpdate)),
		put(tx.Bucket(bucketNodes), c.Nodes, numberKey),
		put(tx.Bucket(bucketNames), c.Names, textKey),
		put(tx.Bucket(bucketStorages), c.Storages, textKey),
		put(tx.Bucket(bucketUpdates), c.Updates, numberKey),
	)
}

func put[K comparable, V any](b *bbolt.Bucket, records map[K]*V, key func(K) []byte) error {
	for k, v := range records {
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
	}
	return nil
}

func (s *Store) load() error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		if err := prepare(tx); err != nil {
			return err
		}
		nextNode, err := readNumber(tx, keyNextNode)
		nextUpdate, err2 := readNumber(tx, keyNextUpdate)
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		s.nextNode, s.nextUpdate = dag.NodeID(max(1, nextNode)), dag.UpdateID(max(1, nextUpdate))
		nodes, err := all(tx, bucketNodes, func(n dag.Node) []byte { return numberKey(n.ID) })
		names, err2 := all(tx, bucketNames, func(n dag.Name) []byte { return textKey(n.Key) })
		storages, err3 := all(tx, bucketStorages, func(s dag.Storage) []byte { return textKey(s.Name) })
		updates, err4 := all(tx, bucketUpdates, func(u dag.Update) []byte { return numberKey(u.ID) })
		if err := errors.Join(err, err2, err3, err4); err != nil {
			return err
		}
		s.graph.Load(nodes, names, storages, updates)
		return nil
	})
}

// prepare creates what a new database lacks and refuses one of a newer version.
func prepare(tx *bbolt.Tx) error {
	for _, name := range [][]byte{bucketMeta, bucketNodes, bucketNames, bucketStorages, bucketUpdates} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	meta := tx.Bucket(bucketMeta)
	if meta.Get(keyVersion) != nil {
		got, err := readNumber(tx, keyVersion)
		if got > Version {
			return fmt.Errorf("schema version %d is newer than %d, which this version of molt knows: %w", got, Version, errdefs.ErrFailedPrecondition)
		}
		return err
	}
	return errors.Join(
		meta.Put(keyVersion, number(Version)),
		meta.Put(keyNextNode, number(1)),
		meta.Put(keyNextUpdate, number(1)),
	)
}

// all reads the records of a bucket, each of which must say that it has the key under which it is.
func all[V any](tx *bbolt.Tx, bucket []byte, keyOf func(V) []byte) ([]V, error) {
	var vs []V
	err := tx.Bucket(bucket).ForEach(func(k, data []byte) error {
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
	v := tx.Bucket(bucketMeta).Get(key)
	if len(v) != numberSize {
		return 0, corrupt(bucketMeta, key, fmt.Sprintf("it has %d bytes, not %d", len(v), numberSize))
	}
	return binary.BigEndian.Uint64(v), nil
}

func corrupt(bucket, key []byte, why string) error {
	return fmt.Errorf("%s record %s: %s: %w", bucket, show(bucket, key), why, errdefs.ErrDataLoss)
}

// show writes a key for people.
func show(bucket, key []byte) string {
	numbered := bytes.Equal(bucket, bucketNodes) || bytes.Equal(bucket, bucketUpdates)
	if numbered && len(key) == numberSize {
		return fmt.Sprint(binary.BigEndian.Uint64(key))
	}
	return fmt.Sprintf("%q", key)
}

// numberSize is the length of a number on disk.
const numberSize = 8

func number(n uint64) []byte          { return binary.BigEndian.AppendUint64(nil, n) }
func numberKey[K ~uint64](k K) []byte { return number(uint64(k)) }
func textKey(k string) []byte         { return []byte(k) }
