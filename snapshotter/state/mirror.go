// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/dag/store"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/failpoint"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/nodes"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/records"
)

// mirror carries out changes of the graph and copies each record that changed to a file of its own, from which the
// graph is rebuilt when the database is lost, damaged, or replaced by an older one. The files follow the database:
// after a crash they are what it says, or what it said before. After a power cut some may be missing, until the next
// start.
type mirror struct {
	store *store.Store
	nodes *nodes.Dir
	files *records.Dir
	boot  string // names this boot of the machine

	mu     sync.Mutex // held from a change to the end of copying it
	behind bool       // files could not be written
}

// nodeRecord is what is written next to the content of a node.
type nodeRecord struct {
	dag.Node
	// Storage and Key are set for the head of a storage.
	Storage string `json:"storage,omitempty"`
	Key     string `json:"key,omitempty"`
}

// do carries out transformations as one change. That its records cannot be copied is no error of the change: they are
// copied later.
func (m *mirror) do(ts ...dag.Transformation) (dag.Change, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change, err := m.store.Do(ts...)
	if err != nil {
		return change, err
	}
	failpoint.GraphCommitted.Hit()
	if m.behind {
		return change, nil // catchUp copies everything
	}
	if err := m.copy(change); err != nil {
		log.L.WithError(err).Error("failed to copy the records of a change; they are copied again soon")
		m.behind = true
	}
	return change, nil
}

// copy writes the records of a change. What is referred to comes before what refers to it, and what is gone goes
// last, in the opposite order: should the database be lost at the same moment, the files say what was before or what
// is now, for each storage.
func (m *mirror) copy(c dag.Change) error {
	sequence := m.store.Sequence()
	concerned := m.nodeRecords(c)
	ids := dag.NeededFirst(slices.Collect(maps.Keys(concerned)), m.known(concerned))
	for _, id := range ids {
		if n := concerned[id]; n != nil {
			if err := m.copyNode(sequence, id, n); err != nil {
				return err
			}
			failpoint.RecordWritten.Hit()
		}
	}
	err := copyRecords(m.files, records.Storages, sequence, c.Storages, func(name string) string { return name })
	if err == nil {
		err = copyRecords(m.files, records.Names, sequence, c.Names, func(key string) string { return key })
	}
	if err == nil {
		err = copyRecords(m.files, records.Updates, sequence, c.Updates, dag.UpdateID.String)
	}
	for _, id := range slices.Backward(ids) {
		if err == nil && concerned[id] == nil {
			err = m.copyNode(sequence, id, nil)
		}
	}
	if err != nil {
		return err
	}
	failpoint.RecordsWritten.Hit()
	return m.files.SetPosition(records.Position{Sequence: sequence, Boot: m.boot})
}

// known returns what finds a node that a change concerns: in its record, where it is gone.
func (m *mirror) known(concerned map[dag.NodeID]*nodeRecord) func(dag.NodeID) dag.Node {
	return func(id dag.NodeID) dag.Node {
		n := concerned[id]
		if n == nil {
			n = &nodeRecord{}
			if _, err := records.ReadFile(m.nodes.Record(id), n); err != nil {
				return dag.Node{} // nothing can be learnt from it when the graph is rebuilt, either
			}
		}
		return n.Node
	}
}

// copyRecords writes records, in the order of their keys, those that are gone last.
func copyRecords[K cmp.Ordered, V any](
	files *records.Dir, kind records.Kind, sequence uint64, changed map[K]*V, name func(K) string,
) error {
	var gone []K
	for _, key := range slices.Sorted(maps.Keys(changed)) {
		if changed[key] == nil {
			gone = append(gone, key)
			continue
		}
		if err := files.Put(kind, name(key), sequence, changed[key]); err != nil {
			return err
		}
		failpoint.RecordWritten.Hit()
	}
	for _, key := range gone {
		if err := files.Delete(kind, name(key)); err != nil {
			return err
		}
	}
	return nil
}

// nodeRecords returns the records of the nodes that a change concerns: those it changes, and the heads of storages.
func (m *mirror) nodeRecords(c dag.Change) map[dag.NodeID]*nodeRecord {
	concerned := map[dag.NodeID]*nodeRecord{}
	heads := map[dag.NodeID]dag.Storage{}
	for _, st := range c.Storages {
		if st != nil {
			heads[st.Head] = *st
			concerned[st.Head] = nil
		}
	}
	m.store.View(func(g *dag.Graph) {
		for id, n := range c.Nodes {
			concerned[id] = nil
			if _, known := heads[id]; n != nil && !n.Frozen && !known {
				heads[id] = headedBy(g, id) // seldom: the node changed, but not its storage
			}
		}
		for id := range concerned {
			if n, ok := g.Node(id); ok {
				concerned[id] = describe(n, heads[id])
			}
		}
	})
	return concerned
}

// headedBy returns the storage that a node is the head of.
func headedBy(g *dag.Graph, id dag.NodeID) dag.Storage {
	for _, st := range g.Storages() {
		if st.Head == id {
			return st
		}
	}
	return dag.Storage{}
}

func describe(n dag.Node, headOf dag.Storage) *nodeRecord {
	return &nodeRecord{Node: n, Storage: headOf.Name, Key: headOf.Key}
}

