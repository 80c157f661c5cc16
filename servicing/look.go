// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// maxLooks is how often a storage that changes is looked at as a whole.
const maxLooks = 4

// unreadContent is what is said of a content that could not be read, in place of its digest.
const unreadContent report.Content = "unread"

// passed holds what looks pass over, by path, with the reason.
type passed map[string]tree.Unreadable

// has reports whether a path, or a directory that it is in, is passed over.
func (s passed) has(p string) bool {
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

// note notes the path that an error is about, and reports whether the error is of the kind that looks pass over.
func (s passed) note(err error) bool {
	unread, is := errors.AsType[*tree.UnreadableError](err)
	if is && unread.Why != tree.LongList {
		s[unread.Path] = unread.Why
		return true
	}
	return false
}

// list returns what was passed over, in order.
func (s passed) list() (out []report.Unread) {
	for _, name := range slices.SortedFunc(maps.Keys(s), comparePaths) {
		out = append(out, report.Unread{Path: report.Printable(name), PathBytes: report.RawBytes(name), Why: s[name].String()})
	}
	return out
}

// passOver notes a path of the storage that cannot be looked at because of an error, and returns nil; any other error
// it returns. Only a look passes over anything: where side effects are to be written, nobody else may write.
func (p *planner) passOver(name string, err error) error {
	if err == nil || !p.live || !p.pins.passed.note(err) {
		return err
	}
	unread, _ := errors.AsType[*tree.UnreadableError](err)
	p.pins.passed[name] = unread.Why
	return nil
}

// described is describe; a look does not fail because of a content that it cannot read.
func (p *planner) described(n node) (report.Content, error) {
	content, err := describe(n)
	if err != nil && p.live && p.pins.passed.note(err) {
		return unreadContent, nil
	}
	return content, err
}

// again calls look until it meets nothing that it cannot read, passing over more each time. In the end the error names
// all paths.
func (s passed) again(live bool, look func() error) error {
	for try := 1; ; try++ {
		err := look()
		if err == nil || !live || !s.note(err) {
			return err
		}
		if try == maxLooks {
			return fmt.Errorf("%w; passed over: %s; look again, or stop the container first", err, s.names())
		}
	}
}

// names lists the paths for people.
func (s passed) names() string {
	all := s.list()
	var out []string
	for _, u := range all[:min(len(all), maxNamed)] {
		out = append(out, fmt.Sprintf("%s %s", tree.Shown(u.Path), u.Why))
	}
	if more := len(all) - len(out); more > 0 {
		out = append(out, fmt.Sprintf("%d more", more))
	}
	return strings.Join(out, ", ")
}
