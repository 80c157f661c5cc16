// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"encoding/json"
	"slices"
)

// member is a member of an object, by where it stands in the text.
type member struct {
	path             []string
	begin, valueFrom int // of the key, of the value
	end              int
	object           bool
}

// object is an object by where it stands.
type object struct {
	open    int // behind the brace
	close   int // the closing brace
	members []*member
}

// jsonText is a text with the objects in it, by their keys; that of the whole is "".
type jsonText struct {
	content []byte
	objects map[string]*object
	members map[string]*member
	order   []*member
}

// parseJSON reads a text. Keys that are there twice, and what is nested too deeply, are refused.
func parseJSON(content []byte) (*jsonText, error) {
	t := &jsonText{content: content, objects: make(map[string]*object), members: make(map[string]*member)}
	if !json.Valid(content) {
		return nil, ErrForm
	}
	begin := skipSpace(content, 0)
	if content[begin] != '{' {
		return nil, ErrForm
	}
	if _, err := t.object(begin, nil); err != nil {
		return nil, err
	}
	return t, nil
}

func skipSpace(content []byte, at int) int {
	for at < len(content) && bytes.IndexByte([]byte(" \t\r\n"), content[at]) >= 0 {
		at++
	}
	return at
}

// object reads the object that begins at a brace of a valid text, and returns where it ends.
func (t *jsonText) object(at int, path []string) (int, error) {
	o := &object{open: at + 1}
	if len(path) > maxDepth {
		return 0, ErrForm
	}
	t.objects[joined(path)] = o
	for at = skipSpace(t.content, at+1); t.content[at] != '}'; at = skipSpace(t.content, at) {
		if t.content[at] == ',' {
			at = skipSpace(t.content, at+1)
		}
		m := &member{begin: at}
		end := endOfString(t.content, at)
		var name string
		if err := json.Unmarshal(t.content[at:end], &name); err != nil || bytes.ContainsRune([]byte(name), 0) {
			return 0, ErrForm
		}
		m.path = append(slices.Clip(path), name)
		m.valueFrom = skipSpace(t.content, skipSpace(t.content, end)+1)
		if t.members[joined(m.path)] != nil {
			return 0, ErrForm
		}
		t.members[joined(m.path)] = m
		t.order = append(t.order, m)
		o.members = append(o.members, m)
		var err error
		if m.object = t.content[m.valueFrom] == '{'; m.object {
			m.end, err = t.object(m.valueFrom, m.path)
		} else {
			m.end = endOfValue(t.content, m.valueFrom)
		}
		if err != nil {
			return 0, err
		}
		at = m.end
	}
	o.close = at
	return at + 1, nil
}

func joined(path []string) string {
	var out []byte
	for _, part := range path {
		out = append(append(out, part...), separator...)
	}
	return string(out)
}

// endOfString returns where a string of a valid text ends.
func endOfString(content []byte, at int) int {
	for at++; content[at] != '"'; at++ {
		if content[at] == '\\' {
			at++
		}
	}
	return at + 1
}

// endOfValue returns where a value of a valid text ends that is no object.
func endOfValue(content []byte, at int) int {
	depth := 0
	for at < len(content) {
		switch content[at] {
		case '"':
			at = endOfString(content, at)
			if depth == 0 {
				return at
			}
			continue
		case '[', '{':
			depth++
		case ']', '}':
			if depth--; depth == 0 {
				return at + 1
			}
			if depth < 0 {
				return at
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return at
			}
		}
		at++
	}
	return at
}

// jsonValues returns what a text says: the values that are no objects by their keys.
func jsonValues(content []byte) (map[string]string, error) {
	t, err := parseJSON(content)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string)
	for key, m := range t.members {
		if m.object && len(t.objects[key].members) > 0 {
			continue
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, content[m.valueFrom:m.end]); err != nil {
			return nil, ErrForm
		}
		out[key] = compact.String()
	}
	return out, nil
}

// splice replaces a range of the user's text.
type splice struct {
	from, to int
	text     []byte
}

