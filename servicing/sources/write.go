// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"slices"
	"strings"
)

// rewrite writes a block with another source, as the block is written; nothing for none.
func rewrite(form Form, b block, s *source) string {
	if s == nil {
		return ""
	}
	if equal(b.source, s) {
		return b.text
	}
	switch form {
	case APK:
		return rewriteAPK(b.text, s)
	case Line:
		return rewriteLine(b.text, s)
	}
	return rewriteStanza(b, s)
}

func equal(a, b *source) bool {
	return slices.Equal(a.places, b.places) && slices.Equal(a.suites, b.suites) &&
		slices.Equal(a.components, b.components)
}

// comment returns what follows an entry in its line, with the end of the line.
func comment(line string) string {
	if i := strings.IndexByte(line, '#'); i >= 0 {
		return " " + line[i:]
	}
	return "\n"
}

func rewriteAPK(line string, s *source) string {
	var out []string
	for _, component := range s.components {
		text := s.places[0] + "/" + s.suites[0] + "/" + component
		if s.kinds[0] != "" {
			text = s.kinds[0] + " " + text
		}
		out = append(out, text)
	}
	out[0] += strings.TrimSuffix(comment(line), "\n")
	return strings.Join(out, "\n") + "\n"
}

func rewriteLine(line string, s *source) string {
	words := []string{s.kinds[0]}
	if s.options != "" {
		words = append(words, "["+s.options+"]")
	}
	words = append(words, s.places[0], s.suites[0])
	return strings.Join(append(words, s.components...), " ") + comment(line)
}

// rewriteStanza replaces the fields that differ; the others, and comments, stay as they are.
func rewriteStanza(b block, s *source) string {
	for _, f := range []struct {
		name     string
		was, now []string
	}{
		{"uris", b.source.places, s.places},
		{"suites", b.source.suites, s.suites},
		{"components", b.source.components, s.components},
	} {
		if slices.Equal(f.was, f.now) {
			continue
		}
		fields, _ := fieldsOf(b.text)
		i := slices.IndexFunc(fields, func(have field) bool { return strings.EqualFold(have.name, f.name) })
		if i < 0 {
			b.text += "Components: " + strings.Join(f.now, " ") + "\n"
			continue
		}
		b.text = strings.Replace(b.text, fields[i].text, fields[i].name+": "+strings.Join(f.now, " ")+"\n", 1)
	}
	return b.text
}
