// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package store keeps a [dag.Graph] on disk, in a bbolt database.
//
// The graph is read into memory when the store is opened; readers never touch the database. A change is written in one
// transaction: after a crash the graph has all of it or nothing.
package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"go.etcd.io/bbolt"

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
// errdefs.ErrUnavailable when another process has the database open, and with errdefs.ErrFailedPrecondition when a newer
// version wrote it. Node ids up to and including used are never given out.
func Open(path string, used dag.NodeID) (*Store, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, bbolt.ErrTimeout) {
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

// NewNode returns a node id that was never given out before.
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
		meta := tx.Bucket(bucketMeta)
		s.nextNode = dag.NodeID(max(1, binary.BigEndian.Uint64(meta.Get(keyNextNode))))
		s.nextUpdate = dag.UpdateID(max(1, binary.BigEndian.Uint64(meta.Get(keyNextUpdate))))
		nodes, err := all[dag.Node](tx.Bucket(bucketNodes))
		names, err2 := all[dag.Name](tx.Bucket(bucketNames))
		storages, err3 := all[dag.Storage](tx.Bucket(bucketStorages))
		updates, err4 := all[dag.Update](tx.Bucket(bucketUpdates))
		s.graph.Load(nodes, names, storages, updates)
		return errors.Join(err, err2, err3, err4)
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
	if v := meta.Get(keyVersion); v != nil {
		if got := binary.BigEndian.Uint64(v); got > Version {
			return fmt.Errorf("schema version %d is newer than %d, which this version of molt knows: %w", got, Version, errdefs.ErrFailedPrecondition)
		}
		return nil
	}
	return errors.Join(
		meta.Put(keyVersion, number(Version)),
		meta.Put(keyNextNode, number(1)),
		meta.Put(keyNextUpdate, number(1)),
	)
}

func all[V any](b *bbolt.Bucket) ([]V, error) {
	var vs []V
	err := b.ForEach(func(k, data []byte) error {
		var v V
		if err := json.Unmarshal(data, &v); err != nil {
			return fmt.Errorf("record %x: %w", k, err)
		}
		vs = append(vs, v)
		return nil
	})
	return vs, err
}

func number(n uint64) []byte          { return binary.BigEndian.AppendUint64(nil, n) }
func numberKey[K ~uint64](k K) []byte { return number(uint64(k)) }
func textKey(k string) []byte         { return []byte(k) }
