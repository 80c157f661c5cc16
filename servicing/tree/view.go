// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// View shows a stack as an overlay mount of it would (with the options index=off, metacopy=off, redirect_dir=nofollow):
// whiteouts hide, opaque directories cut, non-directories hide what is below them. A directory which overlayfs would
// have to look for under another name, or a file whose content it keeps elsewhere, gives a *RefusedError.
//
// A View holds one descriptor for each directory of the stack, and while a method runs, one more for each of them. It
// may be used by several goroutines at once, but not after Close. Where the directories change in the meantime nothing
// unsafe happens, but the View may show neither the old nor the new; a change that is noticed gives an
// *UnreadableError, unless the View tolerates changes.
type View struct {
	roots     []int // O_PATH descriptors of the directories of the stack
	tolerance Tolerance

	amend  func(*Entry) error // what Lookup does to an entry; nil for nothing
	within context.Context    //nolint:containedctx // the views of an operation end with it; nil for never

	mu sync.Mutex
	// for paths, the layers that make up the directory shown there; none if there is no directory
	known map[string][]int
	size  int // of the paths in known
}

// maxKnown bounds, in bytes of paths, what a View remembers about directories.
const maxKnown = 1 << 20

// Tolerance says which of the things that a container can do to its files are no error. The zero value tolerates
// nothing.
type Tolerance struct {
	// LongLists: a file whose extended attributes cannot be read is an entry without them, marked with Meta.Unread.
	LongLists bool
	// Changes: the stack may be in use. A file that was replaced is looked at again, and is read as it is then; a walk
	// passes over what was removed. A path that changes again each time gives an *UnreadableError. This is for looks
	// alone: what is shown may never have been there at one time.
	Changes bool
}

// Open opens the directories of a stack. The View must be closed.
func Open(stack Stack) (*View, error) { return Tolerance{}.Open(stack) }

// Open is like the function Open, for a View that tolerates something.
func (t Tolerance) Open(stack Stack) (*View, error) {
	v := &View{tolerance: t, known: make(map[string][]int)}
	for _, dir := range stack {
		fd, err := unix.Open(dir, openDirFlags|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open layer %q: %w", dir, err), v.Close())
		}
		v.roots = append(v.roots, fd)
	}
	return v, nil
}

// Close releases the directories. Files that were opened stay open.
func (v *View) Close() error {
	var errs []error
	for _, fd := range v.roots {
		errs = append(errs, unix.Close(fd))
	}
	v.roots = nil
	return errors.Join(errs...)
}

// Amend makes Lookup pass the metadata of each entry through a function. What the walks tell stays as it is on disk. It
// must not be called while another method runs.
func (v *View) Amend(fn func(*Entry) error) { v.amend = fn }

// Within has what reads contents of the view end with a context: comparing and copying, which may take as long as a
// file is large. It must not be called while another method runs.
func (v *View) Within(ctx context.Context) { v.within = ctx }

// context returns the context that contents are read in.
func (v *View) context() context.Context {
	if v.within == nil {
		return context.Background()
	}
	return v.within
}

// Lookup tells what stands at a path. The error wraps fs.ErrNotExist when the path is absent, hidden or whited out, and
// also when it leads through something that is not a directory; fs.ErrInvalid when it is not clean or not relative.
func (v *View) Lookup(path string) (Entry, error) {
	if err := checkPath(path); err != nil {
		return Entry{}, err
	}
	if path == root && len(v.roots) == 0 {
		return emptyRoot(), nil
	}
	var e Entry
	err := v.again(path, func() (err error) {
		e, err = v.lookup(path)
		return err
	})
	return e, err
}

func (v *View) lookup(path string) (Entry, error) {
	dirs, name, err := v.parent(path)
	if err != nil {
		return Entry{}, err
	}
	defer dirs.close()
	p, err := dirs.look(name, nil)
	if err != nil {
		return Entry{}, err
	}
	if !p.shown() {
		return Entry{}, fmt.Errorf("look up %s: %w", Shown(path), fs.ErrNotExist)
	}
	e, err := p.entry()
	if err == nil && v.amend != nil {
		err = v.amend(&e)
	}
	return e, err
}

// emptyRoot is the root of a stack without directories.
func emptyRoot() Entry {
	return Entry{Path: root, Kind: Directory, Meta: Meta{Mode: 0o755}, Layer: -1}
}

// parent returns the directory that a path is in, and its name there. If there is no such directory, no layer makes it
// up.
func (v *View) parent(path string) (*openDirs, string, error) {
	if path == root {
		return v.dirs(root, countTo(len(v.roots))), root, nil
	}
	dir, name := splitPath(path)
	layers, err := v.resolve(dir)
	return v.dirs(dir, layers), name, err
}

// ReadDir returns the names shown in a directory, sorted by bytes. The error is that of Lookup when there is nothing at
// the path, and wraps unix.ENOTDIR when what is there is not a directory.
func (v *View) ReadDir(path string) ([]string, error) {
	e, err := v.Lookup(path)
	if err != nil {
		return nil, err
	}
	if e.Kind != Directory {
		return nil, fmt.Errorf("read directory %s: %w", Shown(path), unix.ENOTDIR)
	}
	var names []string
	err = v.again(path, func() (err error) {
		names, err = v.readDir(path)
		return err
	})
	return names, err
}

