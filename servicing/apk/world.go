// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package apk

import "strings"

// MergeWorld merges what is asked for three-way by name: the user's with what the base added or changed and without
// what it removed. Where both changed a name, the user's stands.
func MergeWorld(old, base, user []byte) []byte {
	o, n, u := wishes(old), wishes(base), wishes(user)
	var out []string
	for _, name := range u.order {
		wish := u.byName[name]
		if wish == o.byName[name] {
			wish = n.byName[name] // "" when the base removed it
		}
		if wish != "" {
			out = append(out, wish+"\n")
		}
	}
	for _, name := range n.order {
		if o.byName[name] == "" && u.byName[name] == "" {
			out = append(out, n.byName[name]+"\n")
		}
	}
	return []byte(strings.Join(out, ""))
}

// wishList holds the words of a world by name, in the order of the file.
type wishList struct {
	order  []string
	byName map[string]string
}

func wishes(content []byte) wishList {
	w := wishList{byName: make(map[string]string)}
	for _, r := range relations(string(content)) {
		name := r.name
		if r.conflict {
			name = "!" + name
		}
		if w.byName[name] == "" {
			w.order = append(w.order, name)
		}
		w.byName[name] = r.text
	}
	return w
}
