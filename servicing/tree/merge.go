// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// ErrViewsDiffer is wrapped by the error of Merge when no one node can take the place of the two in all views: what
// must be hidden in one of them would show as a whiteout in another, which has no directory there to merge it with.
var ErrViewsDiffer = errors.New("no single node serves all views")

// Merge builds in dst, an empty directory, the one node that shows over each of below what upper over lower showed over
// it: a node may be seen over several bases. Where that is not possible the error wraps ErrViewsDiffer; with one below
// it always is. Files are hard links to those of the nodes, so these must be immutable for ever; where links are not
// possible (another file system, too many links), and where flags protect a file, files are copied, with the hard links
// among them. Whiteouts and opaque marks are made again: there are only those that hide something which one of below
// shows.
//
// The nodes must be sealed; what Seal refuses is refused with a *RefusedError as far as it matters to a View. When
// Merge fails or is interrupted, dst is to be thrown away, and the nodes are as they were. Nothing is synced.
func Merge(ctx context.Context, upper, lower string, below []Stack, dst string) (err error) {
	m := &merger{names: make(map[fileID][]string), separate: make(map[fileID]bool)}
	defer func() {
		if closeErr := m.close(); closeErr != nil || err != nil {
			err = fmt.Errorf("merge: %w", errors.Join(err, closeErr))
		}
	}()
	if m.nodes, err = Open(Stack{upper, lower}); err != nil {
		return err
	}
	m.nodes.Within(ctx)
	for _, stack := range below {
		v, err := Open(stack)
		if err != nil {
			return err
		}
		m.below = append(m.below, v)
	}
	if m.writer, err = NewWriter(dst); err != nil {
		return err
	}
	return m.nodes.Walk(ctx, m.add)
}

type merger struct {
	nodes  *View
	below  []*View
	writer *Writer

	names    map[fileID][]string // for files with several names, those that were linked so far
	separate map[fileID]bool     // files that were copied because they had too many names for a further one
}

func (m *merger) close() error {
	var errs []error
	if m.writer != nil {
		errs = append(errs, m.writer.Close())
	}
	for _, v := range m.below {
		errs = append(errs, v.Close())
	}
	if m.nodes != nil {
		errs = append(errs, m.nodes.Close())
	}
	return errors.Join(errs...)
}

// add writes what the nodes say about one path.
func (m *merger) add(c Change) error {
	switch {
	case c.Deleted:
		return m.whiteout(c)
	case c.Kind == Directory:
		return m.directory(c)
	default:
		return m.file(c.Entry)
	}
}

// whiteout keeps a whiteout if it hides something. In an opaque directory it does not.
func (m *merger) whiteout(c Change) error {
	if c.Covered {
		return nil
	}
	hides, err := m.shown(c.Path, func(Entry) bool { return true })
	if err != nil || !hides {
		return err
	}
	if err := m.mergedEverywhere(c.Path); err != nil {
		return err
	}
	return m.writer.Whiteout(c.Path)
}

// shown reports whether any of the views below shows an entry at a path for which want holds.
func (m *merger) shown(path string, want func(Entry) bool) (bool, error) {
	for _, v := range m.below {
		e, err := v.Lookup(path)
		switch {
		case err == nil && want(e):
			return true, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return false, err
		}
	}
	return false, nil
}

// mergedEverywhere fails when a whiteout at a path would be visible in a view: where there is no directory below to
// merge its directory with, overlayfs shows its name.
func (m *merger) mergedEverywhere(path string) error {
	dir, _ := splitPath(path)
	for i, v := range m.below {
		e, err := v.Lookup(dir)
		merges := err == nil && e.Kind == Directory && len(v.roots) > 0
		if !merges && (err == nil || errors.Is(err, fs.ErrNotExist)) {
			return fmt.Errorf("%w: %s in view %d", ErrViewsDiffer, Shown(path), i)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// directory keeps an opaque mark if there is a directory below to be hidden; anything else is hidden without it.
func (m *merger) directory(c Change) error {
	if err := m.writer.Mkdir(c.Path, c.Meta); err != nil {
		return err
	}
	if !c.Opaque || c.Covered {
		return nil
	}
	hides, err := m.shown(c.Path, func(e Entry) bool { return e.Kind == Directory })
	if err != nil || !hides {
		return err
	}
	return m.writer.Opaque(c.Path)
}

func (m *merger) file(e Entry) error {
	id := fileID{m.nodes, e.Dev, e.Ino}
	// What flags protect is not shared: they are cleared when one of the nodes is deleted.
	if m.separate[id] || e.Flags&protecting != 0 {
		return m.writer.Copy(m.nodes, e)
	}
	err := m.link(e)
	switch {
	case err == nil:
		if e.Nlink > 1 {
			m.names[id] = append(m.names[id], e.Path)
		}
		return nil
	case errors.Is(err, unix.EMLINK):
		return m.divide(id, e)
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EPERM): // EPERM: a file system without links
		return m.writer.Copy(m.nodes, e)
	default:
		return err
	}
}

func (m *merger) link(e Entry) error {
	dir, name := splitPath(e.Path)
	from, err := openBeneath(m.nodes.roots[e.Layer], dir, openDirFlags)
	if err != nil {
		return fmt.Errorf("open directory %s: %w", Shown(dir), err)
	}
	defer release(from)
	return m.writer.linkFrom(from, name, e.Path)
}

// divide copies a file that can have no more names. Those names that it got so far become names of the copy, as will
// the further ones, so that they all remain names of one file.
func (m *merger) divide(id fileID, e Entry) error {
	m.separate[id] = true
	if err := m.writer.Copy(m.nodes, e); err != nil {
		return err
	}
	for _, path := range m.names[id] {
		if err := m.writer.relink(e.Path, path); err != nil {
			return err
		}
	}
	delete(m.names, id)
	return nil
}