func (v *View) readDir(path string) ([]string, error) {
	layers, err := v.resolve(path)
	if err != nil {
		return nil, err
	}
	dirs := v.dirs(path, layers)
	defer dirs.close()
	list, err := dirs.list()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, item := range list {
		p, err := dirs.look(item.name, item.positions[:1]) // the topmost decides whether it is shown
		if err != nil {
			return nil, err
		}
		if p.shown() {
			names = append(names, item.name)
		}
	}
	return names, nil
}

// OpenFile opens a regular file read-only. For anything else the error wraps fs.ErrInvalid, and it is not opened.
func (v *View) OpenFile(path string) (*os.File, error) {
	e, err := v.Lookup(path)
	if err != nil {
		return nil, err
	}
	return v.OpenEntry(e)
}

// OpenEntry is like OpenFile, for an entry that this view gave: the file is not looked up again. Another file in its
// place is an error, unless the view tolerates changes; then that file is opened. The error is an *UnreadableError for
// a file that nobody can open now because of a lease.
func (v *View) OpenEntry(e Entry) (*os.File, error) {
	if e.Kind != Regular && v.tolerance.Changes { // it was a file when the caller saw it
		return nil, fmt.Errorf("open: %w: %w: it is a %s", &UnreadableError{e.Path, Changing}, fs.ErrInvalid, e.Kind)
	}
	if e.Kind != Regular {
		return nil, fmt.Errorf("open %s: %w: it is a %s", Shown(e.Path), fs.ErrInvalid, e.Kind)
	}
	if e.Layer < 0 || e.Layer >= len(v.roots) {
		return nil, fmt.Errorf("open %s: %w: no layer %d", Shown(e.Path), fs.ErrInvalid, e.Layer)
	}
	if err := checkPath(e.Path); err != nil {
		return nil, err
	}
	file, st, err := openRegular(v.roots[e.Layer], e.Path)
	if v.tolerance.Changes && (vanished(err) || errors.Is(err, fs.ErrInvalid)) {
		return v.openAgain(e.Path)
	}
	if err != nil {
		return nil, fmt.Errorf("open: %w", named(e.Path, err))
	}
	if (st.Dev != e.Dev || st.Ino != e.Ino) && !v.tolerance.Changes {
		return nil, errors.Join(fmt.Errorf("open %s: another file stands there now", Shown(e.Path)), file.Close())
	}
	return file, nil
}

// openAgain opens the regular file that is at a path by now, where the one that was looked at is gone.
func (v *View) openAgain(path string) (*os.File, error) {
	for range maxTries {
		v.forget()
		e, err := v.Lookup(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && e.Kind != Regular {
			break
		}
		if err != nil {
			return nil, err
		}
		file, _, err := openRegular(v.roots[e.Layer], path)
		if vanished(err) || errors.Is(err, fs.ErrInvalid) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open: %w", named(path, err))
		}
		return file, nil
	}
	return nil, &UnreadableError{path, Changing}
}

// named returns an error of the kernel with the path that it is about.
func named(path string, err error) error {
	if is := unreadable(path, err); is != err { //nolint:errorlint // whether it is the very same one
		return is
	}
	return fmt.Errorf("%s: %w", Shown(path), err)
}

// ReadFile returns the content of a regular file of at most limit bytes; a larger one is not read and gives an error
// that wraps ErrTooLarge. Other errors are those of OpenFile.
func (v *View) ReadFile(path string, limit int64) ([]byte, error) {
	e, err := v.Lookup(path)
	if err != nil {
		return nil, err
	}
	if e.Kind == Regular && e.Size > limit {
		return nil, fmt.Errorf("read %s (%d bytes): %w", Shown(path), e.Size, ErrTooLarge)
	}
	file, err := v.OpenEntry(e)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", Shown(path), err)
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("read %s, which grows: %w", Shown(path), ErrTooLarge)
	}
	return content, nil
}

// resolve returns the layers that make up the directory shown at a path, none if no directory is shown there.
func (v *View) resolve(path string) ([]int, error) {
	layers, at := v.recall(path)
	for at != path {
		next := nextPath(at, path)
		_, name := splitPath(next)
		var err error
		if layers, err = v.step(at, layers, name); err != nil {
			return nil, err
		}
		v.remember(next, layers)
		at = next
	}
	return layers, nil
}

// step returns the layers that make up the directory with a name in another directory.
func (v *View) step(dir string, layers []int, name string) ([]int, error) {
	if len(layers) == 0 {
		return nil, nil
	}
	dirs := v.dirs(dir, layers)
	defer dirs.close()
	p, err := dirs.look(name, nil)
	if err != nil || !p.directory() {
		return nil, err
	}
	return p.layers(), p.refused()
}

// recall returns what is remembered about the deepest directory on the way to a path, and that directory.
func (v *View) recall(path string) (layers []int, dir string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for dir := path; dir != root; dir, _ = splitPath(dir) {
		if layers, ok := v.known[dir]; ok {
			return layers, dir
		}
	}
	return countTo(len(v.roots)), root
}

// forget forgets all directories.
func (v *View) forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.known)
	v.size = 0
}

// remember remembers the layers of a directory, and forgets all others when these are too many.
func (v *View) remember(dir string, layers []int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.size+len(dir) > maxKnown {
		clear(v.known)
		v.size = 0
	}
	if _, ok := v.known[dir]; !ok {
		v.size += len(dir)
	}
	v.known[dir] = layers
}
