// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Writer fills one directory. Parents must have been written by it before what is in them, and nothing is written
// twice. Every access is relative to the directory and cannot leave it. Extended attributes are given by the names that
// an overlay mount shows: those under trusted.overlay. are stored escaped.
//
// After an error the directory is not what was asked for and is of no use. A Writer does not sync: when it is closed,
// nothing is durable yet. It is for one goroutine.
type Writer struct {
	root    int      // O_PATH descriptor of the directory
	written *written // the root; what was written so far
	links   map[fileID][]copied

	// The directory that was written to last, which is nearly always the next one, too.
	lastPath string
	lastDir  int // O_PATH descriptor; -1 at the beginning
}

// written is a directory that was written. What its children would disturb or inherit is set when the Writer is closed.
type written struct {
	dirs       map[string]*written
	done       bool // its metadata was given; only the root can be without
	mtime      unix.Timespec
	defaultACL *Value
	flags      Flags // hints
}

// NewWriter starts writing into an existing, empty directory. The Writer must be closed.
func NewWriter(dir string) (*Writer, error) {
	fd, err := unix.Open(dir, openDirFlags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", dir, err)
	}
	if err := prepare(fd); err != nil {
		release(fd)
		return nil, fmt.Errorf("prepare %q for writing: %w", dir, err)
	}
	return &Writer{root: fd, lastDir: -1, written: &written{}, links: make(map[fileID][]copied)}, nil
}

// prepare makes sure that a directory is empty and has no ACL: all files written would inherit from it.
func prepare(dir int) error {
	names, err := readNames(dir)
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return unix.ENOTEMPTY
	}
	for _, attr := range []string{attrDefaultACL, attrAccessACL} {
		err := removeXattr(dir, root, attr)
		if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
	}
	return nil
}

// WriteFile writes a regular file.
func (w *Writer) WriteFile(path string, m Meta, content io.Reader) error {
	return w.create(path, m, func(file *os.File) error {
		_, err := io.Copy(file, content)
		return err
	})
}

// create makes a regular file and has it filled.
func (w *Writer) create(path string, m Meta, fill func(*os.File) error) error {
	return w.make(path, Regular, m, func(dir int, name string) error {
		fd, err := unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		file := os.NewFile(uintptr(fd), name)
		return errors.Join(fill(file), file.Close())
	})
}

// Mkdir makes a directory; "." sets the metadata of the root, which is there already.
func (w *Writer) Mkdir(path string, m Meta) error {
	node := w.written
	if path != root {
		if err := w.make(path, Directory, m, func(dir int, name string) error {
			return unix.Mkdirat(dir, name, 0o700)
		}); err != nil {
			return err
		}
		node = w.enter(path)
	} else if err := setMeta(w.root, root, Directory, m); err != nil {
		return fmt.Errorf("write %s: %w", Shown(path), err)
	}
	node.done, node.mtime = true, m.Mtime
	if list, ok := m.Xattrs[attrDefaultACL]; ok {
		list = list.light() // there may be many directories
		node.defaultACL = &list
	}
	node.flags = m.Flags & hints
	return nil
}

// enter notes that a directory was written; its parent was.
func (w *Writer) enter(path string) *written {
	dir, name := splitPath(path)
	parent := w.find(dir)
	if parent.dirs == nil {
		parent.dirs = make(map[string]*written)
	}
	node := &written{}
	parent.dirs[strings.Clone(name)] = node // a clone: the name would keep the whole path in memory
	return node
}

// find returns what is known of a directory that was written, nil if none was.
func (w *Writer) find(path string) *written {
	node := w.written
	for at := root; at != path && node != nil; {
		at = nextPath(at, path)
		_, name := splitPath(at)
		node = node.dirs[name]
	}
	return node
}

// Symlink makes a symbolic link. It has no mode: that of m is not used.
func (w *Writer) Symlink(path, target string, m Meta) error {
	return w.make(path, Symlink, m, func(dir int, name string) error {
		return unix.Symlinkat(target, dir, name)
	})
}

