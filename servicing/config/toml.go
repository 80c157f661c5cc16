// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// tomlEntries splits a document into its tables and what is in them.
func tomlEntries(lines []string) ([]entry, error) {
	content := []byte(strings.Join(lines, ""))
	var out []entry
	table, inArray := "", false
	starts := []int{}
	p := unstable.Parser{}
	p.Reset(content)
	for p.NextExpression() {
		e := p.Expression()
		name, offset, ok := tomlKey(e)
		if !ok {
			return nil, ErrForm
		}
		line := bytes.Count(content[:offset], []byte("\n"))
		starts = append(starts, line)
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table, inArray = "["+name+"]", inArray && within(table, name) || e.Kind == unstable.ArrayTable
			out = append(out, entry{path: []string{table}, first: line, last: line, container: !inArray, header: true})
		case unstable.KeyValue:
			path := []string{name}
			if table != "" {
				path = []string{table, name}
			}
			out = append(out, entry{path: path, first: line, last: line})
		default:
			return nil, ErrForm
		}
	}
	if p.Error() != nil {
		return nil, ErrForm
	}
	return tomlExtents(out, append(starts, len(lines)), lines), nil
}

// within reports whether a table is in another one.
func within(table, name string) bool {
	return strings.HasPrefix(name, strings.Trim(table, "[]")+".")
}

// tomlExtents finds out where the entries end, and what they say.
func tomlExtents(out []entry, starts []int, lines []string) []entry {
	header := -1
	for i := range out {
		e := &out[i]
		e.last = lastOf(lines, e.first, starts[i+1])
		e.value = text(lines[e.first : e.last+1])
		switch {
		case e.header:
			header = i
		case header >= 0:
			out[header].last = e.last
		}
	}
	return out
}

// tomlKey returns the key of an expression, and where it begins.
func tomlKey(e *unstable.Node) (name string, offset int, ok bool) {
	var parts []string
	offset = -1
	for it := e.Key(); it.Next(); {
		n := it.Node()
		if offset < 0 {
			offset = int(n.Raw.Offset)
		}
		part, err := json.Marshal(string(n.Data))
		if err != nil {
			return "", 0, false
		}
		parts = append(parts, string(part))
	}
	return strings.Join(parts, "."), offset, offset >= 0
}

// tomlValues returns what a document says.
func tomlValues(content []byte) (map[string]string, error) {
	var document map[string]any
	if err := toml.Unmarshal(content, &document); err != nil {
		return nil, ErrForm
	}
	out := make(map[string]string)
	if err := flatten(document, "", out, 0); err != nil {
		return nil, err
	}
	return out, nil
}

// flatten writes the values that are no mappings by their keys.
func flatten(mapping map[string]any, prefix string, out map[string]string, depth int) error {
	if depth > maxDepth {
		return ErrForm
	}
	for key, value := range mapping {
		if strings.Contains(key, separator) {
			return ErrForm
		}
		if inner, ok := value.(map[string]any); ok {
			if len(inner) == 0 {
				out[prefix+key] = "{}"
			}
			if err := flatten(inner, prefix+key+separator, out, depth+1); err != nil {
				return err
			}
			continue
		}
		text, err := json.Marshal(value)
		if err != nil {
			return ErrForm // infinities have no form in JSON
		}
		out[prefix+key] = string(text)
	}
	return nil
}
