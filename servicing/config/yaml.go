// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yamlRoot reads a document. Nothing is expanded: what refers to something else is refused.
func yamlRoot(content []byte) (*yaml.Node, error) {
	d := yaml.NewDecoder(bytes.NewReader(content))
	var document, another yaml.Node
	err := d.Decode(&document)
	if errors.Is(err, io.EOF) {
		return &yaml.Node{Kind: yaml.MappingNode}, nil
	}
	if err != nil || !errors.Is(d.Decode(&another), io.EOF) {
		return nil, ErrForm
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode || root.Style&yaml.FlowStyle != 0 || !plainYAML(root, 0) {
		return nil, ErrForm
	}
	return root, nil
}

// plainYAML reports whether there are no anchors, aliases, merged mappings, keys that are no texts, keys that are there
// twice, and nothing nested too deeply.
func plainYAML(n *yaml.Node, depth int) bool {
	if depth > maxDepth || n.Anchor != "" || n.Kind == yaml.AliasNode {
		return false
	}
	seen := make(map[string]bool)
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			key := child.Tag + child.Value
			if child.Kind != yaml.ScalarNode || child.Tag == "!!merge" || seen[key] ||
				strings.Contains(child.Value, "\n") {
				return false
			}
			seen[key] = true
		}
		if !plainYAML(child, depth+1) {
			return false
		}
	}
	return true
}

func yamlEntries(lines []string) ([]entry, error) {
	root, err := yamlRoot([]byte(strings.Join(lines, "")))
	if err != nil {
		return nil, err
	}
	end := len(lines)
	if end > 0 && strings.HasPrefix(lines[end-1], "...") {
		return nil, ErrForm
	}
	return yamlMapping(root, nil, lines, end), nil
}

// yamlMapping returns the entries of a mapping whose lines end before a line.
func yamlMapping(mapping *yaml.Node, path []string, lines []string, end int) []entry {
	var out []entry
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i], mapping.Content[i+1]
		next := end
		if i+2 < len(mapping.Content) {
			next = mapping.Content[i+2].Line - 1
		}
		e := entry{path: append(slices.Clip(path), key.Value), first: key.Line - 1,
			last: lastOf(lines, key.Line-1, next)}
		e.value = text(lines[e.first : e.last+1])
		e.container = value.Kind == yaml.MappingNode && value.Style&yaml.FlowStyle == 0 &&
			len(value.Content) > 0 && value.Line > key.Line
		out = append(out, e)
		if e.container {
			out = append(out, yamlMapping(value, e.path, lines, next)...)
		}
	}
	return out
}

// lastOf returns the last line of what begins at a line and ends before another: comments and empty lines belong to
// what comes next.
func lastOf(lines []string, first, next int) int {
	last := max(next-1, first)
	for last > first && (strings.TrimSpace(lines[last]) == "" || isComment(lines[last])) {
		last--
	}
	return last
}

// yamlValues returns what a document says.
func yamlValues(content []byte) (map[string]string, error) {
	root, err := yamlRoot(content)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string)
	flattenYAML(root, "", out)
	return out, nil
}

func flattenYAML(n *yaml.Node, prefix string, out map[string]string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := prefix+n.Content[i].Tag+n.Content[i].Value, n.Content[i+1]
		if value.Kind == yaml.MappingNode && len(value.Content) > 0 {
			flattenYAML(value, key+separator, out)
			continue
		}
		var text strings.Builder
		writeYAML(value, &text)
		out[key] = text.String()
	}
}

// writeYAML writes a node apart from how it was written.
func writeYAML(n *yaml.Node, out *strings.Builder) {
	out.WriteString(n.Tag + " " + strconv.Quote(n.Value) + "(")
	for _, child := range n.Content {
		writeYAML(child, out)
	}
	out.WriteString(")")
}
