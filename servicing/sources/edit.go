// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"maps"
	"slices"
	"strings"
)

// entry identifies a source: the kind of its packages, which part of a release they are ("-updates"), and the
// component.
type entry struct{ kind, part, component string }

// at is what is said about an entry.
type at struct{ place, release string }

// cut splits a suite into the release and the part of it.
func cut(form Form, suite string) (release, part string) {
	if i := strings.IndexAny(suite, "-/"); i > 0 && form != APK {
		return suite[:i], suite[i:]
	}
	return suite, ""
}

// entries calls fn for each entry of a source.
func (s *source) entries(form Form, fn func(entry, at)) {
	components := s.components
	if len(components) == 0 {
		components = []string{""}
	}
	for _, kind := range s.kinds {
		for _, place := range s.places {
			for _, suite := range s.suites {
				release, part := cut(form, suite)
				for _, component := range components {
					fn(entry{kind, part, component}, at{place, release})
				}
			}
		}
	}
}

// file is a file that was read.
type file struct {
	form   Form
	blocks []block
	has    map[entry][]at
}

func read(form Form, content []byte) (*file, bool) {
	blocks, ok := parse(form, content)
	if !ok {
		return nil, false
	}
	f := &file{form: form, blocks: blocks, has: make(map[entry][]at)}
	for _, b := range blocks {
		if b.source != nil {
			b.source.entries(form, func(e entry, a at) {
				if !slices.Contains(f.has[e], a) {
					f.has[e] = append(f.has[e], a)
				}
			})
		}
	}
	return f, true
}

// places returns the places of a file.
func (f *file) places() map[string]bool {
	places := make(map[string]bool)
	for _, all := range f.has {
		for _, a := range all {
			places[a.place] = true
		}
	}
	return places
}

// options returns what else is said in a file, by the parts of releases.
func (f *file) options() map[string]string {
	options := make(map[string]string)
	for _, b := range f.blocks {
		if b.source == nil {
			continue
		}
		for _, suite := range b.source.suites {
			_, part := cut(f.form, suite)
			options[part] = b.source.options
		}
	}
	return options
}

// edit is what somebody did to the sources of a file.
type edit struct {
	moves    map[string]string          // places, and those in their stead
	releases map[string]string          // releases, and those in their stead
	removed  map[entry]bool             //
	added    map[entry]string           // components of known parts of a release, and the place of that part before
	extra    map[entry][]at             // what was added otherwise
	known    map[string]bool            // the places before, and those in their stead
	parts    map[string]map[string]bool // by kind, the parts of releases before
}

// editOf returns what was done to a file. It reports false where that cannot be said: one place was exchanged for two.
func editOf(before, after *file) (*edit, bool) {
	e := &edit{
		moves: map[string]string{}, releases: map[string]string{}, removed: map[entry]bool{}, added: map[entry]string{},
		extra: map[entry][]at{}, known: before.places(), parts: map[string]map[string]bool{},
	}
	left := make(map[entry][]at) // of the file after, what nothing before was
	for k, all := range after.has {
		left[k] = slices.Clone(all)
	}
	for _, k := range inOrder(before.has) {
		if e.parts[k.kind] == nil {
			e.parts[k.kind] = map[string]bool{}
		}
		e.parts[k.kind][k.part] = true
		if !e.follow(k, before.has[k], left) {
			return nil, false
		}
	}
	for _, k := range inOrder(left) {
		for _, a := range left[k] {
			e.addition(k, a, before)
		}
	}
	return e, true
}

// follow finds what became of an entry.
func (e *edit) follow(k entry, before []at, left map[entry][]at) bool {
	for _, a := range before {
		i := nearest(a, left[k])
		if i < 0 {
			e.removed[k] = true
			continue
		}
		is := left[k][i]
		left[k] = slices.Delete(left[k], i, i+1)
		if !note(e.moves, a.place, is.place) || !note(e.releases, a.release, is.release) {
			return false
		}
		e.known[is.place] = true
	}
	return true
}

// nearest returns which of several is the same place, or the same release, or else the only one; -1 for none.
func nearest(a at, all []at) int {
	for _, same := range []func(at) bool{
		func(b at) bool { return a == b },
		func(b at) bool { return a.place == b.place },
		func(b at) bool { return a.release == b.release },
	} {
		if i := slices.IndexFunc(all, same); i >= 0 {
			return i
		}
	}
	return len(all) - 1
}

// note records what is in the stead of something. It reports false when that is something else already.
func note(m map[string]string, before, is string) bool {
	if other, ok := m[before]; ok && other != is {
		return false
	}
	m[before] = is
	return true
}

// now returns what is in the stead of something: itself, where nothing is known of it.
func now(m map[string]string, before string) string {
	if is, ok := m[before]; ok {
		return is
	}
	return before
}

// addition records what was added: a component of a part of a release that was there, or something else.
func (e *edit) addition(k entry, a at, before *file) {
	for other, all := range before.has {
		if other.kind != k.kind || other.part != k.part {
			continue
		}
		for _, was := range all {
			if now(e.moves, was.place) == a.place && now(e.releases, was.release) == a.release {
				e.added[k] = was.place
				return
			}
		}
	}
	e.extra[k] = append(e.extra[k], a)
}

// inOrder returns entries in an order that is always the same.
func inOrder[V any](m map[entry]V) []entry {
	return slices.SortedFunc(maps.Keys(m), func(a, b entry) int {
		return strings.Compare(a.kind+"\x00"+a.part+"\x00"+a.component, b.kind+"\x00"+b.part+"\x00"+b.component)
	})
}
