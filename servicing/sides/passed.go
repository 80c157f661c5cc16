// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package sides

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// MaxNamed is how many of the paths of one kind are named; of more only the number is told.
const MaxNamed = 10

// maxLooks is how often a storage that changes is looked at as a whole.
const maxLooks = 4

// Passed holds what looks pass over, by path, with the reason.
type Passed map[string]tree.Unreadable

// Has reports whether a path, or a directory that it is in, is passed over.
func (s Passed) Has(p string) bool {
	if len(s) == 0 {
		return false
	}
	if _, is := s[p]; is {
		return true
	}
	for i := len(p) - 1; i > 0; i-- {
		if p[i] == '/' {
			if _, is := s[p[:i]]; is {
				return true
			}
		}
	}
	return false
}

// Note notes the path that an error is about, and reports whether the error is of the kind that looks pass over.
func (s Passed) Note(err error) bool {
	unread, is := errors.AsType[*tree.UnreadableError](err)
	if is && unread.Why != tree.LongList {
		s[unread.Path] = unread.Why
		return true
	}
	return false
}

// List returns what was passed over, in order.
func (s Passed) List() (out []report.Unread) {
	for _, name := range slices.SortedFunc(maps.Keys(s), ComparePaths) {
		out = append(out, report.Unread{
			Path: report.Printable(name), PathBytes: report.RawBytes(name), Why: s[name].String(),
		})
	}
	return out
}

// Again calls look until it meets nothing that it cannot read, passing over more each time. In the end the error names
// all paths.
func (s Passed) Again(live bool, look func() error) error {
	for try := 1; ; try++ {
		err := look()
		if err == nil || !live || !s.Note(err) {
			return err
		}
		if try == maxLooks {
			return fmt.Errorf("%w; passed over: %s; look again, or stop the container first", err, s.names())
		}
	}
}

// names lists the paths for people.
func (s Passed) names() string {
	all := s.List()
	var out []string
	for _, u := range all[:min(len(all), MaxNamed)] {
		out = append(out, fmt.Sprintf("%s %s", tree.Shown(u.Path), u.Why))
	}
	if more := len(all) - len(out); more > 0 {
		out = append(out, fmt.Sprintf("%d more", more))
	}
	return strings.Join(out, ", ")
}

// Over notes a path of a storage that cannot be looked at because of an error, and returns nil; any other error it
// returns. Only a look at a storage that may be in use passes over anything: where side effects are to be written,
// nobody else may write.
func (s Passed) Over(live bool, name string, err error) error {
	if err == nil || !live || !s.Note(err) {
		return err
	}
	unread, _ := errors.AsType[*tree.UnreadableError](err)
	s[name] = unread.Why
	return nil
}