// mergeJSON edits the user's text.
func mergeJSON(old, base, user []byte) ([]byte, error) {
	var texts [3]*jsonText
	for i, content := range [][]byte{old, base, user} {
		var err error
		if texts[i], err = parseJSON(content); err != nil {
			return nil, err
		}
	}
	out, changes := user, 0
	for _, m := range texts[1].order {
		change, ok, err := changeJSON(texts[0], texts[1], out, m)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if changes++; changes > maxChanges {
			return nil, ErrForm
		}
		out = slices.Concat(out[:change.from], change.text, out[change.to:])
	}
	for _, m := range slices.Backward(texts[0].order) {
		if texts[1].members[joined(m.path)] != nil {
			continue
		}
		if changes++; changes > maxChanges {
			return nil, ErrForm
		}
		t, err := parseJSON(out)
		if err != nil {
			return nil, err
		}
		if change, ok := t.without(m); ok {
			out = slices.Concat(out[:change.from], out[change.to:])
		}
	}
	return out, nil
}

// changeJSON returns how the user's text gets a member of the base's.
func changeJSON(o, n *jsonText, user []byte, m *member) (splice, bool, error) {
	key := joined(m.path)
	if m.object && len(n.objects[key].members) > 0 && o.members[key] != nil {
		return splice{}, false, nil // what is in it decides
	}
	value := n.content[m.valueFrom:m.end]
	if was := o.members[key]; was != nil && bytes.Equal(o.content[was.valueFrom:was.end], value) {
		return splice{}, false, nil
	}
	u, err := parseJSON(user)
	if err != nil {
		return splice{}, false, err
	}
	have := u.members[key]
	switch {
	case have != nil && have.object && m.object:
		return splice{}, false, nil // what is in it decides
	case have != nil:
		return splice{have.valueFrom, have.end, value}, true, nil
	}
	in := u.objects[joined(m.path[:len(m.path)-1])]
	if in == nil {
		return splice{}, false, ErrForm // the user removed what it is in
	}
	return n.addTo(u, in, m), true, nil
}

// addTo returns how a member gets into an object of the user's: behind its last neighbour that is there, with the
// space that separates members there.
func (t *jsonText) addTo(u *jsonText, in *object, m *member) splice {
	text := t.content[m.begin:m.end]
	if len(in.members) == 0 {
		from := t.objects[joined(m.path[:len(m.path)-1])]
		lead := t.content[from.open:from.members[0].begin]
		trail := t.content[from.members[len(from.members)-1].end:from.close]
		return splice{in.open, in.close, slices.Concat(lead, text, trail)}
	}
	lead := u.content[in.open:in.members[0].begin]
	if len(in.members) > 1 {
		between := u.content[in.members[0].end:in.members[1].begin]
		lead = between[bytes.IndexByte(between, ',')+1:]
	}
	siblings := t.objects[joined(m.path[:len(m.path)-1])].members
	self := slices.Index(siblings, m)
	for _, other := range slices.Backward(siblings[:self]) {
		if have := u.members[joined(other.path)]; have != nil {
			return splice{have.end, have.end, slices.Concat([]byte(","), lead, text)}
		}
	}
	first := in.members[0]
	return splice{first.begin, first.begin, slices.Concat(text, []byte(","), lead)}
}

// without returns how a member goes, with its comma; an object only if nothing is in it.
func (t *jsonText) without(was *member) (splice, bool) {
	key := joined(was.path)
	m := t.members[key]
	if m == nil || m.object && len(t.objects[key].members) > 0 {
		return splice{}, false
	}
	in := t.objects[joined(m.path[:len(m.path)-1])]
	i := slices.Index(in.members, m)
	switch {
	case i > 0:
		return splice{from: in.members[i-1].end, to: m.end}, true
	case len(in.members) > 1:
		return splice{from: m.begin, to: in.members[1].begin}, true
	default:
		return splice{from: m.begin, to: m.end}, true
	}
}
