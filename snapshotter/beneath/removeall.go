// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package beneath

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

const (
	// maxOpen is how deep directories are entered. What is nested deeper is moved up first, so that neither descriptors
	// nor memory grow with the depth.
	maxOpen = 64
	// maxStuck is how many of the files that cannot be deleted are told.
	maxStuck = 5
	// namesAtOnce is the size of the buffer for the names of a directory, in bytes.
	namesAtOnce = 8 << 10
)

// Stuck is a file that cannot be deleted.
type Stuck struct {
	Path string
	// Command is what to run on the host so that it can be deleted, empty where that is not known.
	Command string
	Err     error
}

// Error says why, and what to do.
func (s Stuck) Error() string {
	if s.Command == "" {
		return fmt.Sprintf("cannot delete %q: %v", s.Path, s.Err)
	}
	return fmt.Sprintf("cannot delete %q: %v; run: %s", s.Path, s.Err, s.Command)
}

// Unwrap returns the error of the system.
func (s Stuck) Unwrap() error { return s.Err }

// StuckError tells the files of a tree that cannot be deleted. The others were.
type StuckError struct {
	Files []Stuck // the first few
	More  int     // how many more there are
}

// Error tells all of them.
func (e *StuckError) Error() string {
	err := make([]error, len(e.Files))
	for i, s := range e.Files {
		err[i] = s
	}
	text := errors.Join(err...).Error()
	if e.More > 0 {
		text += fmt.Sprintf("\nand %d more", e.More)
	}
	return text
}

// Unwrap returns the errors of the files.
func (e *StuckError) Unwrap() []error {
	errs := make([]error, len(e.Files))
	for i, s := range e.Files {
		errs[i] = s
	}
	return errs
}

// RemoveAll deletes what is at a path below, with all that is in it, whatever the names and the depth, in bounded
// memory. Inode flags that keep it from being deleted (chattr +i and +a) are cleared, for all names of a file. Several
// calls may delete the same. It does not enter what is mounted there. What cannot be deleted does not keep the rest:
// the error is a [*StuckError] then. It is no error if there is nothing.
func (d Dir) RemoveAll(name string) error {
	parent, err := d.open(path.Dir(name))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer release(parent)
	r := &remover{top: -1}
	at := &place{dir: parent, name: path.Base(name), base: d.path(path.Dir(name))}
	if r.remove(at); len(r.stuck) > 0 {
		return &StuckError{r.stuck, r.more}
	}
	return nil
}

// place is a name in an open directory.
type place struct {
	up   *place // the directory that it is in; nil for what is deleted as a whole
	dir  int
	name string
	base string // the path of that directory, where up is nil
}

func (p *place) path() string {
	if p.up == nil {
		return filepath.Join(p.base, p.name)
	}
	return filepath.Join(p.up.path(), p.name)
}

// remover deletes one tree.
type remover struct {
	top   int // the directory that is deleted as a whole, open
	depth int
	moved int // how many directories were moved up
	stuck []Stuck
	more  int
}

// remove deletes what is at a place and reports whether it did.
func (r *remover) remove(p *place) bool {
	var st unix.Stat_t
	switch err := unix.Fstatat(p.dir, p.name, &st, unix.AT_SYMLINK_NOFOLLOW); {
	case errors.Is(err, unix.ENOENT):
		return true
	case err != nil:
		return r.fail(p, err)
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return r.removeDir(p)
	}
	if err := r.despite(p, func() error { return unix.Unlinkat(p.dir, p.name, 0) }); err != nil {
		return r.fail(p, err)
	}
	return true
}

