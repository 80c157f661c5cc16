// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"fmt"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// Problems returns the relations that do not hold among the installed packages of a choice of packages.
func Problems(all []*unit.Package) []unit.Problem {
	w := newWorld(all)
	var out []unit.Problem
	for _, p := range all {
		if !p.Installed() {
			continue
		}
		for _, field := range []string{"Pre-Depends", "Depends"} {
			for _, group := range relations(stanza(p).Get(field)) {
				if !slices.ContainsFunc(group.alternatives, func(r relation) bool { return w.satisfied(p, r) }) {
					out = append(out, unit.Problem{Package: p, Field: field, Text: group.text, Names: group.names()})
				}
			}
		}
		for _, field := range []string{"Conflicts", "Breaks"} {
			for _, group := range relations(stanza(p).Get(field)) {
				if slices.ContainsFunc(group.alternatives, func(r relation) bool { return w.clashes(p, r) }) {
					out = append(out, unit.Problem{Package: p, Field: field, Text: group.text, Names: group.names()})
				}
			}
		}
		if other := w.outOfStep(p); other != nil {
			text := fmt.Sprintf("same (with %s:%s %s)", other.Name, other.Arch, other.Version)
			out = append(out, unit.Problem{Package: p, Field: "Multi-Arch", Text: text, Names: []string{p.Name}})
		}
	}
	return out
}

// Replace reports whether a package says that it replaces files of another one.
func Replace(p, other *unit.Package) bool {
	for _, g := range relations(stanza(p).Get("Replaces")) {
		for _, r := range g.alternatives {
			if r.name == other.Name && r.holds(other.Version) {
				return true
			}
		}
	}
	return false
}

// relation is one alternative: a package, perhaps with a version.
type relation struct {
	name, arch        string // arch: what follows the colon
	operator, version string
}

// group holds alternatives, of which one must hold.
type group struct {
	text         string
	alternatives []relation
}

func (g group) names() []string {
	var out []string
	for _, r := range g.alternatives {
		out = append(out, r.name)
	}
	return out
}

// relations parses a field.
func relations(field string) []group {
	var out []group
	for text := range strings.SplitSeq(field, ",") {
		g := group{text: strings.Join(strings.Fields(text), " ")}
		for alternative := range strings.SplitSeq(g.text, "|") {
			if r, ok := parseRelation(alternative); ok {
				g.alternatives = append(g.alternatives, r)
			}
		}
		if len(g.alternatives) > 0 {
			out = append(out, g)
		}
	}
	return out
}

// parseRelation parses "name:arch (>= version)"; what follows (architectures, build profiles) is for other fields.
func parseRelation(text string) (relation, bool) {
	head, tail, versioned := strings.Cut(text, "(")
	name, _, _ := strings.Cut(strings.TrimSpace(head), " ")
	var r relation
	r.name, r.arch, _ = strings.Cut(name, ":")
	if versioned {
		inner, _, _ := strings.Cut(tail, ")")
		inner = strings.TrimSpace(inner)
		digits := strings.IndexFunc(inner, func(c rune) bool { return !strings.ContainsRune("<=>", c) })
		if digits > 0 {
			r.operator, r.version = inner[:digits], strings.TrimSpace(inner[digits:])
		}
	}
	return r, r.name != ""
}

// Names returns what a package goes by in relations: its name, and all that it provides.
func Names(p *unit.Package) []string {
	names := []string{p.Name}
	for _, r := range provided(p) {
		names = append(names, r.name)
	}
	return names
}

// provided returns what a package provides, perhaps with versions.
func provided(p *unit.Package) []relation {
	var out []relation
	for _, g := range relations(stanza(p).Get("Provides")) {
		out = append(out, g.alternatives[0])
	}
	return out
}

// world is what is installed, by the names that it goes by.
type world struct{ providers map[string][]provider }

// provider is a package under its own name or one that it provides; without a version where that has none.
type provider struct {
	*unit.Package
	version string
}

func newWorld(all []*unit.Package) *world {
	w := &world{providers: make(map[string][]provider)}
	for _, p := range all {
		if !p.Installed() {
			continue
		}
		w.providers[p.Name] = append(w.providers[p.Name], provider{p, p.Version})
		for _, r := range provided(p) {
			w.providers[r.name] = append(w.providers[r.name], provider{p, r.version})
		}
	}
	return w
}

// satisfied reports whether something installed satisfies a relation of a package.
func (w *world) satisfied(of *unit.Package, r relation) bool {
	return slices.ContainsFunc(w.providers[r.name], func(p provider) bool {
		return reaches(of, r, p.Package) && r.holds(p.version)
	})
}

// clashes reports whether something installed, other than the package itself, is what the relation speaks against.
func (w *world) clashes(of *unit.Package, r relation) bool {
	return slices.ContainsFunc(w.providers[r.name], func(p provider) bool {
		return p.Name != of.Name && r.holds(p.version)
	})
}

// outOfStep returns the same package of another architecture, where both can be there only in one version and are
// not; nil for none.
func (w *world) outOfStep(of *unit.Package) *unit.Package {
	if stanza(of).Get("Multi-Arch") != "same" {
		return nil
	}
	for _, p := range w.providers[of.Name] {
		if p.Name == of.Name && p.Arch != of.Arch && p.Version != of.Version {
			return p.Package
		}
	}
	return nil
}

// reaches reports whether a package of one architecture can satisfy a dependency of another.
func reaches(of *unit.Package, r relation, p *unit.Package) bool {
	switch {
	case r.arch == "any":
		return true
	case r.arch != "":
		return r.arch == p.Arch || p.Arch == "all"
	default:
		return p.Arch == of.Arch || p.Arch == "all" || of.Arch == "all" || stanza(p).Get("Multi-Arch") == "foreign"
	}
}

// holds reports whether a version satisfies the relation. One that cannot be compared does not.
func (r relation) holds(version string) bool {
	if r.operator == "" {
		return true
	}
	order, err := Compare(version, r.version)
	if err != nil {
		return false
	}
	switch r.operator {
	case "<<":
		return order < 0
	case "<=", "<":
		return order <= 0
	case "=":
		return order == 0
	case ">=", ">":
		return order >= 0
	case ">>":
		return order > 0
	default:
		return false
	}
}
