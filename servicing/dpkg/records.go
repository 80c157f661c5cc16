// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"bytes"
	"slices"
	"strings"
)

// recordFormat says how a file that is a list of records is read.
type recordFormat struct {
	lines int                       // per record
	key   func(first string) string // what tells records from one another, of the first line
}

// recordFormats are the files below var/lib/dpkg that are lists of records, by path; triggers are by directory.
var recordFormats = map[string]recordFormat{
	"var/lib/dpkg/diversions":   {3, func(first string) string { return first }},
	"var/lib/dpkg/statoverride": {1, lastWord},
	"var/lib/dpkg/arch":         {1, func(first string) string { return first }},
}

var triggerFormat = recordFormat{1, func(first string) string { return first }}

const triggerDir = "var/lib/dpkg/triggers/"

func lastWord(line string) string {
	words := strings.Fields(line)
	if len(words) == 0 {
		return ""
	}
	return words[len(words)-1]
}

// MergeRecords merges a file of records three-way by record: diversions, statoverride, arch and the interests in
// triggers. It reports false when the path is none of them or the content is not understood.
func MergeRecords(path string, old, base, user []byte) ([]byte, bool) {
	format, ok := recordFormats[path]
	if strings.HasPrefix(path, triggerDir) {
		format, ok = triggerFormat, !strings.Contains(path[len(triggerDir):], "/")
	}
	if !ok {
		return nil, false
	}
	o, okO := format.parse(old)
	n, okN := format.parse(base)
	u, okU := format.parse(user)
	if !okO || !okN || !okU {
		return nil, false
	}
	return []byte(strings.Join(mergeRecords(o, n, u), "")), true
}

// records are the records of a file by key, in the order of the file.
type records struct {
	order []string
	byKey map[string]string
}

// put adds a record; of several with one key, the last counts.
func (r *records) put(key, record string) {
	if _, known := r.byKey[key]; !known {
		r.order = append(r.order, key)
	}
	r.byKey[key] = record
}

func (f recordFormat) parse(content []byte) (*records, bool) {
	out := &records{byKey: make(map[string]string)}
	lines := strings.Split(string(bytes.TrimSuffix(content, []byte("\n"))), "\n")
	if len(content) == 0 {
		lines = nil
	}
	if len(lines)%f.lines != 0 {
		return nil, false
	}
	for chunk := range slices.Chunk(lines, f.lines) {
		out.put(f.key(chunk[0]), strings.Join(chunk, "\n")+"\n")
	}
	return out, true
}

// mergeRecords returns the user's records in their order, with what the base changed, then what it added.
func mergeRecords(o, n, u *records) []string {
	var out []string
	for _, key := range u.order {
		inO, inN, inU := o.byKey[key], n.byKey[key], u.byKey[key]
		if inU == inO {
			inU = inN // "" when the base removed it
		}
		if inU != "" {
			out = append(out, inU)
		}
	}
	for _, key := range n.order {
		_, user := u.byKey[key]
		if _, old := o.byKey[key]; !old && !user {
			out = append(out, n.byKey[key])
		}
	}
	return out
}

// MergeStanzas merges a deb822 file three-way by record, such as apt's extended_states; the records are told from one
// another by the values of some fields. Where both sides changed a record, the user's stands.
func MergeStanzas(old, base, user []byte, keys ...string) []byte {
	parse := func(content []byte) *records {
		out := &records{byKey: make(map[string]string)}
		for _, s := range ParseStanzas(content) {
			var values []string
			for _, key := range keys {
				values = append(values, s.Get(key))
			}
			out.put(strings.Join(values, "\x00"), s.raw+"\n")
		}
		return out
	}
	return []byte(strings.Join(mergeRecords(parse(old), parse(base), parse(user)), ""))
}

// autoInstalled is the field of apt's extended_states that marks what was installed for something else.
const autoInstalled = "Auto-Installed"

// AutomaticPackages returns the packages that apt's extended_states marks as installed for something else.
func AutomaticPackages(content []byte) map[string]bool {
	out := make(map[string]bool)
	for _, s := range ParseStanzas(content) {
		if s.Get(autoInstalled) == "1" {
			out[s.Get("Package")] = true
		}
	}
	return out
}

// MarkManual marks packages in apt's extended_states as installed by hand. It reports false when they are already.
func MarkManual(content []byte, manual map[string]bool) ([]byte, bool) {
	all, changed := ParseStanzas(content), false
	for i, s := range all {
		if manual[s.Get("Package")] && s.Get(autoInstalled) == "1" {
			all[i], changed = s.With(autoInstalled, "0"), true
		}
	}
	return RenderStanzas(all), changed
}

// Diversion says that a file of any other package than one is installed under another name.
type Diversion struct {
	From, To string // absolute paths
	By       string // the package whose own file is not diverted; ":" for none
}

// ParseDiversions reads a list of diversions; none when it is not understood.
func ParseDiversions(content []byte) []Diversion {
	const path = "var/lib/dpkg/diversions"
	r, ok := recordFormats[path].parse(content)
	if !ok {
		return nil
	}
	var out []Diversion
	for _, key := range r.order {
		lines := strings.Split(r.byKey[key], "\n")
		out = append(out, Diversion{From: lines[0], To: lines[1], By: lines[2]})
	}
	return out
}
