// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/failpoint"
)

// An overlay cannot be mounted without its work directory. So the work directory of an open node is the fence that
// keeps a mount which comes late from writing into a node that was frozen in the meantime: it is renamed away before
// anybody looks at whether the node is in use, deleted when it is not, and renamed back when it is.

const (
	work      = "work"
	withdrawn = "work.withdrawn"
	renewed   = "work.renewed"
	workMode  = 0o711
)

// WorkDirs are the work directories of published nodes.
type WorkDirs struct{ dir *Dir }

// WorkDirs returns the work directories of the nodes.
func (d *Dir) WorkDirs() WorkDirs { return WorkDirs{d} }

func (w WorkDirs) withdrawn(id dag.NodeID) string {
	return filepath.Join(w.dir.path(published, id), withdrawn)
}

// StageOpen begins an open node, which has a work directory, and returns where its content goes.
func (d *Dir) StageOpen(id dag.NodeID) (string, error) {
	dir, err := d.Stage(id)
	if err == nil {
		err = os.Mkdir(filepath.Join(d.path(staging, id), work), workMode)
	}
	if err != nil {
		return "", fmt.Errorf("stage open %v: %w", id, err)
	}
	return dir, nil
}

// Withdraw renames the work directory of a published node away: mounts that exist go on, new ones fail with ENOENT.
// A node without one is no error.
func (w WorkDirs) Withdraw(id dag.NodeID) error {
	if err := os.Rename(w.dir.Work(id), w.withdrawn(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("withdraw the work directory of %v: %w", id, err)
	}
	failpoint.WorkWithdrawn.Hit()
	return nil
}

// Restore gives an open node its work directory back: the one that was withdrawn, or a new one. It is also what the
// start does after a crash. A node that is not there is no error.
func (w WorkDirs) Restore(id dag.NodeID) error {
	err := os.Rename(w.withdrawn(id), w.dir.Work(id))
	if errors.Is(err, fs.ErrNotExist) {
		err = os.Mkdir(w.dir.Work(id), workMode)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("restore the work directory of %v: %w", id, err)
	}
	return nil
}

// Renew puts an empty directory in the place of a work directory that was withdrawn, and deletes that. A mount that
// was begun with it before it was withdrawn fails now, or can only be read. On a full disk the old one stays.
func (w WorkDirs) Renew(id dag.NodeID) error {
	empty := filepath.Join(w.dir.path(published, id), renewed)
	err := os.Mkdir(empty, workMode)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return nil
	}
	if err == nil || errors.Is(err, fs.ErrExist) {
		if err = w.dir.Delete(w.withdrawn(id)); err == nil {
			err = os.Rename(empty, w.withdrawn(id))
		}
	}
	if err != nil {
		return fmt.Errorf("renew the work directory of %v: %w", id, err)
	}
	failpoint.WorkRenewed.Hit()
	return nil
}

// Drop deletes the work directory of a node that is, or is about to be, frozen. A node without one is no error.
func (w WorkDirs) Drop(id dag.NodeID) error {
	var errs []error
	for _, name := range []string{work, withdrawn, renewed} {
		errs = append(errs, w.dir.Delete(filepath.Join(w.dir.path(published, id), name)))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("delete the work directory of %v: %w", id, err)
	}
	failpoint.WorkDropped.Hit()
	return nil
}

// Has reports whether a published node has a work directory, and whether it has one that is withdrawn.
func (w WorkDirs) Has(id dag.NodeID) (ready, away bool) {
	_, err := os.Lstat(w.dir.Work(id))
	_, awayErr := os.Lstat(w.withdrawn(id))
	return err == nil, awayErr == nil
}

// StageProbe returns a new directory for a mount by which the kernel is asked something, and what removes it. What of
// it cannot be removed goes to the trash; after a crash [Dir.DropStaging] removes it.
func (d *Dir) StageProbe() (dir string, remove func() error, err error) {
	if dir, err = os.MkdirTemp(filepath.Join(d.root, staging), "probe-"); err != nil {
		return "", nil, fmt.Errorf("stage a probe: %w", err)
	}
	return dir, func() error { return d.unstage(filepath.Base(dir)) }, nil
}