// despite does something with a place, and again without the inode flags that forbid it.
func (r *remover) despite(p *place, do func() error) error {
	err := do()
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	_, inDir := tree.Unprotect(p.dir, ".")
	_, inFile := tree.Unprotect(p.dir, p.name)
	if err := errors.Join(inDir, inFile); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	if err = do(); errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func (r *remover) removeDir(p *place) bool {
	rmdir := func() error { return unix.Unlinkat(p.dir, p.name, unix.AT_REMOVEDIR) }
	err := r.despite(p, rmdir)
	if err == nil {
		return true
	}
	if !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) {
		return r.fail(p, err)
	}
	if r.depth == maxOpen {
		return r.moveUp(p)
	}
	fd, err := openDir(p.dir, p.name, unix.O_RDONLY, unix.RESOLVE_NO_XDEV)
	if errors.Is(err, unix.ENOENT) {
		return true // deleted by somebody else
	}
	if err != nil {
		return r.fail(p, err)
	}
	defer release(fd)
	if r.top < 0 {
		r.top = fd
	}
	r.depth++
	emptied := r.empty(p, fd)
	r.depth--
	if !emptied {
		return false
	}
	if err := r.despite(p, rmdir); err != nil {
		return r.fail(p, err)
	}
	return true
}

// moveUp moves a directory that is nested too deep to the top, where it is found again.
func (r *remover) moveUp(p *place) bool {
	for {
		name := fmt.Sprintf("molt-deep-%d", r.moved)
		r.moved++
		err := r.despite(p, func() error {
			return unix.Renameat2(p.dir, p.name, r.top, name, unix.RENAME_NOREPLACE)
		})
		switch {
		case err == nil:
			return true
		case !errors.Is(err, unix.EEXIST):
			return r.fail(p, err)
		}
	}
}

// empty deletes what is in an open directory. Names may be missed while others are deleted, so it is read until nothing
// is left, or nothing more can be done.
func (r *remover) empty(p *place, fd int) bool {
	for {
		stuck, more, moved := len(r.stuck), r.more, r.moved
		left, removed, err := r.pass(p, fd)
		if err != nil {
			return r.fail(p, err)
		}
		again := removed > 0 || fd == r.top && r.moved > moved
		if !again {
			return left == 0
		}
		r.stuck, r.more = r.stuck[:stuck], more // they are met again
	}
}

// pass deletes each file that a directory lists, and returns how many could be, and how many could not.
func (r *remover) pass(p *place, fd int) (left, removed int, err error) {
	if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
		return 0, 0, err
	}
	buf := make([]byte, namesAtOnce)
	for {
		n, err := unix.ReadDirent(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOENT): // deleted by somebody else
			return 0, 0, nil
		case err != nil:
			return left, removed, err
		case n <= 0:
			return left, removed, nil
		}
		_, _, names := unix.ParseDirent(bytes.Clone(buf[:n]), -1, nil)
		for _, name := range names {
			if r.remove(&place{up: p, dir: fd, name: name}) {
				removed++
			} else {
				left++
			}
		}
	}
}

// fail notes that a file cannot be deleted.
func (r *remover) fail(p *place, err error) bool {
	if len(r.stuck) == maxStuck {
		r.more++
		return false
	}
	path := p.path()
	r.stuck = append(r.stuck, Stuck{Path: path, Command: remedy(path, err), Err: err})
	return false
}

// remedy returns the command after which a file can be deleted.
func remedy(path string, err error) string {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Sprintf("chattr -i -a %s %s", quoted(filepath.Dir(path)), quoted(path))
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EXDEV):
		return "umount " + quoted(path)
	}
	return ""
}

// quoted returns a path as a shell takes it, without any character that a terminal would heed.
func quoted(path string) string {
	plain := func(c byte) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
			bytes.IndexByte([]byte("/._-+=@%,"), c) >= 0
	}
	var out []byte
	odd := false
	for i := range len(path) {
		switch c := path[i]; {
		case plain(c):
			out = append(out, c)
		case c < ' ' || c > '~' || c == '\'' || c == '\\':
			out, odd = fmt.Appendf(out, `\x%02x`, c), true
		default:
			out, odd = append(out, c), true
		}
	}
	if odd {
		return "$'" + string(out) + "'"
	}
	return string(out)
}