// mknod makes a device, FIFO or socket.
func (w *Writer) mknod(path string, kind Kind, rdev uint64, m Meta) error {
	format := map[Kind]uint32{
		CharDevice: unix.S_IFCHR, BlockDevice: unix.S_IFBLK, FIFO: unix.S_IFIFO, Socket: unix.S_IFSOCK,
	}[kind]
	if format == 0 {
		return fmt.Errorf("write %s: %w: %s", Shown(path), fs.ErrInvalid, kind)
	}
	if kind == CharDevice && rdev == 0 {
		return fmt.Errorf("write %s: %w: character device 0:0 is a whiteout", Shown(path), fs.ErrInvalid)
	}
	return w.make(path, kind, m, func(dir int, name string) error {
		return unix.Mknodat(dir, name, format|0o600, int(rdev))
	})
}

// make makes a file and sets its metadata.
func (w *Writer) make(path string, kind Kind, m Meta, create func(dir int, name string) error) error {
	dir, name, err := w.parent(path)
	if err != nil {
		return err
	}
	if err := create(dir, name); err != nil {
		return fmt.Errorf("write %s: %w", Shown(path), err)
	}
	if err := setMeta(dir, name, kind, m); err != nil {
		return fmt.Errorf("write %s: %w", Shown(path), err)
	}
	return nil
}

// Link makes newPath a hard link to oldPath, both inside the directory being written.
func (w *Writer) Link(oldPath, newPath string) error {
	if err := checkPath(oldPath); err != nil {
		return err
	}
	oldDir, oldName := splitPath(oldPath)
	from, err := openBeneath(w.root, oldDir, openDirFlags)
	if err != nil {
		return fmt.Errorf("link %s: %w", Shown(oldPath), err)
	}
	defer release(from)
	return w.linkFrom(from, oldName, newPath)
}

// linkFrom makes a path a hard link to a name in any directory of the same file system.
func (w *Writer) linkFrom(from int, oldName, path string) error {
	dir, name, err := w.parent(path)
	if err != nil {
		return err
	}
	if err := unix.Linkat(from, oldName, dir, name, 0); err != nil {
		return fmt.Errorf("link %s: %w", Shown(path), err)
	}
	return nil
}

// relink replaces a file that was written by a hard link to another one.
func (w *Writer) relink(oldPath, path string) error {
	dir, name, err := w.parent(path)
	if err != nil {
		return err
	}
	if err := unix.Unlinkat(dir, name, 0); err != nil {
		return fmt.Errorf("remove %s: %w", Shown(path), err)
	}
	return w.Link(oldPath, path)
}

// Whiteout makes a whiteout: a character device 0:0. Nothing need stand below it.
func (w *Writer) Whiteout(path string) error {
	dir, name, err := w.parent(path)
	if err != nil {
		return err
	}
	if err := unix.Mknodat(dir, name, unix.S_IFCHR, 0); err != nil {
		return fmt.Errorf("write whiteout %s: %w", Shown(path), err)
	}
	return nil
}

// Opaque marks an already written directory opaque.
func (w *Writer) Opaque(path string) error {
	dir, name, err := w.parent(path)
	if err != nil {
		return err
	}
	if w.find(path) == nil {
		return fmt.Errorf("mark %s opaque: %w: no directory was written there", Shown(path), fs.ErrInvalid)
	}
	if err := setXattr(dir, name, attrOpaque, []byte("y")); err != nil {
		return fmt.Errorf("mark %s opaque: %w", Shown(path), err)
	}
	return nil
}

// parent returns a descriptor of the directory that a path is in, valid until the next call, and the name there.
func (w *Writer) parent(path string) (int, string, error) {
	if err := checkPath(path); err != nil {
		return -1, "", err
	}
	if path == root {
		return -1, "", fmt.Errorf("write %s: %w", Shown(path), fs.ErrExist)
	}
	dir, name := splitPath(path)
	if w.lastDir >= 0 && dir == w.lastPath {
		return w.lastDir, name, nil
	}
	if w.find(dir) == nil {
		return -1, "", fmt.Errorf("write %s: %w: its parent was not written", Shown(path), fs.ErrInvalid)
	}
	fd, err := openBeneath(w.root, dir, openDirFlags)
	if err != nil {
		return -1, "", fmt.Errorf("open directory %s: %w", Shown(dir), err)
	}
	w.forget()
	w.lastPath, w.lastDir = strings.Clone(dir), fd
	return fd, name, nil
}

