// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// openDirFlags open a directory without reading it: enough to look at names in it, and for hostile directories, too.
const openDirFlags = unix.O_PATH | unix.O_DIRECTORY

// openBeneath opens a path below a directory. It never leaves that directory, follows no symbolic link and crosses no
// mount point. A path longer than the kernel takes at once is opened piece by piece.
func openBeneath(dir int, path string, flags uint64) (int, error) {
	from := dir
	for {
		piece, rest := cutPath(path, unix.PathMax-1)
		pieceFlags := flags
		if rest != "" {
			pieceFlags = openDirFlags
		}
		fd, err := openat2(from, piece, pieceFlags)
		if from != dir {
			release(from)
		}
		if err != nil || rest == "" {
			return fd, err
		}
		from, path = fd, rest
	}
}

// cutPath cuts a path at a slash such that the first piece is no longer than limit. A single name is never cut.
func cutPath(path string, limit int) (piece, rest string) {
	if len(path) <= limit {
		return path, ""
	}
	if i := strings.LastIndexByte(path[:limit+1], '/'); i > 0 {
		return path[:i], path[i+1:]
	}
	return path, ""
}

func openat2(dir int, path string, flags uint64) (int, error) {
	how := unix.OpenHow{
		Flags:   flags | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
	for {
		fd, err := unix.Openat2(dir, path, &how)
		// EAGAIN: something was renamed in the meantime, so that the kernel could not tell whether the path stays
		// beneath.
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return fd, err
		}
	}
}

// openRegular opens the regular file at a path below a directory for reading. The kind is found out without opening the
// file itself: opening a FIFO would block, and opening a device may have an effect.
func openRegular(dir int, path string) (*os.File, unix.Stat_t, error) {
	var st unix.Stat_t
	fd, err := openBeneath(dir, path, unix.O_PATH)
	if err != nil {
		return nil, st, err
	}
	defer release(fd)
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, st, err
	}
	if kind := kindOf(st.Mode); kind != Regular {
		return nil, st, fmt.Errorf("%w: it is a %s", fs.ErrInvalid, kind)
	}
	file, err := reopen(fd)
	if err != nil {
		return nil, st, err
	}
	var again unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &again); err != nil {
		return nil, st, errors.Join(err, file.Close())
	}
	if kindOf(again.Mode) != Regular || again.Dev != st.Dev || again.Ino != st.Ino {
		return nil, st, errors.Join(errors.New("another file was opened than the one that was looked at"), file.Close())
	}
	return file, again, nil
}

// reopen opens for reading the regular file that an O_PATH descriptor stands for. The access time is left alone where
// that is allowed: the original is not to be changed. The error is EWOULDBLOCK for a file that a process holds a write
// lease on: the kernel would let a blocking open wait until that process gives the lease up, or for
// /proc/sys/fs/lease-break-time.
func reopen(fd int) (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK
	path := procPath(fd)
	got, err := unix.Open(path, flags|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) {
		got, err = unix.Open(path, flags, 0)
	}
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(got, false); err != nil { // it was meant for opening alone
		return nil, errors.Join(err, unix.Close(got))
	}
	return os.NewFile(uintptr(got), path), nil
}

// release closes a descriptor that nothing was written through, so that closing it cannot fail in a way that matters.
func release(fd int) { _ = unix.Close(fd) }

// procPath is a path to what a descriptor stands for, wherever that is in the file system.
func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// readNames returns the names in a directory, in no order, without "." and "..".
func readNames(dir int) (names []string, err error) {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) {
		fd, err = unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, err
	}
	defer release(fd)
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n <= 0 {
			return names, nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}

// setMode sets the permissions of a file, and fails with ELOOP where that is a symbolic link: fchmodat would follow it.
func setMode(dir int, name string, mode uint32) error {
	err := unix.Fchmodat(dir, name, mode, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.EOPNOTSUPP) { // on a link, and for all files before Linux 6.6
		return setModePath(dir, name, mode)
	}
	return err
}

// setModePath does what setMode does on every kernel, in more steps.
func setModePath(dir int, name string, mode uint32) error {
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer release(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if kindOf(st.Mode) == Symlink {
		return unix.ELOOP
	}
	return unix.Chmod(procPath(fd), mode)
}

// readLink returns the target of a symbolic link.
func readLink(dir int, name string) (string, error) {
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		n, err := unix.Readlinkat(dir, name, buf)
		if err != nil {
			return "", err
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}

func kindOf(mode uint32) Kind {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return Regular
	case unix.S_IFDIR:
		return Directory
	case unix.S_IFLNK:
		return Symlink
	case unix.S_IFCHR:
		return CharDevice
	case unix.S_IFBLK:
		return BlockDevice
	case unix.S_IFIFO:
		return FIFO
	default:
		return Socket
	}
}
