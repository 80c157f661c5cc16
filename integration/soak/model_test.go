// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// bases is how many bases there are. Storages move between them in both directions.
const bases = 4

// baseFiles is what is in a base.
func baseFiles(base int) map[string]string {
	return map[string]string{
		"etc/version":                       fmt.Sprint(base),
		"etc/conf":                          conf(base, ""),
		"usr/common":                        "common",
		fmt.Sprintf("usr/only-in-%d", base): "x",
	}
}

// conf is a file of which a base says the first line, and the user the last one.
func conf(base int, tail string) string {
	return fmt.Sprintf("base %d\n%s%s", base, strings.Repeat("line\n", 8), tail)
}

// state is what is in a storage.
type state struct {
	base  int
	tail  string            // the user's line in conf
	files map[string]string // the user's own
}

func (s state) clone() state {
	s.files = maps.Clone(s.files)
	return s
}

// on is the state after an update or a rollback to a base that keeps what was written.
func (s state) on(base int) state {
	s = s.clone()
	s.base = base
	return s
}

// tree is what a container sees.
func (s state) tree() map[string]string {
	all := baseFiles(s.base)
	all["etc/conf"] = conf(s.base, s.tail)
	maps.Copy(all, s.files)
	return all
}

// difference describes how a tree is not the expected one, empty if it is.
func difference(got, want map[string]string) string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if content, ok := got[name]; !ok || content != want[name] {
			lines = append(lines, fmt.Sprintf("%s is %q, want %q", name, content, want[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok {
			lines = append(lines, fmt.Sprintf("%s is %q, and should not be there", name, got[name]))
		}
	}
	return strings.Join(lines, "\n")
}

// storage is a storage as the model has it.
type storage struct {
	state
	key    string  // that has it, empty if none
	points []state // that it can return to, the oldest first; the daemon may have forgotten the older ones
}

func (s storage) clone() storage {
	s.state = s.state.clone()
	s.points = slices.Clone(s.points)
	return s
}

// moved is the storage after an update.
func (s storage) moved(base int) storage {
	next := s.clone()
	next.points = append(next.points, s.state.clone())
	next.state = s.on(base)
	return next
}

// returned is the storage after a rollback of its newest update.
func (s storage) returned(carry bool) storage {
	next := s.clone()
	point := next.points[len(next.points)-1]
	next.points = next.points[:len(next.points)-1]
	next.state = point.clone()
	if carry {
		next.state = s.on(point.base)
	}
	return next
}

// wrote is the storage after a file was written in it.
func (s storage) wrote(file, content string) storage {
	next := s.clone()
	next.files[file] = content
	return next
}

// returnsTo reports whether a storage can return to these bases, the oldest first; the daemon may have forgotten the
// older points.
func (s storage) returnsTo(bases []int) bool {
	forgotten := len(s.points) - len(bases)
	if forgotten < 0 {
		return false
	}
	return slices.EqualFunc(s.points[forgotten:], bases, func(p state, base int) bool { return p.base == base })
}
