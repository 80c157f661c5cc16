// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/beneath"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/failpoint"
)

// beneath is the root as it is held open: what is moved or deleted is reached from there, never through a link.
func (d *Dir) beneath() beneath.Dir { return beneath.At(d.disk.held) }

// Delete deletes what is at an absolute path below the root, with all that is in it. It is no error if there is
// nothing.
func (d *Dir) Delete(path string) error {
	name, err := filepath.Rel(d.root, path)
	if err != nil {
		return fmt.Errorf("delete %s: %w", path, err)
	}
	return d.beneath().RemoveAll(name)
}

// Remove deletes the file at an absolute path below the root. The error wraps fs.ErrNotExist when there is none.
func (d *Dir) Remove(path string) error {
	name, err := filepath.Rel(d.root, path)
	if err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return d.beneath().Remove(name)
}

// Discard removes a node that was staged or published but never committed. A node that is not there is no error. What
// of a staged one cannot be deleted goes to the trash.
func (d *Dir) Discard(id dag.NodeID) error {
	return errors.Join(d.unstage(strconv.FormatUint(uint64(id), 10)), d.Trash(id))
}

// unstage deletes what was staged under a name. What of it cannot be deleted goes to the trash, and is an error all the
// same.
func (d *Dir) unstage(name string) error {
	staged := filepath.Join(staging, name)
	err := d.beneath().RemoveAll(staged)
	if err != nil {
		to := filepath.Join(trash, fmt.Sprintf("%s-%d", name, time.Now().UnixNano()))
		err = errors.Join(err, d.beneath().Rename(staged, to))
	}
	return err
}

// Trash takes a node out of the published ones; [Dir.Sweep] deletes it later. A node that is not there is no
// error.
func (d *Dir) Trash(id dag.NodeID) error {
	// A node that was never committed may leave its id to another one when the daemon crashes.
	d.disk.forget(id)
	to := filepath.Join(trash, fmt.Sprintf("%d-%d", id, time.Now().UnixNano()))
	err := d.beneath().Rename(below(published, id), to)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("trash %v: %w", id, err)
	}
	failpoint.NodeTrashed.Hit()
	now := time.Now()
	// swept already: as old as it was, it was due
	if err := os.Chtimes(filepath.Join(d.root, to), now, now); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// SetAside takes a node out of the published ones, for a person to look at: nothing deletes it. A node that is not
// there is no error.
func (d *Dir) SetAside(id dag.NodeID) error {
	to := filepath.Join(lost, fmt.Sprintf("%d-%d", id, time.Now().UnixNano()))
	if err := d.beneath().Rename(below(published, id), to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set %v aside: %w", id, err)
	}
	return nil
}

// Sweep deletes what has been in the trash since before a time. What cannot be deleted is told by the error, by
// [Dir.Stuck], and tried again by the next Sweep.
func (d *Dir) Sweep(before time.Time) error {
	entries, err := os.ReadDir(filepath.Join(d.root, trash))
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	var errs []error
	stuck := map[string][]beneath.Stuck{}
	for _, e := range entries {
		switch info, err := e.Info(); {
		case errors.Is(err, fs.ErrNotExist): // swept by somebody else
		case err != nil:
			errs = append(errs, err)
		case !info.ModTime().After(before):
			err := d.beneath().RemoveAll(filepath.Join(trash, e.Name()))
			if s, ok := errors.AsType[*beneath.StuckError](err); ok {
				stuck[e.Name()] = s.Files
			}
			errs = append(errs, err)
			failpoint.TrashSwept.Hit()
		}
	}
	d.mu.Lock()
	d.stuck = stuck
	d.mu.Unlock()
	return errors.Join(errs...)
}

// Stuck returns the files in the trash that the last [Dir.Sweep] could not delete: the first few of each node.
func (d *Dir) Stuck() (files []beneath.Stuck) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, entry := range slices.Sorted(maps.Keys(d.stuck)) {
		files = append(files, d.stuck[entry]...)
	}
	return files
}

// Scratch returns a new directory for what is tried and thrown away at the start. It lies in the trash: whatever keeps
// it from being removed, [Dir.Sweep] does that in the end.
func (d *Dir) Scratch() (string, error) {
	dir, err := os.MkdirTemp(filepath.Join(d.root, trash), "scratch-")
	if err != nil {
		return "", fmt.Errorf("make a scratch directory: %w", err)
	}
	return dir, nil
}

// DropStaging deletes all nodes in the making. It is for the start, before the first one is staged. On a full disk,
// which has no place for a new directory, they are deleted at once.
func (d *Dir) DropStaging() error {
	current := filepath.Join(d.root, staging)
	entries, err := os.ReadDir(current)
	if err != nil {
		return fmt.Errorf("drop staging: %w", err)
	}
	if len(entries) == 0 {
		return nil
	}
	old := filepath.Join(trash, fmt.Sprintf("staging-%d", time.Now().UnixNano()))
	if err = d.beneath().Rename(staging, old); err == nil {
		if err = os.Mkdir(current, 0o700); err != nil && errors.Is(err, unix.ENOSPC) {
			err = d.beneath().Rename(old, staging)
		} else if err == nil {
			return nil
		}
	}
	if err != nil && !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("drop staging: %w", err)
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, d.beneath().RemoveAll(filepath.Join(staging, e.Name())))
	}
	return errors.Join(errs...)
}
