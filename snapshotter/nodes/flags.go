// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Beside the content of a node two empty files say what there is about inode flags (see [tree.Flags]): flagged is
// there if files may have some, shown if those that overlayfs noted are set on the inodes.
const (
	flagged = "flagged"
	shown   = "flags-shown"
)

// Flags are the inode flags that containers give to their files, by node.
type Flags struct{ dir *Dir }

// Flags returns the inode flags of the files in the nodes.
func (d *Dir) Flags() Flags { return Flags{d} }

// Has reports whether files of a node may have inode flags that protect them.
func (f Flags) Has(id dag.NodeID) (bool, error) {
	return exists(filepath.Join(f.dir.path(published, id), flagged))
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Mark notes that files of a published node may have inode flags that protect them. The note is on disk with the next
// [Dir.Sync].
func (f Flags) Mark(id dag.NodeID) error {
	return touch(filepath.Join(f.dir.path(published, id), flagged))
}

// Inherit notes the same of a staged node whose files come from other, published ones, if it is noted of one of them.
func (f Flags) Inherit(id dag.NodeID, from ...dag.NodeID) error {
	for _, of := range from {
		is, err := f.Has(of)
		if err != nil {
			return fmt.Errorf("inode flags of %v: %w", of, err)
		}
		if is {
			return touch(filepath.Join(f.dir.path(staging, id), flagged))
		}
	}
	return nil
}

// touch makes an empty file, unless there is one.
func touch(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	return file.Close()
}

// Show makes a published node that is immutable ready to be mounted as a lower directory: the flags that a container
// has given to its files are set on them. After a crash it is done again.
func (f Flags) Show(ctx context.Context, id dag.NodeID) error {
	is, err := f.Has(id)
	if err != nil || !is {
		return err
	}
	mark := filepath.Join(f.dir.path(published, id), shown)
	if done, err := exists(mark); err != nil || done {
		return err
	}
	if err := tree.ShowFlags(ctx, f.dir.FS(id)); err != nil {
		return fmt.Errorf("%v: %w", id, err)
	}
	return touch(mark) // on disk after the flags, or not at all: both are metadata, written in order
}

// Hide makes a published node that is open ready to be mounted as an upper directory, in which overlayfs itself notes
// flags. Only a node that was immutable before has something to be undone.
func (f Flags) Hide(ctx context.Context, id dag.NodeID) error {
	mark := filepath.Join(f.dir.path(published, id), shown)
	is, err := exists(mark)
	if err != nil || !is {
		return err
	}
	if err := tree.HideFlags(ctx, f.dir.FS(id)); err != nil {
		return fmt.Errorf("%v: %w", id, err)
	}
	return f.dir.Remove(mark)
}

// Able returns an error if inode flags cannot be set here.
func (f Flags) Able() (err error) {
	dir, err := f.dir.Scratch()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.dir.Delete(dir)) }()
	file := filepath.Join(dir, "file")
	if err := touch(file); err != nil {
		return err
	}
	if err := unix.Setxattr(file, "trusted.overlay.protattr", []byte("i"), 0); err != nil {
		return err
	}
	return tree.ShowFlags(context.Background(), dir)
}
