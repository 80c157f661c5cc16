// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
)

// kind is what a line is.
type kind int

const (
	blank kind = iota // empty, or a comment
	section
	pair
	more // it goes on with the entry before it
	odd
)

// sections reads a file of lines, each of which is told apart by itself.
func sections(lines []string, read func(line string) (kind, string), value func(line string) string) ([]entry, error) {
	var out []entry
	name, header, previous := "", -1, -1
	goesOn := false
	for i, line := range lines {
		what, key := read(line)
		if goesOn {
			what = more
		}
		goesOn = what != blank && strings.HasSuffix(strings.TrimRight(line, "\r\n"), "\\")
		switch what {
		case odd:
			return nil, ErrForm
		case blank:
			continue
		case more:
			if previous < 0 {
				return nil, ErrForm
			}
			out[previous].last = i
			out[previous].value = text(lines[out[previous].first : i+1])
		case section:
			name, header, previous = key, len(out), -1
			out = append(out, entry{path: []string{name}, first: i, last: i, container: true, header: true})
			continue
		case pair:
			path := []string{key}
			if header >= 0 {
				path = []string{name, key}
			}
			previous = len(out)
			out = append(out, entry{path: path, first: i, last: i, value: value(line)})
		}
		if header >= 0 {
			out[header].last = i
		}
	}
	if goesOn {
		return nil, ErrForm
	}
	return out, nil
}

// value returns a line as a value: how its words are spaced does not matter outside of quotes.
func value(line string) string {
	line = strings.TrimSpace(line)
	if strings.ContainsAny(line, `"'`) {
		return line
	}
	return strings.Join(strings.Fields(strings.Replace(line, "=", " = ", 1)), " ")
}

// wordsValue is value for files in which keys are the same in capitals.
func wordsValue(line string) string {
	key, rest, _ := strings.Cut(value(line), " ")
	return strings.ToLower(key) + " " + rest
}

// iniLine tells what a line of an INI file is.
func iniLine(line string) (kind, string) {
	trimmed := strings.TrimSpace(line)
	switch {
	case trimmed == "", isComment(line):
		return blank, ""
	case trimmed[0] == '[':
		name, ok := strings.CutSuffix(trimmed, "]")
		if !ok {
			return odd, ""
		}
		return section, name[1:] + "]" // no key can be the same
	}
	key, _, ok := strings.Cut(trimmed, "=")
	key = strings.TrimSpace(key)
	switch {
	case ok && key != "":
		return pair, key
	case indent(line) != "":
		return more, ""
	case !ok && !strings.ContainsAny(trimmed, " \t"):
		return pair, trimmed // a switch, as in my.cnf
	default:
		return odd, ""
	}
}

// assignment tells what a line of a file of assignments is. A shell may read it: whatever else a shell knows is odd.
func assignment(line string) (kind, string) {
	trimmed := strings.TrimSpace(line)
	if trimmed == "" || strings.HasPrefix(trimmed, "#") {
		return blank, ""
	}
	key, rest, ok := strings.Cut(strings.TrimPrefix(trimmed, "export "), "=")
	key = strings.TrimSpace(key)
	closed := strings.Count(rest, `"`)%2 == 0 && strings.Count(rest, "'")%2 == 0 && !strings.HasSuffix(trimmed, "\\")
	if !ok || !closed || key == "" || strings.ContainsFunc(key, notInName) {
		return odd, ""
	}
	return pair, key
}

func notInName(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.-/*", r))
}

// words tells what a line of a file of words is. Keys are the same in capitals.
func words(line string) (kind, string) {
	fields := strings.Fields(line)
	switch {
	case len(fields) == 0, strings.HasPrefix(fields[0], "#"):
		return blank, ""
	case strings.ContainsAny(fields[0], "{}();\"'"), strings.HasSuffix(strings.TrimSpace(line), "{"):
		return odd, ""
	}
	key := strings.ToLower(fields[0])
	if key == "match" || key == "host" {
		return section, strings.Join(fields, " ")
	}
	if key, _, _ = strings.Cut(key, "="); key == "" {
		return odd, ""
	}
	return pair, key
}