// copyNode writes the record of a node, nil for one that the graph no longer has. One without a directory,
// which is damaged, has no place for it.
func (m *mirror) copyNode(sequence uint64, id dag.NodeID, n *nodeRecord) error {
	if n == nil {
		if err := m.nodes.Remove(m.nodes.Record(id)); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := records.WriteFile(m.nodes.Record(id), sequence, n); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// copied is a file and what it has to say.
type copied struct {
	path, what string
	record     any
	write      func(sequence uint64) error
}

// expected returns all files that there have to be, in the order in which copy writes them.
func (m *mirror) expected() (all []copied) {
	add := func(kind records.Kind, key, what string, record any) {
		all = append(all, copied{m.files.Path(kind, key), what, record, func(sequence uint64) error {
			return m.files.Put(kind, key, sequence, record)
		}})
	}
	m.store.View(func(g *dag.Graph) {
		heads := map[dag.NodeID]dag.Storage{}
		for _, st := range g.Storages() {
			heads[st.Head] = st
		}
		found := map[dag.NodeID]dag.Node{}
		for _, n := range g.Nodes() {
			found[n.ID] = n
		}
		find := func(id dag.NodeID) dag.Node { return found[id] }
		for _, id := range dag.NeededFirst(slices.Collect(maps.Keys(found)), find) {
			record := describe(found[id], heads[id])
			all = append(all, copied{m.nodes.Record(id), fmt.Sprintf("node %v", id), record,
				func(sequence uint64) error {
					return m.copyNode(sequence, id, record)
				}})
		}
		for _, st := range g.Storages() {
			add(records.Storages, st.Name, fmt.Sprintf("storage %q", st.Name), st)
		}
		for _, n := range g.Names() {
			add(records.Names, n.Key, fmt.Sprintf("name %q", n.Key), n)
		}
		for _, u := range g.Updates() {
			add(records.Updates, u.ID.String(), fmt.Sprintf("update %v", u.ID), u)
		}
	})
	return all
}

// stale is a file that does not say what the graph says.
type stale struct {
	what, remedy string
	correct      func() error
}

// wrong returns the files that do not say what the graph says.
func (m *mirror) wrong() ([]stale, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.compare()
}

// compare returns the files that do not say what the graph says, in the order in which copy would correct them. The
// caller holds mu.
func (m *mirror) compare() (wrong []stale, err error) {
	sequence := m.store.Sequence()
	known := map[string]bool{}
	for _, one := range m.expected() {
		known[one.path] = true
		if _, err := os.Lstat(filepath.Dir(one.path)); err == nil && !records.Same(one.path, one.record) {
			wrong = append(wrong, stale{"the record of " + one.what, "it is written anew",
				func() error { return one.write(sequence) }})
		}
	}
	for _, kind := range []records.Kind{records.Storages, records.Names, records.Updates} {
		files, err := m.files.Files(kind)
		if err != nil {
			return wrong, err
		}
		for _, path := range files {
			if !known[path] {
				wrong = append(wrong, ofGone(path, func() error { return m.nodes.Remove(path) }))
			}
		}
	}
	gone, err := m.goneNodes(known)
	for _, id := range slices.Backward(gone) {
		wrong = append(wrong, ofGone(m.nodes.Record(id), func() error { return m.copyNode(sequence, id, nil) }))
	}
	return wrong, err
}

func ofGone(path string, remove func() error) stale {
	return stale{"the record " + path + " of something that is gone", "it is removed", remove}
}

// goneNodes returns the nodes, each after what it stands on, whose directories are still there with a record that is
// not among the known paths: as long as they are in use they stay, and their records would tell of storages that are
// gone.
func (m *mirror) goneNodes(known map[string]bool) ([]dag.NodeID, error) {
	present, err := m.nodes.List()
	if err != nil {
		return nil, err
	}
	var gone []dag.NodeID
	for _, id := range present {
		path := m.nodes.Record(id)
		if known[path] {
			continue
		}
		_, err := os.Lstat(path)
		switch {
		case err == nil:
			gone = append(gone, id)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	return dag.NeededFirst(gone, m.known(nil)), nil
}

// catchUp makes all files say what the graph says.
func (m *mirror) catchUp() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	all, err := m.compare()
	errs := []error{err}
	for _, one := range all {
		errs = append(errs, one.correct())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("copy the records of the graph: %w", err)
	}
	m.behind = false
	return m.files.SetPosition(records.Position{Sequence: m.store.Sequence(), Boot: m.boot})
}

// catchUpAtStart makes the files say what the graph says if a crash has kept the last change from being copied, or if
// the machine has stopped since, so that files may not have come onto the disk.
func (m *mirror) catchUpAtStart() error {
	position, err := m.files.Position()
	switch {
	case err != nil && !errdefs.IsDataLoss(err):
		return err
	case err == nil && position == records.Position{Sequence: m.store.Sequence(), Boot: m.boot}:
		return nil
	}
	if err := m.catchUp(); err != nil {
		// A full disk is no reason not to serve: what frees space has to work.
		log.L.WithError(err).Error("failed to copy the records of the graph; they are copied again soon")
		m.behind = true
	}
	return nil
}

// catchUpIfLate makes the files say what the graph says if some could not be written, for example because the disk
// was full.
func (m *mirror) catchUpIfLate() error {
	m.mu.Lock()
	late := m.behind
	m.mu.Unlock()
	if !late {
		return nil
	}
	return m.catchUp()
}
