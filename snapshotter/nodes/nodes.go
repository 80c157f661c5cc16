// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nodes keeps the directories of nodes under one root:
//
//	n/<id>/fs      the content of a node
//	n/<id>/work    overlayfs's work directory of an open node
//	n/<id>/node.json   what the node is, should the database ever be lost
//	staging/<id>   a node in the making; worthless after a crash
//	trash/<id>     a node on its way out
//	reports/       what servicing found and did, one file for each update of a storage
//	empty          an empty directory, for views of nothing
//
// A node is made in staging and published by one rename. The paths of nodes are short, so that stacks of hundreds of them
// fit in the options of a mount.
package nodes

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Dir is the root directory with all that is in it.
type Dir struct{ root string }

const (
	published = "n"
	staging   = "staging"
	trash     = "trash"
	empty     = "empty"
	reports   = "reports"
)

// Open makes the root directory ready. The root must be an absolute path without characters that have a meaning in mount
// options, else errors say so.
func Open(root string) (*Dir, error) {
	if err := mountable(root); err != nil {
		return nil, err
	}
	for _, dir := range []string{"", published, staging, trash, empty, reports} {
		mode := fs.FileMode(0o700)
		if dir == empty {
			mode = 0o755
		}
		if err := os.MkdirAll(filepath.Join(root, dir), mode); err != nil {
			return nil, fmt.Errorf("prepare root: %w", err)
		}
	}
	// The mount table shows paths without links, and they are compared with ours.
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		return nil, fmt.Errorf("resolve root: %w", err)
	}
	if err := mountable(real); err != nil {
		return nil, fmt.Errorf("resolve root: %w", err)
	}
	return &Dir{root: real}, nil
}

// mountable refuses paths that would have to be escaped in mount options, where not everybody understands that.
func mountable(root string) error {
	if !filepath.IsAbs(root) || strings.ContainsAny(root, ",:\\\"' \t\n") {
		return fmt.Errorf("root %q must be an absolute path without blanks, commas, colons, quotes and backslashes", root)
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

// Staging returns where a node is made.
func (d *Dir) Staging(id dag.NodeID) string { return d.path(staging, id) }

// FS returns where the content of a node is.
func (d *Dir) FS(id dag.NodeID) string { return filepath.Join(d.path(published, id), "fs") }

// Work returns the work directory of an open node.
func (d *Dir) Work(id dag.NodeID) string { return filepath.Join(d.path(published, id), "work") }

// Stack returns where the content of nodes is.
func (d *Dir) Stack(ids []dag.NodeID) tree.Stack {
	stack := make(tree.Stack, 0, len(ids))
	for _, id := range ids {
		stack = append(stack, d.FS(id))
	}
	return stack
}

func (d *Dir) path(sub string, id dag.NodeID) string {
	return filepath.Join(d.root, sub, strconv.FormatUint(uint64(id), 10))
}

// Stage begins a node and returns where its content goes.
func (d *Dir) Stage(id dag.NodeID) (string, error) {
	dir := d.path(staging, id)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("stage %v: %w", id, err)
	}
	content := filepath.Join(dir, "fs")
	if err := errors.Join(os.Mkdir(content, 0o755), os.Mkdir(filepath.Join(dir, "work"), 0o711)); err != nil {
		return "", fmt.Errorf("stage %v: %w", id, err)
	}
	// The umask of the daemon must not decide what a container sees.
	return content, os.Chmod(content, 0o755)
}

// Publish gives staged nodes their final place. It does not make them durable: see [Dir.Sync] and [Dir.SyncEmpty].
func (d *Dir) Publish(ids ...dag.NodeID) error {
	for _, id := range ids {
		if err := os.Rename(d.path(staging, id), d.path(published, id)); err != nil {
			return fmt.Errorf("publish %v: %w", id, err)
		}
	}
	return nil
}

// Sync puts all that was written below the root on disk.
func (d *Dir) Sync() error {
	return d.withDir(d.root, unix.Syncfs)
}

// SyncEmpty puts a published node without content on disk, at less cost than [Dir.Sync].
func (d *Dir) SyncEmpty(id dag.NodeID) error {
	for _, dir := range []string{d.FS(id), d.path(published, id), d.Published()} {
		if err := d.withDir(dir, unix.Fsync); err != nil {
			return err
		}
	}
	return nil
}

func (d *Dir) withDir(path string, fn func(fd int) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := fn(int(f.Fd())); err != nil {
		return errors.Join(fmt.Errorf("sync %s: %w", path, err), f.Close())
	}
	return f.Close()
}

// Describe writes what a staged or published node is next to its content.
func (d *Dir) Describe(id dag.NodeID, description any) error {
	data, err := json.Marshal(description)
	if err != nil {
		return fmt.Errorf("describe %v: %w", id, err)
	}
	dir := d.path(staging, id)
	if _, err := os.Lstat(dir); err != nil {
		dir = d.path(published, id)
	}
	temporary := filepath.Join(dir, ".node.json")
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return fmt.Errorf("describe %v: %w", id, err)
	}
	return os.Rename(temporary, filepath.Join(dir, "node.json"))
}

// Discard removes a node that was staged or published but never committed. A node that is not there is no error.
func (d *Dir) Discard(id dag.NodeID) error {
	return errors.Join(os.RemoveAll(d.path(staging, id)), d.Trash(id))
}

// Trash takes a node out of the published ones; [Dir.Sweep] deletes it later. A node that is not there is no
// error.
func (d *Dir) Trash(id dag.NodeID) error {
	// A node that was never committed may leave its id to another one when the daemon crashes.
	to := filepath.Join(d.root, trash, fmt.Sprintf("%d-%d", id, time.Now().UnixNano()))
	err := os.Rename(d.path(published, id), to)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("trash %v: %w", id, err)
	}
	now := time.Now()
	return os.Chtimes(to, now, now)
}

// Sweep deletes what has been in the trash since before a time.
func (d *Dir) Sweep(before time.Time) error {
	entries, err := os.ReadDir(filepath.Join(d.root, trash))
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	var errs []error
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.ModTime().After(before) {
			continue
		}
		errs = append(errs, os.RemoveAll(filepath.Join(d.root, trash, e.Name())))
	}
	return errors.Join(errs...)
}

// DropStaging deletes all nodes in the making. It is for the start, before the first one is staged.
func (d *Dir) DropStaging() error {
	old := filepath.Join(d.root, trash, fmt.Sprintf("staging-%d", time.Now().UnixNano()))
	if err := os.Rename(filepath.Join(d.root, staging), old); err != nil {
		return fmt.Errorf("drop staging: %w", err)
	}
	return os.Mkdir(filepath.Join(d.root, staging), 0o700)
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
