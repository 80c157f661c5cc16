// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sources knows the files that say where a package manager gets its packages from: apk's repositories, and
// apt's sources in lines and in stanzas. A source is identified by what does not change when a distribution moves on:
// which part of a release it is, and which component. The mirror and the release are what is said about it.
package sources

import (
	"path"
	"slices"
	"strings"
)

// Form is a form of such files.
type Form int

// The forms.
const (
	None   Form = iota
	APK         // a URL a line: /etc/apk/repositories
	Line        // a line of words a source: /etc/apt/sources.list
	Stanza      // fields, with an empty line between sources: /etc/apt/sources.list.d/debian.sources
)

// FormOf returns the form of the file at a path, None for any other file.
func FormOf(name string) Form {
	dir, file := path.Split(name)
	switch {
	case name == "etc/apk/repositories":
		return APK
	case name == "etc/apt/sources.list", dir == "etc/apt/sources.list.d/" && strings.HasSuffix(file, ".list"):
		return Line
	case dir == "etc/apt/sources.list.d/" && strings.HasSuffix(file, ".sources"):
		return Stanza
	}
	return None
}

// source is an entry of a file: packages of some kinds, from some places, of some suites, in some components.
type source struct {
	kinds, places, suites, components []string
	options                           string // all else that is said, in one form
}

// block is a part of a file: an entry, or text that is none.
type block struct {
	text   string // with its end
	source *source
}

// maxSize is the size up to which a file is read.
const maxSize = 1 << 20

// parse splits a file into its blocks. It reports false for what is not understood.
func parse(form Form, content []byte) ([]block, bool) {
	if len(content) > maxSize || slices.Contains(content, 0) {
		return nil, false
	}
	text := strings.ReplaceAll(string(content), "\r\n", "\n")
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	if form == Stanza {
		return parseStanzas(text)
	}
	var blocks []block
	for line := range strings.Lines(text) {
		b, ok := parseLine(form, line)
		if !ok {
			return nil, false
		}
		blocks = append(blocks, b)
	}
	return blocks, true
}

func parseLine(form Form, line string) (b block, ok bool) {
	said, _, _ := strings.Cut(line, "#")
	words := strings.Fields(said)
	if len(words) == 0 {
		return block{text: line}, true
	}
	s := &source{}
	if form == APK {
		ok = s.fromAPK(words)
	} else {
		ok = s.fromLine(words)
	}
	return block{text: line, source: s}, ok
}

// fromAPK reads "@tag place/release/component", in which the tag may be missing.
func (s *source) fromAPK(words []string) bool {
	tag := ""
	if strings.HasPrefix(words[0], "@") {
		tag, words = words[0], words[1:]
	}
	if len(words) != 1 {
		return false
	}
	parts := strings.Split(strings.TrimRight(words[0], "/"), "/")
	if n := len(parts); n >= 3 {
		s.kinds, s.places = []string{tag}, []string{strings.Join(parts[:n-2], "/")}
		s.suites, s.components = []string{parts[n-2]}, []string{parts[n-1]}
		return true
	}
	return false
}

// fromLine reads "deb [options] place suite components...", in which options and components may be missing.
func (s *source) fromLine(words []string) bool {
	s.kinds, words = words[:1], words[1:]
	if s.kinds[0] != "deb" && s.kinds[0] != "deb-src" {
		return false
	}
	if len(words) > 0 && strings.HasPrefix(words[0], "[") {
		end := slices.IndexFunc(words, func(w string) bool { return strings.HasSuffix(w, "]") })
		if end < 0 {
			return false
		}
		s.options, words = strings.Trim(strings.Join(words[:end+1], " "), "[] "), words[end+1:]
	}
	if len(words) < 2 {
		return false
	}
	s.places, s.suites, s.components = []string{place(words[0])}, words[1:2], words[2:]
	return true
}

// place writes an address in one way.
func place(address string) string { return strings.TrimRight(address, "/") }

// parseStanzas splits at empty lines. Lines that are comments belong to the stanza that they stand in.
func parseStanzas(text string) (blocks []block, ok bool) {
	current := ""
	end := func() bool {
		if current == "" {
			return true
		}
		s, ok := fromStanza(current)
		blocks = append(blocks, block{text: current, source: s})
		current = ""
		return ok
	}
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			current += line
			continue
		}
		if !end() {
			return nil, false
		}
		blocks = append(blocks, block{text: line})
	}
	return blocks, end()
}

// fromStanza reads the fields of a stanza; nil for one of comments, or one that is switched off.
func fromStanza(text string) (*source, bool) {
	s := &source{}
	var rest []string
	fields, ok := fieldsOf(text)
	for _, f := range fields {
		words := strings.Fields(f.value)
		switch strings.ToLower(f.name) {
		case "types":
			s.kinds = words
		case "uris":
			for _, w := range words {
				s.places = append(s.places, place(w))
			}
		case "suites":
			s.suites = words
		case "components":
			s.components = words
		case "enabled":
			if f.value == "no" || f.value == "false" {
				return nil, ok
			}
		default:
			rest = append(rest, strings.ToLower(f.name)+"="+strings.Join(words, ","))
		}
	}
	if len(fields) == 0 {
		return nil, ok
	}
	slices.Sort(rest)
	s.options = strings.Join(rest, " ")
	return s, ok && len(s.kinds) > 0 && len(s.places) > 0 && len(s.suites) > 0
}

// field is a field of a stanza, with the lines that it takes.
type field struct {
	name, value string
	text        string
}

// fieldsOf returns the fields of a stanza. Lines that go on begin with a blank.
func fieldsOf(text string) (fields []field, ok bool) {
	for line := range strings.Lines(text) {
		last := len(fields) - 1
		switch {
		case strings.HasPrefix(line, "#"):
		case line[0] == ' ' || line[0] == '\t':
			if last < 0 {
				return nil, false
			}
			fields[last].value = strings.TrimSpace(fields[last].value + " " + strings.TrimSpace(line))
			fields[last].text += line
		default:
			name, value, is := strings.Cut(line, ":")
			if !is {
				return nil, false
			}
			fields = append(fields, field{strings.TrimSpace(name), strings.TrimSpace(value), line})
		}
	}
	return fields, true
}
