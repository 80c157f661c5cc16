// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"slices"
	"strings"
)

// Renaming is a key that has another name now, in a section, or outside of all where that is empty.
type Renaming struct{ Section, From, To string }

// Renamed returns a file in which a key has its other name. It returns the file as it is where there is no such key,
// or one of the other name, or where the format does not keep to lines.
func (f Format) Renamed(content []byte, r Renaming) []byte {
	if f.entries == nil || f.values != nil {
		return content
	}
	d, err := f.parse(content)
	if err != nil {
		return content
	}
	in := func(name string) *entry {
		if r.Section == "" {
			return d.byKey[name]
		}
		return d.byKey[r.Section+"]"+separator+name]
	}
	was := in(r.From)
	if was == nil || was.many || was.container || in(r.To) != nil {
		return content
	}
	d.lines[was.first] = strings.Replace(d.lines[was.first], r.From, r.To, 1)
	return []byte(strings.Join(d.lines, ""))
}

// PerhapsRenamed returns the keys that the user changed and the base dropped, each with the only new key of the base
// that has, in the same section, the value which the key had before.
func (f Format) PerhapsRenamed(old, base, user []byte) (found []Renaming) {
	var said [3]map[string]string
	for i, content := range [][]byte{old, base, user} {
		var err error
		if said[i], err = f.says(content); err != nil {
			return nil
		}
	}
	o, n, u := said[0], said[1], said[2]
	for _, key := range slices.Sorted(maps.Keys(o)) {
		_, stays := n[key]
		if users, has := u[key]; stays || !has || users == o[key] {
			continue
		}
		section, name := splitKey(key)
		var to []string
		for candidate := range n {
			in, other := splitKey(candidate)
			if _, before := o[candidate]; !before && in == section &&
				plain(n[candidate], other) == plain(o[key], name) {
				to = append(to, other)
			}
		}
		if len(to) == 1 {
			section = strings.ReplaceAll(strings.TrimSuffix(section, "]"), separator, ".")
			found = append(found, Renaming{section, name, to[0]})
		}
	}
	return found
}

// splitKey splits a key into what it is in and its name.
func splitKey(key string) (section, name string) {
	key = strings.TrimSuffix(key, separator) // as those of JSON end
	i := strings.LastIndex(key, separator)
	return key[:max(i, 0)], key[i+1:]
}

// plain returns a value without the name of the key, which stands before it in lines.
func plain(value, name string) string {
	return strings.TrimLeft(strings.TrimPrefix(value, name), " =:")
}
