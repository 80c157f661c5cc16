// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// CompareOptions says what a comparison passes over. The zero value passes over nothing.
type CompareOptions struct {
	// IgnoreDirectoryTimes leaves out the mtimes of directories.
	IgnoreDirectoryTimes bool
	// Skip leaves out the paths for which it returns true, with what is below them. Nil leaves out nothing.
	Skip func(path string) bool
}

// Compare compares what two stacks show, completely: kinds, content, modes, owners, mtimes with nanoseconds, all
// extended attributes with ACLs and capabilities, inode flags, and which names are hard links to one another. The
// differences are in the order of a walk. Memory is bounded but for the differences and for one path per file with
// several names.
func Compare(ctx context.Context, a, b Stack) ([]Difference, error) {
	return CompareOptions{}.Compare(ctx, a, b)
}

// Compare is like the function Compare, but passes over what the options say.
func (o CompareOptions) Compare(ctx context.Context, a, b Stack) (diffs []Difference, err error) {
	va, err := Open(a)
	if err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	defer va.Close()
	vb, err := Open(b)
	if err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	defer vb.Close()
	va.Within(ctx)
	c := &comparison{options: o, a: newSide(ctx, va, o.Skip), b: newSide(ctx, vb, o.Skip)}
	defer c.a.stop()
	defer c.b.stop()
	if err := c.run(); err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	return c.diffs, nil
}

type comparison struct {
	options CompareOptions
	a, b    *side
	diffs   []Difference
}

// side is one of the two stacks, at the entry that its walk has reached.
type side struct {
	view  *View
	next  func() (Entry, error, bool)
	stop  func()
	entry Entry
	more  bool
	first map[fileID]string // for files with several names, the first one met that both sides have
}

func newSide(ctx context.Context, v *View, skip func(string) bool) *side {
	s := &side{view: v, first: make(map[fileID]string)}
	s.next, s.stop = iter.Pull2(v.entries(ctx, skip))
	return s
}

// advance goes on to the next entry.
func (s *side) advance() error {
	var err error
	s.entry, err, s.more = s.next()
	return err
}

// leader returns the first of the names of the entry's file.
func (s *side) leader() string {
	if s.entry.Nlink < 2 || s.entry.Kind == Directory {
		return s.entry.Path
	}
	id := fileID{s.view, s.entry.Dev, s.entry.Ino}
	if _, ok := s.first[id]; !ok {
		s.first[id] = s.entry.Path
	}
	return s.first[id]
}

// run walks both sides in step.
func (c *comparison) run() error {
	if err := errors.Join(c.a.advance(), c.b.advance()); err != nil {
		return err
	}
	for c.a.more || c.b.more {
		order := c.order()
		switch {
		case order < 0:
			c.differ(c.a.entry.Path, "only in the first")
		case order > 0:
			c.differ(c.b.entry.Path, "only in the second")
		default:
			if err := c.both(); err != nil {
				return err
			}
		}
		if err := c.advance(order); err != nil {
			return err
		}
	}
	return nil
}

// order tells which side comes first: negative for a, positive for b, zero when both are at one path.
func (c *comparison) order() int {
	switch {
	case !c.a.more:
		return 1
	case !c.b.more:
		return -1
	default:
		return comparePaths(c.a.entry.Path, c.b.entry.Path)
	}
}

func (c *comparison) advance(order int) error {
	var errs [2]error
	if order <= 0 {
		errs[0] = c.a.advance()
	}
	if order >= 0 {
		errs[1] = c.b.advance()
	}
	return errors.Join(errs[:]...)
}

func (c *comparison) differ(path, format string, args ...any) {
	c.diffs = append(c.diffs, Difference{path, fmt.Sprintf(format, args...)})
}

// both compares the entries of a path that both sides have.
func (c *comparison) both() error {
	a, b := &c.a.entry, &c.b.entry
	if c.a.leader() != c.b.leader() {
		c.differ(a.Path, "hard links: with %q != with %q", c.a.leader(), c.b.leader())
	}
	if a.Kind != b.Kind {
		c.differ(a.Path, "%s != %s", a.Kind, b.Kind)
		return nil
	}
	c.metadata(a, b)
	same, err := SameContent(c.a.view, *a, c.b.view, *b)
	if err != nil {
		return err
	}
	if !same {
		c.differ(a.Path, "content")
	}
	return nil
}

func (c *comparison) metadata(a, b *Entry) {
	if a.Mode != b.Mode {
		c.differ(a.Path, "mode %o != %o", a.Mode, b.Mode)
	}
	if a.UID != b.UID || a.GID != b.GID {
		c.differ(a.Path, "owner %d:%d != %d:%d", a.UID, a.GID, b.UID, b.GID)
	}
	if a.Mtime != b.Mtime && !(a.Kind == Directory && c.options.IgnoreDirectoryTimes) {
		c.differ(a.Path, "mtime %s != %s", seconds(a.Mtime), seconds(b.Mtime))
	}
	if a.Flags != b.Flags {
		c.differ(a.Path, "flags %q != %q", a.Flags, b.Flags)
	}
	names := slices.Concat(slices.Collect(maps.Keys(a.Xattrs)), slices.Collect(maps.Keys(b.Xattrs)))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		va, inA := a.Xattrs[name]
		vb, inB := b.Xattrs[name]
		if inA != inB || !va.Equal(vb) {
			c.differ(a.Path, "xattr %s", name)
		}
	}
}

func seconds(t unix.Timespec) string { return fmt.Sprintf("%d.%09d", t.Sec, t.Nsec) }

// entries is Tree as a sequence, without the paths to skip. An error comes last.
func (v *View) entries(ctx context.Context, skip func(path string) bool) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		err := v.Tree(ctx, func(e Entry) error {
			switch {
			case skip != nil && skip(e.Path) && e.Kind == Directory:
				return fs.SkipDir
			case skip != nil && skip(e.Path):
				return nil
			case !yield(e, nil):
				return fs.SkipAll
			}
			return nil
		})
		if err != nil && !errors.Is(err, fs.SkipAll) {
			yield(Entry{}, err)
		}
	}
}