// forget closes the directory that was written to last. It is an O_PATH descriptor: closing it tells nothing.
func (w *Writer) forget() {
	if w.lastDir >= 0 {
		release(w.lastDir)
		w.lastDir = -1
	}
}

// Close sets what is left for last: the times of the directories, which their children changed, and their default ACLs,
// which their children would have inherited. It returns all errors, and releases the directory in any case.
func (w *Writer) Close() error {
	if w.root < 0 {
		return fs.ErrClosed
	}
	var errs []error
	w.finish(nil, w.written, &errs)
	w.forget()
	release(w.root)
	w.root = -1
	return errors.Join(errs...)
}

// finish finishes a directory and those in it.
func (w *Writer) finish(path []byte, node *written, errs *[]error) {
	prefix := path
	if len(path) > 0 {
		prefix = append(path, '/')
	}
	for _, name := range slices.Sorted(maps.Keys(node.dirs)) {
		w.finish(append(prefix, name...), node.dirs[name], errs)
	}
	if !node.done {
		return
	}
	if err := w.finishOne(string(path), node); err != nil {
		*errs = append(*errs, fmt.Errorf("finish directory %s: %w", Shown(string(path)), err))
	}
}

func (w *Writer) finishOne(path string, node *written) error {
	fd := w.root
	if path != "" {
		var err error
		if fd, err = openBeneath(w.root, path, openDirFlags); err != nil {
			return err
		}
		defer release(fd)
	}
	if node.defaultACL != nil {
		if err := writeXattr(fd, root, attrDefaultACL, *node.defaultACL); err != nil {
			return err
		}
	}
	if err := setFlags(fd, root, node.flags); err != nil {
		return err
	}
	return setMtime(fd, root, node.mtime)
}

// setMeta sets the metadata of a file that was just made. The order matters: a change of owner drops setuid, setgid and
// capabilities, and everything changes times. The default ACL and the flags of a directory that its children
// would inherit are left for Close.
func setMeta(dir int, name string, kind Kind, m Meta) error {
	if m.Unread != nil {
		return fmt.Errorf("metadata is not known: %w", m.Unread)
	}
	if err := unix.Fchownat(dir, name, int(m.UID), int(m.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("owner: %w", err)
	}
	if kind != Symlink {
		if err := setMode(dir, name, m.Mode&0o7777); err != nil {
			return fmt.Errorf("mode: %w", err)
		}
	}
	for _, shown := range slices.Sorted(maps.Keys(m.Xattrs)) {
		if shown == attrDefaultACL {
			continue
		}
		if err := writeXattr(dir, name, shown, m.Xattrs[shown]); err != nil {
			return err
		}
	}
	flags := m.Flags
	switch kind {
	case Regular:
	case Directory:
		flags &= protecting
	default:
		flags = 0
	}
	if err := setFlags(dir, name, flags); err != nil {
		return err
	}
	return setMtime(dir, name, m.Mtime)
}

// writeXattr sets an extended attribute by the name that an overlay mount shows. A value that is not held in memory is
// read again, by the name that it was stored with.
func writeXattr(dir int, name, shown string, value Value) error {
	stored := storedName(shown)
	err := value.use(stored, func(value []byte) error { return setXattr(dir, name, stored, value) })
	if err != nil {
		return fmt.Errorf("extended attribute %s: %w", shown, err)
	}
	return nil
}

// setMtime sets the modification time, and leaves the access time.
func setMtime(dir int, name string, mtime unix.Timespec) error {
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, mtime}
	if err := unix.UtimesNanoAt(dir, name, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("time: %w", err)
	}
	return nil
}
