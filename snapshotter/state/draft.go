// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"errors"
	"path/filepath"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Draft is a change of the graph in the making: nodes that are made for it, and nodes that are frozen by it. Close
// deletes what was made, unless Commit has shown it. It is for one goroutine.
type Draft struct {
	s        *State
	made     []dag.NodeID // in the order in which they are published
	hidden   []dag.NodeID // those of them that are not published yet
	frozen   []dag.NodeID // whose content is on record for the commit
	releases []func()
}

// Begin begins a draft. The nodes that of finds in the graph are leased until it is committed or closed.
func (s *State) Begin(of func(*dag.Graph) []dag.NodeID) *Draft {
	return &Draft{s: s, releases: []func(){s.Lease(of)}}
}

// Nothing is what a draft begins with that is made from no nodes.
func Nothing(*dag.Graph) []dag.NodeID { return nil }

// Keep has release called when the draft is committed or closed.
func (d *Draft) Keep(release func()) { d.releases = append(d.releases, release) }

// Make stages a node, and returns the directory for its content.
func (d *Draft) Make() (id dag.NodeID, dir string, err error) {
	id = d.add()
	dir, err = d.s.nodes.Stage(id)
	return id, dir, err
}

// MakeOpen stages an empty open node. Its root gets the metadata of the root that is seen below it, because an
// overlay shows the root of its upper directory.
func (d *Draft) MakeOpen(below tree.Stack) (id dag.NodeID, err error) {
	id = d.add()
	dir, err := d.s.nodes.StageOpen(id)
	if err != nil || len(below) == 0 {
		return id, err
	}
	return id, copyRoot(dir, below)
}

func (d *Draft) add() dag.NodeID {
	id := d.s.store.NewNode()
	d.made, d.hidden = append(d.made, id), append(d.hidden, id)
	return id
}

// Dir returns the directory of a node that is staged.
func (d *Draft) Dir(id dag.NodeID) string { return filepath.Join(d.s.nodes.Staging(id), "fs") }

// Freeze writes down what is in a node that the commit freezes, its content not read.
func (d *Draft) Freeze(ctx context.Context, id dag.NodeID) error {
	d.frozen = append(d.frozen, id)
	dir, path := d.s.nodes.FS(id), d.s.nodes.Manifest(id)
	if slices.Contains(d.hidden, id) {
		dir, path = d.Dir(id), d.s.nodes.StagedManifest(id)
	}
	return d.s.witness.attest(ctx, id, dir, path)
}

// Publish publishes what is staged.
func (d *Draft) Publish() error {
	if err := d.s.nodes.Publish(d.hidden...); err != nil {
		return err
	}
	d.hidden = nil
	return nil
}

// Sync puts on disk what is published, with what else waits for that.
func (d *Draft) Sync() error { return d.s.sync(d.made...) }

// OpenEmpty makes an empty open node above others, publishes it and puts it on disk.
func (d *Draft) OpenEmpty(below []dag.NodeID) (id dag.NodeID, err error) {
	if id, err = d.MakeOpen(d.s.nodes.Stack(below)); err != nil {
		return id, err
	}
	if err := d.Publish(); err != nil {
		return id, err
	}
	return id, d.s.nodes.SyncEmpty(id)
}

// Commit carries out the transformations that show what was made.
func (d *Draft) Commit(ts ...dag.Transformation) error { return d.s.CommitAll([]*Draft{d}, ts...) }

// CommitAll carries out the transformations that show what was made in several drafts, as one change.
func (s *State) CommitAll(drafts []*Draft, ts ...dag.Transformation) error {
	for _, d := range drafts {
		ts = append(ts, s.witness.take(d.frozen...)...)
	}
	if err := s.Do(ts...); err != nil {
		return err
	}
	for _, d := range drafts {
		d.made, d.frozen = nil, nil
		d.release()
	}
	return nil
}

// Close deletes what was made. After Commit, and a second time, it does nothing. When it is not known whether a
// change was carried out, all stays: the next start deletes what the graph does not know.
func (d *Draft) Close() error {
	defer d.release()
	made := d.made
	d.s.witness.take(append(d.frozen, made...)...) // nobody freezes them
	d.made, d.frozen = nil, nil
	select {
	case <-d.s.store.Failed():
		return nil
	default:
	}
	var errs []error
	for _, id := range made {
		errs = append(errs, d.s.nodes.Discard(id))
	}
	return errors.Join(errs...)
}

func (d *Draft) release() {
	for _, release := range d.releases {
		release()
	}
	d.releases = nil
}
