// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package beneath moves and deletes what is below a directory that is held open. Everything is reached through
// descriptors from there: never through a symbolic link, whoever put it in the place of a directory, and never outside.
package beneath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Dir is a directory that is held open. It may be used by several goroutines at once.
type Dir struct{ file *os.File }

// At returns the directory that a file is, which stays the caller's to close.
func At(directory *os.File) Dir { return Dir{directory} }

// path returns the absolute path of a name below the directory, for errors.
func (d Dir) path(name string) string { return filepath.Join(d.file.Name(), name) }

// open opens the directory at a path below, "." for the directory itself. The caller closes the descriptor.
func (d Dir) open(name string) (int, error) {
	fd, err := openDir(int(d.file.Fd()), name, unix.O_PATH, 0)
	switch {
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		return -1, fmt.Errorf("%s is a symbolic link or no directory, and nothing was done through it: remove what "+
			"stands there and "+
			"find out who put it there: %w", d.path(name), err)
	case err != nil:
		return -1, &fs.PathError{Op: "open", Path: d.path(name), Err: err}
	}
	return fd, nil
}

// openDir opens a directory below another one.
func openDir(dir int, name string, flags, resolve uint64) (int, error) {
	how := unix.OpenHow{
		Flags:   flags | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: resolve | unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(dir, name, &how)
		// EAGAIN: something was renamed, so that the kernel could not tell whether the path stays beneath.
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return fd, err
		}
	}
}

// release closes a descriptor that nothing was written through, so that closing it cannot fail in a way that matters.
func release(fd int) { _ = unix.Close(fd) }

// Remove deletes the file at a path below, but no directory. The error wraps fs.ErrNotExist when there is none.
func (d Dir) Remove(name string) error {
	parent, err := d.open(path.Dir(name))
	if err != nil {
		return err
	}
	defer release(parent)
	if err := unix.Unlinkat(parent, path.Base(name), 0); err != nil {
		return &fs.PathError{Op: "remove", Path: d.path(name), Err: err}
	}
	return nil
}

// Rename moves what is at a path below to another path below. What is there is replaced as by rename(2). Errors wrap
// those of the system.
func (d Dir) Rename(from, to string) error {
	old, err := d.open(path.Dir(from))
	if err != nil {
		return err
	}
	defer release(old)
	next, err := d.open(path.Dir(to))
	if err != nil {
		return err
	}
	defer release(next)
	if err := unix.Renameat(old, path.Base(from), next, path.Base(to)); err != nil {
		return &os.LinkError{Op: "rename", Old: d.path(from), New: d.path(to), Err: err}
	}
	return nil
}
