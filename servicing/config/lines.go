// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"
	"strings"
)

// edit collects what is to be done with the lines of the user's file.
type edit struct {
	o, n, u *document
	drop    map[int]bool     // lines that go
	before  map[int][]string // lines that come before a line
	at      map[string]int   // by entry that was put in, the line before which it is
	changes int
}

// mergeLines merges files whose entries are whole lines.
func (f Format) mergeLines(old, base, user []byte) ([]byte, error) {
	e := &edit{drop: make(map[int]bool), before: make(map[int][]string), at: make(map[string]int)}
	for _, one := range []struct {
		to      **document
		content []byte
	}{{&e.o, old}, {&e.n, base}, {&e.u, user}} {
		var err error
		if *one.to, err = f.parse(one.content); err != nil {
			return nil, err
		}
	}
	if e.n.end != e.u.end {
		return nil, ErrForm
	}
	for _, in := range e.n.all {
		if err := e.change(in); err != nil {
			return nil, err
		}
	}
	for _, was := range e.o.all {
		if e.n.byKey[was.key()] == nil {
			if err := e.remove(was); err != nil {
				return nil, err
			}
		}
	}
	return []byte(e.render()), nil
}

// change makes an entry of the base's be in the user's file.
func (e *edit) change(in *entry) error {
	was, have := e.o.byKey[in.key()], e.u.byKey[in.key()]
	switch {
	case in.container && have != nil, was != nil && was.value == in.value && !in.container,
		have != nil && have.value == in.value:
		return nil
	case in.container && was != nil:
		return nil // the user removed it; a change in it is a conflict
	case e.inserted(in):
		return nil // with what it is in
	case in.many || have != nil && have.many || have != nil && have.container:
		return ErrForm
	case have == nil:
		return e.insert(in)
	}
	if indent(e.n.lines[in.first]) != indent(e.u.lines[have.first]) {
		return ErrForm
	}
	e.dropLines(have)
	e.put(have.first, e.n.lines[in.first:in.last+1])
	return nil
}

// inserted reports whether what an entry is in was put in as a whole.
func (e *edit) inserted(in *entry) bool {
	for depth := 1; depth < len(in.path); depth++ {
		if _, ok := e.at[strings.Join(in.path[:depth], separator)]; ok {
			return true
		}
	}
	return false
}

// insert puts an entry that the user does not have where the base has it: behind its last neighbour that the user has.
func (e *edit) insert(in *entry) error {
	if e.changes++; e.changes > maxChanges {
		return ErrForm
	}
	if _, there := e.u.byKey[in.parent()]; len(in.path) > 1 && !there {
		return ErrForm // in something that the user removed
	}
	at, like := e.place(in)
	if like != nil && indent(e.u.lines[like.first]) != indent(e.n.lines[in.first]) {
		return ErrForm
	}
	lines := e.n.lines[e.n.head(in) : in.last+1]
	if in.container && at > 0 && strings.TrimSpace(e.u.lines[at-1]) != "" {
		lines = slices.Concat(blankBefore(e.n, e.n.head(in)), lines)
	}
	e.at[in.key()] = at
	e.put(at, lines)
	return nil
}

// blankBefore returns the empty line before a line, if there is one.
func blankBefore(d *document, line int) []string {
	if line > 0 && strings.TrimSpace(d.lines[line-1]) == "" {
		return d.lines[line-1 : line]
	}
	return nil
}

// place returns the line before which an entry of the base's goes, and a neighbour of it that the user has.
func (e *edit) place(in *entry) (int, *entry) {
	var siblings []*entry
	self := 0
	for _, other := range e.n.all {
		if len(other.path) == len(in.path) && other.parent() == in.parent() && other.header == in.header {
			if other == in {
				self = len(siblings)
			}
			siblings = append(siblings, other)
		}
	}
	for _, other := range slices.Backward(siblings[:self]) {
		if at, ok := e.at[other.key()]; ok {
			return at, nil
		}
		if have := e.u.byKey[other.key()]; have != nil && !have.many {
			return have.last + 1, have
		}
	}
	for _, other := range siblings[self+1:] {
		if have := e.u.byKey[other.key()]; have != nil && !have.many {
			return e.u.head(have), have
		}
	}
	if parent := e.u.byKey[in.parent()]; parent != nil && len(in.path) > 1 {
		return parent.first + 1, nil
	}
	return e.u.beforeSections(in), nil
}

// beforeSections returns the line at the end of the file, or, for what is in no section, that of the first section.
func (d *document) beforeSections(in *entry) int {
	if !in.header {
		for _, other := range d.all {
			if other.header {
				return d.head(other)
			}
		}
	}
	return len(d.lines)
}

// head returns the first line of the comments that stand right above an entry.
func (d *document) head(of *entry) int {
	first := of.first
	for first > 0 && isComment(d.lines[first-1]) {
		first--
	}
	return first
}

func isComment(line string) bool {
	line = strings.TrimSpace(line)
	return strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";")
}

// remove removes an entry that the base removed and the user did not change.
func (e *edit) remove(was *entry) error {
	have := e.u.byKey[was.key()]
	switch {
	case have == nil:
		return nil
	case have.many || e.changes > maxChanges:
		return ErrForm
	case was.container:
		e.changes++
		e.removeContainer(have)
		return nil
	}
	e.dropLines(have)
	return nil
}

// removeContainer removes a section if nothing of the user's is in it.
func (e *edit) removeContainer(have *entry) {
	for _, other := range e.u.all {
		inside := len(other.path) > len(have.path) && slices.Equal(other.path[:len(have.path)], have.path)
		if inside && (e.o.byKey[other.key()] == nil || e.n.byKey[other.key()] != nil) {
			return
		}
	}
	e.drop[have.first] = true
}

func (e *edit) dropLines(of *entry) {
	for line := of.first; line <= of.last; line++ {
		e.drop[line] = true
	}
}

func (e *edit) put(at int, lines []string) { e.before[at] = append(e.before[at], lines...) }

// render returns the user's file with what is to be done. Only the last line may lack its end.
func (e *edit) render() string {
	var out strings.Builder
	glue := func(line string) {
		if text := out.String(); text != "" && !strings.HasSuffix(text, "\n") {
			out.WriteString(e.u.end)
		}
		out.WriteString(line)
	}
	for i, line := range e.u.lines {
		for _, in := range e.before[i] {
			glue(in)
		}
		if !e.drop[i] {
			glue(line)
		}
	}
	for _, in := range e.before[len(e.u.lines)] {
		glue(in)
	}
	return out.String()
}

// indent returns the space that a line begins with.
func indent(line string) string { return line[:len(line)-len(strings.TrimLeft(line, " \t"))] }

// text returns lines as a value: without the space around them.
func text(lines []string) string { return strings.TrimSpace(strings.Join(lines, "")) }
