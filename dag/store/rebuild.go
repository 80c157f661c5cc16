// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"os"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// Write makes a database at path, in the place of one that may be there and that no store has open, out of a graph that
// the given number of changes made. Node and update ids up to and including those used are never given out by a store
// that is opened on it. When it returns without an error the database is on disk; after a crash there is all of it or
// what was there.
func Write(path string, g *dag.Graph, sequence uint64, usedNode dag.NodeID, usedUpdate dag.UpdateID) error {
	c := contents{nodes: g.Nodes(), names: g.Names(), storages: g.Storages(), updates: g.Updates(), sequence: sequence}
	c.used(usedNode, usedUpdate)
	unlock, err := lock(path)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	db, _, err := create(path, c)
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), unlock())
	}
	return errors.Join(db.Close(), unlock())
}

// Backup writes a database to path, in the place of what is there, that holds the graph as it is now. Changes go on
// in the meantime.
func (s *Store) Backup(path string) error {
	copied := dag.New()
	var sequence uint64
	s.View(func(g *dag.Graph) {
		copied.Load(g.Nodes(), g.Names(), g.Storages(), g.Updates())
		sequence = s.Sequence()
	})
	s.ids.Lock()
	node, update := s.nextNode, s.nextUpdate
	s.ids.Unlock()
	return errors.Join(Write(path, copied, sequence, node-1, update-1), os.Remove(path+".lock"))
}

// Verify compares the database with the graph in memory, which it must hold. It fails with errdefs.ErrDataLoss if it
// does not.
func (s *Store) Verify() error {
	s.write.Lock()
	defer s.write.Unlock()
	if err := sound(s.path); err != nil {
		return err
	}
	return guarded(func() error { return s.db.View(verifySum) })
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
