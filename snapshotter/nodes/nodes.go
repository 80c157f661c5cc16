// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nodes keeps the directories of nodes under one root:
//
//	n/<id>/fs      the content of a node
//	n/<id>/work    overlayfs's work directory of an open node; a frozen one has none
//	n/<id>/node.json   the record of the node, should the database ever be lost
//	n/<id>/flagged, n/<id>/flags-shown   see [Flags.Show]
//	n/<id>/manifest    a sum for each path of the content as it was when the node was frozen, without what is in files
//	n/<id>/contents    the same over what is in files
//	staging/<id>   a node in the making; worthless after a crash
//	trash/<id>     a node on its way out
//	lost/<id>      a node that nothing knew when the graph was rebuilt; never deleted by the daemon
//	reports/       what servicing found and did, one file for each update of a storage
//	records/       a copy of the other records of the graph
//	empty          an empty directory, for views of nothing
//
// Every change on disk has the same shape: a node gets a directory in staging, is written, is published by one rename,
// and is put on disk together with that rename; then one transaction of the graph makes it part of what is seen. Until
// that nothing refers to it, and a crash leaves a directory that no graph knows, which the next start deletes. What the
// graph does not need any longer is renamed to the trash, and deleted there. The moments in between are failpoints.
//
// The paths of nodes are short, so that stacks of hundreds of them fit in the options of a mount.
package nodes

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/beneath"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/failpoint"
)

// Dir is the root directory with all that is in it.
type Dir struct {
	root string
	disk *disk

	mu    sync.Mutex // guards stuck
	stuck map[string][]beneath.Stuck
}

const (
	published = "n"
	staging   = "staging"
	trash     = "trash"
	empty     = "empty"
	reports   = "reports"
	recorded  = "records"
	lost      = "lost"
)

// Open makes the root directory ready. The root must be an absolute path without characters that have a meaning in
// mount options. What is there already must be directories of this user that nobody else may write to. Errors say what
// to do. Others than the user cannot enter the root afterwards.
func Open(root string) (*Dir, error) { return open(root, false) }

// OpenShared is [Open], but leaves the mode of a root that is there already: others may be allowed to enter it.
func OpenShared(root string) (*Dir, error) { return open(root, true) }

func open(root string, keepMode bool) (*Dir, error) {
	if err := mountable(root); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("prepare root: %w", err)
	}
	// The mount table shows paths without links, and they are compared with ours.
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		return nil, fmt.Errorf("resolve root: %w", err)
	}
	if err := mountable(real); err != nil {
		return nil, fmt.Errorf("resolve root: %w", err)
	}
	disk, err := openDisk(real)
	if err != nil {
		return nil, fmt.Errorf("open root: %w", err)
	}
	if err := prepare(disk.held, keepMode); err != nil {
		return nil, errors.Join(err, disk.held.Close())
	}
	return &Dir{root: real, disk: disk, stuck: map[string][]beneath.Stuck{}}, nil
}

// Close ends the use of the directory.
func (d *Dir) Close() error { return d.disk.held.Close() }

// mountable refuses paths that would have to be escaped in mount options, where not everybody understands that.
func mountable(root string) error {
	if !filepath.IsAbs(root) || strings.ContainsAny(root, ",:\\\"' \t\n") {
		return fmt.Errorf("root %q must be an absolute path without blanks, commas, colons, quotes and backslashes",
			root)
	}
	return nil
}

// Root returns the root directory, free of symbolic links.
func (d *Dir) Root() string { return d.root }

// Published returns the directory that holds all published nodes.
func (d *Dir) Published() string { return filepath.Join(d.root, published) }

// Empty returns a directory with nothing in it.
func (d *Dir) Empty() string { return filepath.Join(d.root, empty) }

// Reports returns the directory of the reports.
func (d *Dir) Reports() string { return filepath.Join(d.root, reports) }

// Records returns the directory of the records of the graph.
func (d *Dir) Records() string { return filepath.Join(d.root, recorded) }

// Record returns where the record of a published node is.
func (d *Dir) Record(id dag.NodeID) string { return filepath.Join(d.path(published, id), "node.json") }

// Lost returns the directory of what nothing knew when the graph was rebuilt.
func (d *Dir) Lost() string { return filepath.Join(d.root, lost) }

// Staging returns where a node is made.
func (d *Dir) Staging(id dag.NodeID) string { return d.path(staging, id) }

