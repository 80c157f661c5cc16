// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Merge merges the changes that the base and the user made to a file of sources: the user's mirrors and components,
// with the release of the base. What one side removed is not there. told says what a person should look at, empty for
// nothing. It reports false where both changed one thing to something else, where two releases of one place would be
// in force, and for what is not understood.
func Merge(form Form, old, base, user []byte) (merged []byte, told string, ok bool) {
	return MergeForms(form, form, old, base, user)
}

// MergeForms is like Merge for a base that writes its sources in another form than the old one: the result is in the
// form of the base.
func MergeForms(form, baseForm Form, old, base, user []byte) (merged []byte, told string, ok bool) {
	o, okOld := read(form, old)
	n, okNew := read(baseForm, base)
	u, okUser := read(form, user)
	if !okOld || !okNew || !okUser {
		return nil, "", false
	}
	ofBase, okBase := editOf(o, n)
	ofUser, okOwn := editOf(o, u)
	if !okBase || !okOwn || !agree(ofBase, ofUser) {
		return nil, "", false
	}
	maps.Copy(ofBase.known, ofUser.known)
	maps.Copy(ofUser.known, ofBase.known)
	told, ok = ofUser.staysBehind(ofBase)
	if !ok {
		return nil, "", false
	}
	if form == baseForm && maps.Equal(o.options(), n.options()) {
		if merged, ok = ofBase.applied(u, n); ok {
			return merged, told, true
		}
	}
	if !maps.Equal(o.options(), u.options()) && form == baseForm || form != baseForm && len(ofUser.extra) > 0 {
		return nil, "", false // what the user says besides would be lost
	}
	merged, ok = ofUser.applied(n, u)
	return merged, told, ok
}

// agree reports whether two edits do nothing different to one thing.
func agree(a, b *edit) bool {
	for _, maps := range [][2]map[string]string{{a.moves, b.moves}, {a.releases, b.releases}} {
		for before, one := range maps[0] {
			other, ok := maps[1][before]
			if ok && one != before && other != before && one != other {
				return false
			}
		}
	}
	return true
}

// staysBehind says which sources of the user name a release that the base has left. It reports false when one is of a
// place that the base knows: two releases would be in force there.
func (e *edit) staysBehind(base *edit) (told string, ok bool) {
	var left []string
	for _, k := range inOrder(e.extra) {
		for _, a := range e.extra[k] {
			if now(base.releases, a.release) == a.release {
				continue
			}
			if e.known[a.place] {
				return "", false
			}
			left = append(left, fmt.Sprintf("%s %s%s", a.place, a.release, k.part))
		}
	}
	left = slices.Compact(left)
	if len(left) == 0 {
		return "", true
	}
	return "yours still name the old release: " + strings.Join(left, ", "), true
}

// applied does to a file what an edit did to another one. What it added otherwise is taken from where it was added,
// and comes behind the sources that both have.
func (e *edit) applied(to, from *file) ([]byte, bool) {
	extra, ok := e.extraText(to.form, from)
	if !ok {
		return nil, false
	}
	var (
		out  []string
		last = -1               // of the blocks that both have
		done = map[entry]bool{} // components that were added
		gone bool               // the stanza before, so that the empty line after it goes, too
	)
	for _, one := range to.blocks {
		if gone && strings.TrimSpace(one.text) == "" {
			gone = false
			continue
		}
		if one.source == nil || !e.touches(one.source) {
			out = append(out, one.text)
			continue
		}
		changed, ok := e.change(to, one.source, done)
		if !ok {
			return nil, false
		}
		gone = changed == nil && to.form == Stanza
		out, last = append(out, rewrite(to.form, one, changed)), len(out)
	}
	for k := range e.added {
		if !done[k] {
			return nil, false
		}
	}
	if last < 0 {
		last = len(out) - 1
	}
	return []byte(strings.Join(slices.Insert(out, last+1, extra...), "")), true
}

// extraText returns the blocks of what was added otherwise. It reports false where one has something else in it as
// well, or the form is another one.
func (e *edit) extraText(form Form, from *file) (out []string, ok bool) {
	for _, one := range from.blocks {
		if one.source == nil {
			continue
		}
		switch all, none := e.adds(from.form, one.source); {
		case none:
			continue
		case !all, form != from.form:
			return nil, false
		}
		if form == Stanza {
			out = append(out, "\n")
		}
		out = append(out, one.text)
	}
	return out, true
}

// touches reports whether a source is of a place that the edit knows.
func (e *edit) touches(s *source) bool {
	return slices.ContainsFunc(s.places, func(p string) bool { return e.known[p] })
}

// adds reports whether all entries of a source, or none, were added otherwise.
func (e *edit) adds(form Form, s *source) (all, none bool) {
	all, none = true, true
	s.entries(form, func(k entry, a at) {
		is := slices.Contains(e.extra[k], a)
		all, none = all && is, none && !is
	})
	return all, none
}

// change returns what becomes of a source; nil when nothing is left of it. It reports false where only some of its
// suites have a component that was added or removed.
func (e *edit) change(to *file, s *source, done map[entry]bool) (*source, bool) {
	changed := &source{kinds: s.kinds, options: s.options}
	for _, p := range s.places {
		changed.places = append(changed.places, now(e.moves, p))
	}
	counts := make(map[string]int) // by component, the suites that keep it
	var kept []string              // suites of which something is left
	for _, suite := range s.suites {
		release, part := cut(to.form, suite)
		left := e.left(to, s, part, counts, done)
		if left > 0 {
			kept = append(kept, now(e.releases, release)+part)
		}
	}
	changed.suites = kept
	for _, component := range slices.Sorted(maps.Keys(counts)) {
		if counts[component] != len(kept) {
			return nil, false
		}
	}
	if len(kept) == 0 {
		return nil, true
	}
	for _, component := range s.components {
		if counts[component] > 0 {
			changed.components = append(changed.components, component)
		}
		delete(counts, component)
	}
	delete(counts, "")
	changed.components = append(changed.components, slices.Sorted(maps.Keys(counts))...)
	return changed, true
}

// left counts the components that a part of a release has after the edit.
func (e *edit) left(to *file, s *source, part string, counts map[string]int, done map[entry]bool) (n int) {
	components := s.components
	if len(components) == 0 {
		components = []string{""}
	}
	gone := func(component string) bool {
		return !slices.ContainsFunc(s.kinds, func(kind string) bool { return !e.removed[entry{kind, part, component}] })
	}
	for _, component := range components {
		if !gone(component) {
			counts[component]++
			n++
		}
	}
	for _, k := range inOrder(e.added) {
		if k.part == part && slices.Contains(s.kinds, k.kind) {
			done[k] = true
			if len(to.has[k]) == 0 && k.kind == s.kinds[0] {
				counts[k.component]++
				n++
			}
		}
	}
	return n
}

// Any reports whether a file names sources; also where it is not understood.
func Any(form Form, content []byte) bool {
	f, ok := read(form, content)
	return !ok || len(f.has) > 0
}
