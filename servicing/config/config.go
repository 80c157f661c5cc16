// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package config merges structured configuration files by key where a merge by lines cannot: the user's file gets
// what the base changed, and every byte of everything else stays as it is, comments, order and spaces included. What
// comes out is read again, and must say what it shall; else there is no merge.
package config

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
)

// The reasons why there is no merged file.
var (
	// ErrConflict reports that both sides changed one key to something else.
	ErrConflict = errors.New("both sides changed one key")
	// ErrForm reports that one of the files is not understood, too large, or of a form in which keys cannot be told
	// apart.
	ErrForm = errors.New("not a file that can be merged by key")
)

// Format is how a file is written.
type Format struct {
	// entries splits a file into its entries.
	entries func(lines []string) ([]entry, error)
	// values returns what a file says by key, apart from how it is written; nil for what the entries say.
	values func(content []byte) (map[string]string, error)
}

// The formats. JSON has a merge of its own.
var (
	// INI has lines "key = value" in sections "[name]": INI files, desktop entries, units of systemd.
	INI = Format{entries: func(lines []string) ([]entry, error) { return sections(lines, iniLine, value) }}
	// Assignments has lines "key=value", and nothing else: no sections, no code.
	Assignments = Format{entries: func(lines []string) ([]entry, error) { return sections(lines, assignment, value) }}
	// Words has lines "key value", as sshd_config and login.defs, with sections that begin with Match or Host.
	Words = Format{entries: func(lines []string) ([]entry, error) { return sections(lines, words, wordsValue) }}
	// YAML is one document of block mappings; sequences, and mappings in braces, are values.
	YAML = Format{entries: yamlEntries, values: yamlValues}
	// TOML has tables; arrays, inline tables and arrays of tables are values.
	TOML = Format{entries: tomlEntries, values: tomlValues}
	// JSON is one object; arrays are values.
	JSON = Format{}
)

// The bounds on what is merged.
const (
	maxSize  = 256 << 10 // a parsed document is a hundred times as large
	maxLines = 20_000
	maxDepth = 32
	// maxChanges bounds the changes of the base: each is looked for in the whole file.
	maxChanges = 200
)

// Merge returns the user's file with the base's changes. The error is ErrConflict or ErrForm.
func (f Format) Merge(old, base, user []byte) ([]byte, error) {
	for _, content := range [][]byte{old, base, user} {
		if len(content) > maxSize || bytes.Count(content, []byte{'\n'}) > maxLines || bytes.IndexByte(content, 0) >= 0 {
			return nil, ErrForm
		}
	}
	want, err := f.expected(old, base, user)
	if err != nil {
		return nil, err
	}
	var out []byte
	if f.entries == nil {
		out, err = mergeJSON(old, base, user)
	} else {
		out, err = f.mergeLines(old, base, user)
	}
	if err != nil {
		return nil, err
	}
	got, err := f.says(out)
	if err != nil || !maps.Equal(got, want) {
		return nil, ErrForm
	}
	return out, nil
}

// Agrees reports whether a merged file says, by key, what it shall.
func (f Format) Agrees(merged, old, base, user []byte) error {
	want, err := f.expected(old, base, user)
	if err != nil {
		return err
	}
	got, err := f.says(merged)
	if err != nil || !maps.Equal(got, want) {
		return ErrForm
	}
	return nil
}

// Sound reports whether a file that was merged otherwise is understood, and has no key more than once that neither side
// has more than once.
func (f Format) Sound(merged, base, user []byte) bool {
	if _, err := f.says(merged); err != nil || f.values != nil || f.entries == nil {
		return err == nil // a key that is there twice is not understood
	}
	var several [3]map[string]bool
	for i, content := range [][]byte{merged, base, user} {
		d, err := f.parse(content)
		if err != nil {
			return false
		}
		several[i] = make(map[string]bool)
		for _, e := range d.all {
			several[i][e.key()] = e.many
		}
	}
	for key, many := range several[0] {
		if many && !several[1][key] && !several[2][key] {
			return false
		}
	}
	return true
}

// says returns what a file says by key.
func (f Format) says(content []byte) (map[string]string, error) {
	switch {
	case len(content) > 2*maxSize:
		return nil, ErrForm
	case f.values != nil:
		return f.values(content)
	case f.entries == nil:
		return jsonValues(content)
	}
	d, err := f.parse(content)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string)
	for key, e := range d.byKey {
		if !e.container {
			out[key] = e.value
		}
	}
	return out, nil
}

// expected merges what the files say three-way by key.
func (f Format) expected(old, base, user []byte) (map[string]string, error) {
	var said [3]map[string]string
	for i, content := range [][]byte{old, base, user} {
		var err error
		if said[i], err = f.says(content); err != nil {
			return nil, err
		}
	}
	o, n, u := said[0], said[1], said[2]
	out := maps.Clone(u)
	for key := range union(o, n) {
		vo, inO := o[key]
		vn, inN := n[key]
		vu, inU := u[key]
		switch {
		case inO == inN && vo == vn, inN == inU && vn == vu:
			continue
		case inO != inU || vo != vu:
			return nil, ErrConflict
		case inN:
			out[key] = vn
		default:
			delete(out, key)
		}
	}
	return out, nil
}

func union(a, b map[string]string) map[string]bool {
	out := make(map[string]bool)
	for _, m := range []map[string]string{a, b} {
		for key := range m {
			out[key] = true
		}
	}
	return out
}

// separator stands between the parts of a key.
const separator = "\x00"

// entry is a key with its value, or a section or mapping with what is in it.
type entry struct {
	path        []string
	first, last int  // lines
	container   bool // others are in it
	header      bool // a section begins, which goes on to the next header
	value       string
	many        bool // there are several with this key; value is that of all
}

func (e *entry) key() string { return strings.Join(e.path, separator) }

// parent returns the key of what the entry is in; "" for the file.
func (e *entry) parent() string { return strings.Join(e.path[:len(e.path)-1], separator) }

// document is a file as lines with their ends, and its entries.
type document struct {
	lines []string
	all   []*entry
	byKey map[string]*entry
	end   string // of lines
}

func (f Format) parse(content []byte) (*document, error) {
	d := &document{lines: strings.SplitAfter(string(content), "\n"), byKey: make(map[string]*entry), end: "\n"}
	if d.lines[len(d.lines)-1] == "" {
		d.lines = d.lines[:len(d.lines)-1]
	}
	ends := strings.Count(string(content), "\r\n")
	if ends > 0 {
		d.end = "\r\n"
	}
	if strings.Count(string(content), "\r") != ends || ends > 0 && strings.Count(string(content), "\n") != ends {
		return nil, ErrForm
	}
	all, err := f.entries(d.lines)
	if err != nil {
		return nil, err
	}
	separated := func(part string) bool { return strings.Contains(part, separator) }
	for i := range all {
		e := &all[i]
		if len(e.path) > maxDepth || slices.ContainsFunc(e.path, separated) {
			return nil, ErrForm
		}
		if known := d.byKey[e.key()]; known != nil {
			known.many = true
			known.value += "\n" + e.value
			continue
		}
		d.byKey[e.key()] = e
		d.all = append(d.all, e)
	}
	return d, nil
}