// FS returns where the content of a node is.
func (d *Dir) FS(id dag.NodeID) string { return filepath.Join(d.path(published, id), "fs") }

// Work returns the work directory of an open node.
func (d *Dir) Work(id dag.NodeID) string { return filepath.Join(d.path(published, id), work) }

// Stack returns where the content of nodes is.
func (d *Dir) Stack(ids []dag.NodeID) tree.Stack {
	stack := make(tree.Stack, 0, len(ids))
	for _, id := range ids {
		stack = append(stack, d.FS(id))
	}
	return stack
}

func (d *Dir) path(sub string, id dag.NodeID) string { return filepath.Join(d.root, below(sub, id)) }

// below returns the path of a node below the root.
func below(sub string, id dag.NodeID) string {
	return filepath.Join(sub, strconv.FormatUint(uint64(id), 10))
}

// Stage begins a node that is immutable once it is published, and returns where its content goes.
func (d *Dir) Stage(id dag.NodeID) (string, error) {
	d.disk.begin(id)
	dir := d.path(staging, id)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("stage %v: %w", id, err)
	}
	content := filepath.Join(dir, "fs")
	if err := os.Mkdir(content, 0o755); err != nil {
		return "", fmt.Errorf("stage %v: %w", id, err)
	}
	failpoint.NodeStaged.Hit()
	// The umask of the daemon must not decide what a container sees.
	return content, os.Chmod(content, 0o755)
}

// Publish gives staged nodes their final place. It does not make them durable: see [Dir.Sync] and [Dir.SyncEmpty].
func (d *Dir) Publish(ids ...dag.NodeID) error {
	for _, id := range ids {
		failpoint.NodeWritten.Hit()
		if err := d.beneath().Rename(below(staging, id), below(published, id)); err != nil {
			return fmt.Errorf("publish %v: %w", id, err)
		}
		failpoint.NodePublished.Hit()
	}
	return nil
}

// Sync puts all that was written below the root on disk. It fails when the disk failed, and also when it failed before,
// since one of the given nodes was staged: what was lost then is not written by syncing again.
func (d *Dir) Sync(ids ...dag.NodeID) error {
	err := d.disk.sync(ids)
	failpoint.NodeSynced.Hit()
	return err
}

// Incomplete reports whether the disk has failed since a node was staged, as far as this process knows.
func (d *Dir) Incomplete(id dag.NodeID) bool { return d.disk.lost(id) }

// SyncEmpty puts a published node without content on disk, at less cost than [Dir.Sync].
func (d *Dir) SyncEmpty(id dag.NodeID) error {
	for _, dir := range []string{d.FS(id), d.path(published, id), d.Published()} {
		if err := withDir(dir, unix.Fsync); err != nil {
			return err
		}
	}
	failpoint.NodeSynced.Hit()
	return nil
}

func withDir(path string, fn func(fd int) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := fn(int(f.Fd())); err != nil {
		return errors.Join(fmt.Errorf("sync %s: %w", path, err), f.Close())
	}
	return f.Close()
}

// Discarded returns the ids of the nodes that are in the trash, in the making, or set aside.
func (d *Dir) Discarded() (ids []dag.NodeID, err error) {
	for _, sub := range []string{trash, staging, lost} {
		entries, err := os.ReadDir(filepath.Join(d.root, sub))
		if err != nil {
			return nil, fmt.Errorf("list nodes: %w", err)
		}
		for _, e := range entries {
			name, _, _ := strings.Cut(e.Name(), "-")
			if id, err := strconv.ParseUint(name, 10, 64); err == nil {
				ids = append(ids, dag.NodeID(id))
			}
		}
	}
	return ids, nil
}

// List returns the ids of all published nodes.
func (d *Dir) List() ([]dag.NodeID, error) {
	entries, err := os.ReadDir(d.Published())
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	var ids []dag.NodeID
	for _, e := range entries {
		if id, err := strconv.ParseUint(e.Name(), 10, 64); err == nil {
			ids = append(ids, dag.NodeID(id))
		}
	}
	return ids, nil
}

// Trashed returns the directories that wait to be deleted.
func (d *Dir) Trashed() (dirs []string, err error) {
	entries, err := os.ReadDir(filepath.Join(d.root, trash))
	if err != nil {
		return nil, fmt.Errorf("list the trash: %w", err)
	}
	for _, e := range entries {
		dirs = append(dirs, filepath.Join(d.root, trash, e.Name()))
	}
	return dirs, nil
}
