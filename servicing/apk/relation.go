// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package apk

import (
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// World is the name under which Problems tells about what was asked for and is not there.
const World = "world"

// Problems returns the relations that do not hold among packages, and between them and what is asked for in the world.
func Problems(all []*unit.Package, world []byte) []unit.Problem {
	w := newProviders(all)
	var out []unit.Problem
	for _, p := range all {
		out = append(out, w.problems(p, "depends", get(p.Record, 'D'))...)
	}
	return append(out, w.problems(&unit.Package{Name: World}, "wants", string(world))...)
}

// relation is a dependency on, or a conflict with, a name, perhaps with a version.
type relation struct {
	text, name        string
	operator, version string
	conflict          bool
}

// relations parses words like "busybox>=1.36", "so:libc.musl-x86_64.so.1", "!conflict" and "name@repository".
func relations(text string) []relation {
	var out []relation
	for word := range strings.FieldsSeq(text) {
		r := relation{text: word}
		rest, conflict := strings.CutPrefix(word, "!")
		r.conflict = conflict
		if at := strings.IndexAny(rest, "<>=~"); at >= 0 {
			version := strings.TrimLeft(rest[at:], "<>=~")
			r.name, r.operator, r.version = rest[:at], rest[at:len(rest)-len(version)], version
		} else {
			r.name = rest
		}
		r.name, _, _ = strings.Cut(r.name, "@")
		r.version, _, _ = strings.Cut(r.version, "@")
		if r.name != "" {
			out = append(out, r)
		}
	}
	return out
}

// holds reports whether a version satisfies the relation. Nothing with a version is satisfied by something without, or
// by one that cannot be compared.
func (r relation) holds(version string) bool {
	switch {
	case r.operator == "":
		return true
	case version == "" || r.version == "":
		return false
	case r.operator == "><": // a checksum: which archive it is cannot be told by a version
		return true
	}
	order, err := compareVersions(version, r.version, strings.Contains(r.operator, "~"))
	if err != nil {
		return false
	}
	return order < 0 && strings.Contains(r.operator, "<") || order > 0 && strings.Contains(r.operator, ">") ||
		order == 0 && strings.ContainsAny(r.operator, "=~")
}

// providers are the installed packages by the names that they go by.
type providers map[string][]provider

type provider struct {
	of      *unit.Package
	version string // of what is provided; "" where that has none
}

func newProviders(all []*unit.Package) providers {
	out := make(providers)
	for _, p := range all {
		out[p.Name] = append(out[p.Name], provider{p, p.Version})
		for _, r := range relations(get(p.Record, 'p')) {
			out[r.name] = append(out[r.name], provider{p, r.version})
		}
	}
	return out
}

// Names returns what a package goes by in relations: its name, and all that it provides.
func Names(p *unit.Package) []string {
	names := []string{p.Name}
	for _, r := range relations(get(p.Record, 'p')) {
		names = append(names, r.name)
	}
	return names
}

// problems returns the relations of a package that do not hold.
func (w providers) problems(of *unit.Package, field, text string) []unit.Problem {
	var out []unit.Problem
	for _, r := range relations(text) {
		there := slices.ContainsFunc(w[r.name], func(p provider) bool {
			itself := p.of.Name == of.Name // a package may provide what it needs, and what it is in conflict with
			return r.holds(p.version) && !(itself && r.conflict)
		})
		if there == r.conflict {
			out = append(out, unit.Problem{Package: of, Field: field, Text: r.text, Names: []string{r.name}})
		}
	}
	return out
}
