// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package lineset merges files in which each line is an entry of a set, as /etc/shells is: what both sides added is
// in it, what one side removed is not, and the order stays.
package lineset

import (
	"strings"
)

// Key tells which entry a line is; "" for lines that are none: comments and empty ones.
type Key func(line string) string

// Whole takes the whole line for the entry, however its words are spaced. What follows a "#" is a comment.
func Whole(line string) string {
	line, _, _ = strings.Cut(line, "#")
	return strings.Join(strings.Fields(line), " ")
}

// First takes the first word for the entry, and the others for what is said about it.
func First(line string) string {
	word, _, _ := strings.Cut(Whole(line), " ")
	return word
}

// maxSize is the size up to which a file is merged.
const maxSize = 1 << 20

// Merge merges three-way: the user's file, with the entries that the base added or changed, and without those that it
// removed. It reports false when both changed what is said about one entry, when a file has one entry twice with
// different things said about it, and for what is no text or has lines that go on in the next.
func Merge(old, base, user []byte, key Key) ([]byte, bool) {
	var all [3]*set
	for i, content := range [][]byte{old, base, user} {
		var ok bool
		if all[i], ok = parse(string(content), key); !ok {
			return nil, false
		}
	}
	o, n, u := all[0], all[1], all[2]
	kept := make([]string, 0, len(u.lines))
	for _, line := range u.lines {
		k := key(line)
		switch {
		case k == "", n.said[k] == o.said[k], n.said[k] == u.said[k]:
			kept = append(kept, line)
		case u.said[k] != o.said[k]:
			return nil, false // both said something else about it
		case n.said[k] != "":
			kept = append(kept, n.line[k])
		}
	}
	there := make(map[string]bool)
	for _, line := range kept {
		there[key(line)] = true
	}
	behind := make(map[string][]string) // by the entry that they come behind; "" for none
	last := ""
	for _, k := range n.order {
		switch {
		case there[k]:
			last = k
			continue
		case n.said[k] == o.said[k]:
			continue // removed by the user
		case o.said[k] != "":
			return nil, false // changed by the base, removed by the user
		}
		behind[last] = append(behind[last], n.line[k])
	}
	return join(spread(kept, behind, key), u), true
}

// spread puts what comes behind entries behind them, and the rest at the end.
func spread(lines []string, behind map[string][]string, key Key) []string {
	var out []string
	for _, line := range lines {
		out = append(out, line)
		if k := key(line); k != "" {
			out = append(out, behind[k]...)
			delete(behind, k)
		}
	}
	return append(out, behind[""]...)
}

// set is a file as lines without their ends.
type set struct {
	lines  []string
	order  []string          // the entries
	line   map[string]string // by entry
	said   map[string]string // the line without spaces that mean nothing, by entry
	end    string            // of lines
	closed bool              // the last line has an end
}

func parse(content string, key Key) (*set, bool) {
	if len(content) > maxSize || strings.IndexByte(content, 0) >= 0 {
		return nil, false
	}
	s := &set{line: make(map[string]string), said: make(map[string]string), end: "\n", closed: true}
	if strings.Contains(content, "\r\n") {
		s.end = "\r\n"
	}
	if content == "" {
		return s, true
	}
	content, s.closed = strings.CutSuffix(content, s.end)
	s.lines = strings.Split(content, s.end)
	for _, line := range s.lines {
		if strings.HasSuffix(line, "\\") || strings.ContainsAny(line, "\r\n") {
			return nil, false
		}
		k := key(line)
		said := Whole(line)
		if s.said[k] != "" && s.said[k] != said {
			return nil, false
		}
		if k != "" && s.said[k] == "" {
			s.order = append(s.order, k)
			s.line[k], s.said[k] = line, said
		}
	}
	return s, true
}

// join writes lines as the user's file has them.
func join(lines []string, like *set) []byte {
	out := strings.Join(lines, like.end)
	if len(lines) > 0 && (like.closed || len(like.lines) == 0) {
		out += like.end
	}
	return []byte(out)
}
