// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package store keeps a [dag.Graph] on disk, in a bbolt database.
//
// The graph is read into memory when the store is opened; readers never touch the database. A change is written in one
// transaction: after a crash the graph has all of it or nothing.
package store

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/containerd/errdefs"
	"go.etcd.io/bbolt"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// Store is a graph on disk. It is safe for concurrent use.
type Store struct {
	path   string
	db     *bbolt.DB
	unlock func() error

	write    sync.Mutex   // held for a whole change
	read     sync.RWMutex // guards graph against readers while a change is applied
	graph    *dag.Graph
	sequence atomic.Uint64
	sum      sum   // of the records; guarded by write
	broken   error // why no change can be made any longer; guarded by write
	failed   chan struct{}
	changed  chan struct{} // closed by the next change; nil while nobody waits for it, guarded by read

	ids        sync.Mutex
	nextNode   dag.NodeID
	nextUpdate dag.UpdateID
}

// Open reads the graph in the database at path, and creates an empty one where there is none. It fails with
// errdefs.ErrUnavailable when another process has the database open, with errdefs.ErrFailedPrecondition when a newer
// version wrote it, and with errdefs.ErrDataLoss, and the name of the record if it is one, when not all of it can be
// read as it was written. Such a database is left as it is. Node ids up to and including used are never given out.
//
// The database is written again: records are all that is taken over from the old one, whatever its pages have come to
// be. Only when the disk is full is it used as it is, so that what frees space works.
func Open(path string, used dag.NodeID) (*Store, error) {
	unlock, err := lock(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	c, err := inspect(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), unlock())
	}
	c.used(used, 0)
	s := &Store{
		path: path, graph: c.graph(), nextNode: dag.NodeID(c.nextNode), nextUpdate: dag.UpdateID(c.nextUpdate),
		unlock: unlock, failed: make(chan struct{}),
	}
	s.sequence.Store(c.sequence)
	if s.db, s.sum, err = renew(path, c); err != nil {
		return nil, errors.Join(fmt.Errorf("write %s: %w", path, err), unlock())
	}
	return s, nil
}

// Close closes the database. The store cannot be used afterwards.
func (s *Store) Close() error {
	s.write.Lock()
	defer s.write.Unlock()
	if errdefs.IsDataLoss(s.broken) {
		return s.unlock() // bbolt would wait for the transaction that it could not end
	}
	return errors.Join(s.db.Close(), s.unlock())
}

// NewNode returns a node id that was not given out since the store was opened, that no node of the graph ever had, and
// that was not given out before a change that is on disk. After a crash only directories can tell of later ones; see
// used of [Open].
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

// View calls fn with the graph, which does not change in the meantime. fn must neither keep the graph nor block.
func (s *Store) View(fn func(g *dag.Graph)) {
	s.read.RLock()
	defer s.read.RUnlock()
	fn(s.graph)
}

// Do carries out transformations as one change. When it returns without an error the change is on disk; when it fails,
// nothing has changed, but for [ErrUncertain]. That, and errdefs.ErrDataLoss when the database is found damaged, is
// what all further changes fail with, see [Store.Failed].
func (s *Store) Do(ts ...dag.Transformation) (dag.Change, error) {
	s.write.Lock()
	defer s.write.Unlock()
	// Only a holder of write changes the graph, so it can be read here without the other lock.
	c, err := s.graph.Plan(ts...)
	if err != nil {
		return dag.Change{}, err
	}
	next, err := s.commit(c)
	if err != nil {
		return dag.Change{}, fmt.Errorf("write change: %w", err)
	}
	s.read.Lock()
	defer s.read.Unlock()
	s.graph.Apply(c)
	s.sum = next
	s.sequence.Add(1)
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
	return c, nil
}

// Changed returns a channel that is closed by the next change. Who waits for something asks for it before looking at
// the graph, so that no change is missed in between.
func (s *Store) Changed() <-chan struct{} {
	s.read.Lock()
	defer s.read.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// ErrUncertain reports that the disk failed at the very moment at which a change was committed: whether the change is
// in the database shows when it is opened again.
var ErrUncertain = errors.New("the disk failed while a change was committed, and whether it is there is known after " +
	"a restart")

// commit puts a change on disk, and returns the sum of the records with it.
func (s *Store) commit(c dag.Change) (next sum, err error) {
	if s.broken != nil {
		return 0, s.broken
	}
	err = guarded(func() error {
		return s.db.Update(func(tx *bbolt.Tx) (err error) { next, err = s.save(tx, c); return err })
	})
	switch {
	case err == nil:
		return next, nil
	case errdefs.IsDataLoss(err):
		s.fail(err)
	case !s.unchanged():
		// To sync again proves nothing: the kernel tells of an error once, and drops what it could not write.
		s.fail(ErrUncertain)
		err = fmt.Errorf("%w: %w", ErrUncertain, err)
	}
	return 0, err
}

// unchanged reports whether the database still is as the graph in memory, after a change has failed.
func (s *Store) unchanged() bool {
	err := guarded(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			got, err := readNumber(tx, keySequence)
			if err == nil && got != s.sequence.Load() {
				err = ErrUncertain
			}
			return err
		})
	})
	return err == nil
}

// fail keeps all further changes from being made.
func (s *Store) fail(why error) {
	s.broken = why
	close(s.failed)
}

// Failed returns a channel that is closed when no change can be made any longer, until the store is opened again: the
// database was found damaged, or it is not known whether a change is in it.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Sequence returns how many changes were made in the life of the graph, not only of this database. Within View it is
// that of the graph which is seen.
func (s *Store) Sequence() uint64 { return s.sequence.Load() }
