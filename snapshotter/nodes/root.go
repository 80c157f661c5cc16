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
)

// subdirectories are those that the root has, with their modes.
var subdirectories = [...]struct {
	name string
	mode fs.FileMode
}{
	{published, 0o700}, {staging, 0o700}, {trash, 0o700}, {empty, 0o755}, {reports, 0o700}, {recorded, 0o700},
	{lost, 0o700},
}

// othersMayWrite are the bits of a mode with which others than the owner can replace what is in a directory.
const othersMayWrite = 0o022

// prepare makes sure that the root and the directories in it are molt's alone, and makes those that are missing. The
// mode of a root that others may read is changed unless keepMode is set.
func prepare(root *os.File, keepMode bool) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(root.Fd()), &st); err != nil {
		return fmt.Errorf("look at the root: %w", err)
	}
	if err := private(root.Name(), &st, 0o700); err != nil {
		return err
	}
	if mode := fs.FileMode(st.Mode & 0o777); !keepMode && mode != 0o700 {
		if err := root.Chmod(0o700); err != nil {
			return fmt.Errorf("set the mode of the root: %w", err)
		}
	}
	for _, sub := range subdirectories {
		if err := prepareSub(root, sub.name, sub.mode); err != nil {
			return err
		}
	}
	return nil
}

func prepareSub(root *os.File, name string, mode fs.FileMode) error {
	dir, path := int(root.Fd()), filepath.Join(root.Name(), name)
	if err := unix.Mkdirat(dir, name, uint32(mode)); err != nil && !errors.Is(err, unix.EEXIST) {
		return &fs.PathError{Op: "prepare root: mkdir", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "prepare root: stat", Path: path, Err: err}
	}
	if err := private(path, &st, mode); err != nil {
		return err
	}
	if fs.FileMode(st.Mode&0o777) == mode {
		return nil
	}
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "prepare root: open", Path: path, Err: err}
	}
	sub := os.NewFile(uintptr(fd), path)
	return errors.Join(sub.Chmod(mode), sub.Close())
}

// private refuses what is no directory, or one in which somebody else could replace what molt reads, mounts and
// deletes.
func private(path string, st *unix.Stat_t, mode fs.FileMode) error {
	const why = "who can replace what molt keeps there, and what molt as root then deletes, is not molt alone; " +
		"find out what is there and from whom, then run"
	switch me := os.Geteuid(); {
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		return fmt.Errorf("%s is a symbolic link, where molt has a directory of its own: remove the link", path)
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("%s is not a directory: move it away", path)
	case int(st.Uid) != me:
		return fmt.Errorf("%s belongs to user %d: %s: chown %d %s && chmod %04o %s", path, st.Uid, why, me, path, mode,
			path)
	case st.Mode&othersMayWrite != 0:
		return fmt.Errorf("%s can be written to by others (mode %04o): %s: chmod %04o %s", path, st.Mode&0o7777, why,
			mode, path)
	}
	return nil
}

// Exposed says which directories on the way to the root let others than root put another one in its place, and what to
// do.
func (d *Dir) Exposed() (found []string, err error) {
	for dir := d.root; dir != "/"; {
		dir = filepath.Dir(dir)
		var st unix.Stat_t
		if err := unix.Lstat(dir, &st); err != nil {
			return found, &fs.PathError{Op: "stat", Path: dir, Err: err}
		}
		if why := exposed(dir, &st); why != "" {
			found = append(found, why)
		}
	}
	return found, nil
}

func exposed(dir string, st *unix.Stat_t) string {
	switch {
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Sprintf("%s, which the state directory is in, belongs to user %d, who can replace the state "+
			"directory; "+
			"run chown root %s, or move the state directory", dir, st.Uid, dir)
	case st.Mode&unix.S_ISVTX != 0:
		return ""
	case st.Mode&0o002 != 0, st.Mode&0o020 != 0 && st.Gid != 0:
		return fmt.Sprintf("%s, which the state directory is in, can be written to by others (mode %04o), who can "+
			"replace the state "+
			"directory; run chmod go-w %s, or move the state directory", dir, st.Mode&0o7777, dir)
	}
	return ""
}
