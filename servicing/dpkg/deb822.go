// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dpkg understands the database of Debian's package manager well enough to merge two of them that come from a
// third: which packages there are and in which state, whose version counts, which files are theirs, and whether what
// comes out is consistent. It is about contents only and reads no files.
//
// What is not understood is preserved: stanzas and fields are carried over verbatim.
package dpkg

import (
	"strings"
)

// Stanza is one paragraph of a deb822 file, as it is written.
type Stanza struct{ raw string }

// ParseStanzas splits a deb822 file into its stanzas. Nothing is an error.
func ParseStanzas(content []byte) []Stanza {
	var out []Stanza
	var current strings.Builder
	flush := func() {
		if current.Len() > 0 {
			out = append(out, Stanza{raw: current.String()})
			current.Reset()
		}
	}
	for _, line := range strings.SplitAfter(string(content), "\n") {
		if strings.Trim(line, " \t\r\n") == "" {
			flush()
			continue
		}
		current.WriteString(line)
		if !strings.HasSuffix(line, "\n") {
			current.WriteByte('\n')
		}
	}
	flush()
	return out
}

// RenderStanzas writes stanzas, separated and ended by an empty line as dpkg does.
func RenderStanzas(all []Stanza) []byte {
	var out strings.Builder
	for _, s := range all {
		out.WriteString(s.raw)
		out.WriteByte('\n')
	}
	return []byte(out.String())
}

// find returns where the lines of a field begin and end, and where its value begins.
func (s Stanza) find(name string) (begin, value, end int, ok bool) {
	for at := 0; at < len(s.raw); {
		next := at + lineLength(s.raw[at:])
		for next < len(s.raw) && (s.raw[next] == ' ' || s.raw[next] == '\t') {
			next += lineLength(s.raw[next:])
		}
		key, _, found := strings.Cut(s.raw[at:next], ":")
		if found && strings.EqualFold(key, name) {
			return at, at + len(key) + 1, next, true
		}
		at = next
	}
	return 0, 0, 0, false
}

func lineLength(text string) int {
	if i := strings.IndexByte(text, '\n'); i >= 0 {
		return i + 1
	}
	return len(text)
}

// Get returns the value of a field without the space around it, "" when there is none. Continuation lines are part of
// it.
func (s Stanza) Get(name string) string {
	_, value, end, ok := s.find(name)
	if !ok {
		return ""
	}
	return strings.TrimSpace(s.raw[value:end])
}

// With returns the stanza with another value for a field, in the place where it was or at the end.
func (s Stanza) With(name, value string) Stanza {
	begin, _, end, ok := s.find(name)
	if !ok {
		return Stanza{raw: s.raw + name + ": " + value + "\n"}
	}
	return Stanza{raw: s.raw[:begin] + name + ": " + value + "\n" + s.raw[end:]}
}
