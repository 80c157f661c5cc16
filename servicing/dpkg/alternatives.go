// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Alternatives is what update-alternatives knows about one name.
type Alternatives struct {
	Status  string // "auto" or "manual"
	Link    string // the path that programs use
	Slaves  map[string]string
	Choices map[string]Alternative // by path
}

// Alternative is one of the things that a name can stand for.
type Alternative struct {
	Priority int
	Slaves   string // the paths of the slaves, by name, as one string
}

// slaves and joinSlaves convert between the paths of the slaves and what is kept of them.
func (a Alternative) slaves() map[string]string {
	out := make(map[string]string)
	for line := range strings.SplitSeq(a.Slaves, "\n") {
		if name, path, ok := strings.Cut(line, "\x00"); ok {
			out[name] = path
		}
	}
	return out
}

func joinSlaves(paths map[string]string) string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		lines = append(lines, name+"\x00"+paths[name])
	}
	return strings.Join(lines, "\n")
}

// lineReader reads lines; after the last one it has failed.
type lineReader struct {
	lines  []string
	failed bool
}

func (r *lineReader) next() string {
	if len(r.lines) == 0 {
		r.failed = true
		return ""
	}
	line := r.lines[0]
	r.lines = r.lines[1:]
	return line
}

// ParseAlternatives reads a file of update-alternatives; it reports false when it is not understood.
func ParseAlternatives(content []byte) (*Alternatives, bool) {
	r := &lineReader{lines: strings.Split(string(content), "\n")}
	a := &Alternatives{Slaves: make(map[string]string), Choices: make(map[string]Alternative)}
	a.Status, a.Link = r.next(), r.next()
	var names []string
	for name := r.next(); name != "" && !r.failed; name = r.next() {
		names = append(names, name)
		a.Slaves[name] = r.next()
	}
	for path := r.next(); path != "" && !r.failed; path = r.next() {
		priority, err := strconv.Atoi(r.next())
		if err != nil {
			return nil, false
		}
		paths := make(map[string]string)
		for _, name := range names {
			if at := r.next(); at != "" {
				paths[name] = at
			}
		}
		a.Choices[path] = Alternative{priority, joinSlaves(paths)}
	}
	return a, !r.failed && (a.Status == "auto" || a.Status == "manual") && a.Link != ""
}

// Render writes the file as update-alternatives does.
func (a *Alternatives) Render() []byte {
	lines := []string{a.Status, a.Link}
	names := slices.Sorted(maps.Keys(a.Slaves))
	for _, name := range names {
		lines = append(lines, name, a.Slaves[name])
	}
	lines = append(lines, "")
	for _, path := range slices.Sorted(maps.Keys(a.Choices)) {
		lines = append(lines, path, strconv.Itoa(a.Choices[path].Priority))
		for _, name := range names {
			lines = append(lines, a.Choices[path].slaves()[name])
		}
	}
	return []byte(strings.Join(append(lines, "", ""), "\n"))
}

// MergeAlternatives merges three-way by choice. current is what the name stands for on the user's side: if it was
// chosen by hand and is not there any longer, the result is automatic again.
func MergeAlternatives(old, base, user *Alternatives, current string) *Alternatives {
	out := &Alternatives{
		Status:  choose(old.Status, base.Status, user.Status),
		Link:    choose(old.Link, base.Link, user.Link),
		Slaves:  mergeMaps(old.Slaves, base.Slaves, user.Slaves),
		Choices: mergeMaps(old.Choices, base.Choices, user.Choices),
	}
	if _, there := out.Choices[current]; !there {
		out.Status = "auto"
	}
	return out
}

// choose is the three-way choice; the user's where both changed.
func choose[T comparable](o, n, u T) T {
	if u == o {
		return n
	}
	return u
}

// mergeMaps merges maps three-way by key; the zero value stands for nothing.
func mergeMaps[V comparable](o, n, u map[string]V) map[string]V {
	var zero V
	out := make(map[string]V)
	for _, m := range []map[string]V{n, u} {
		for key := range m {
			if value := choose(o[key], n[key], u[key]); value != zero {
				out[key] = value
			}
		}
	}
	return out
}

// Best returns the path of the highest priority, "" when there is none.
func (a *Alternatives) Best() string {
	best := ""
	for _, path := range slices.Sorted(maps.Keys(a.Choices)) {
		if best == "" || a.Choices[path].Priority > a.Choices[best].Priority {
			best = path
		}
	}
	return best
}

// SlavesOf returns what the slaves stand for when the name stands for a path; those that are not in it stand for
// nothing.
func (a *Alternatives) SlavesOf(path string) map[string]string { return a.Choices[path].slaves() }
