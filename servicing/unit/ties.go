// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package unit

import (
	"cmp"
	"slices"
)

// Relations are what a package manager knows about how packages go together.
type Relations struct {
	// Broken returns the relations that would not hold between packages.
	Broken func([]*Package) []Problem
	// Names returns what a package goes by in relations: its name, and all that it provides.
	Names func(*Package) []string
	// Source returns what a package was built from.
	Source func(*Package) Source
	// OtherLibrary reports whether two versions of a package are two releases of the C library.
	OtherLibrary func(a, b *Package) bool
}

// Source is what packages are built from, together.
type Source struct{ Name, Version string }

// Kept says why a package stays at the user's version though the new base's would count.
type Kept struct {
	Source string      // what the package was built from
	For    []Dependent // the packages that need this version; none for one that stays with others of its source
	With   string      // the package of the same source that it stays with, where For is empty
}

// Dependent is a package whose relation does not hold with another version.
type Dependent struct {
	Package string `json:"package"`
	Version string `json:"version"`
	Needs   string `json:"needs"` // the relation as it is written
}

// Refused are the reasons why packages of one source could not stay together at the user's version, by the identity
// of the problem that this would have solved.
type Refused map[string]string

// Why returns the reason why a problem was not solved by keeping the user's version of the packages of one source;
// empty when that was not tried.
func (r Refused) Why(p Problem) string { return r[p.identity()] }

// KeepTied keeps the user's version of packages of one source where relations between packages of that source would
// not hold otherwise: all packages of the source stay together. A source cannot stay when a package of another source
// then has a relation that does not hold, or when another release of the C library would stay; its packages follow
// the new base.
func KeepTied(choices []Choice, r Relations) Refused {
	k := keeper{
		choices: choices, Relations: r, kept: make(map[string][]undo), refused: make(map[string]string),
		out: make(Refused),
	}
	for {
		problems := r.Broken(Effective(choices))
		if !k.keepSources(problems) && !k.giveBack(problems) {
			return k.out
		}
	}
}

// keeper keeps packages source by source.
type keeper struct {
	Relations
	choices []Choice
	kept    map[string][]undo // by source
	refused map[string]string // by source, why it cannot stay
	out     Refused
}

// undo is a choice as it was before its package was kept.
type undo struct {
	at     int
	before Choice
}

// keepSources keeps the sources that have a part in problems and were not tried yet. It reports whether there were any.
func (k *keeper) keepSources(problems []Problem) bool {
	tied := make(map[string][]Problem)
	var sources []Source
	for _, problem := range problems {
		source, ok := k.tie(problem)
		switch {
		case !ok:
		case k.refused[source.Name] != "":
			k.out[problem.identity()] = k.refused[source.Name]
		case k.kept[source.Name] == nil:
			if tied[source.Name] == nil {
				sources = append(sources, source)
			}
			tied[source.Name] = append(tied[source.Name], problem)
		}
	}
	for _, source := range sources {
		k.keep(source, tied[source.Name])
	}
	return len(sources) > 0
}

// tie returns the one source that both sides of a problem are of, if keeping packages of it may help. The version is
// that of the user's packages.
func (k *keeper) tie(problem Problem) (Source, bool) {
	for i := range k.choices {
		c := &k.choices[i]
		if !c.replaced() {
			continue
		}
		source := k.Source(c.User)
		if k.named(c.User, problem) && k.Source(problem.Package).Name == source.Name {
			return source, true
		}
		if !c.isNew(problem.Package) {
			continue
		}
		other := func(o Choice) bool {
			return o.Side == User && o.Effective.Installed() && k.named(o.Effective, problem) &&
				k.Source(o.Effective).Name == source.Name
		}
		if slices.ContainsFunc(k.choices, other) {
			return source, true
		}
	}
	return Source{}, false
}

// replaced reports whether the new base has another version of a package that the user has, and the new base's counts.
func (c *Choice) replaced() bool {
	return c.Side == Base && c.User.Installed() && c.New.Installed() && !c.User.same(c.New)
}

// isNew reports whether a package of a problem is the new base's version.
func (c *Choice) isNew(p *Package) bool {
	return c.New != nil && c.New.Name == p.Name && c.New.Arch == p.Arch && c.New.Version == p.Version
}

func (k *keeper) named(p *Package, problem Problem) bool {
	return slices.ContainsFunc(k.Names(p), func(name string) bool { return slices.Contains(problem.Names, name) })
}

// keep keeps all packages of a source that has a part in problems.
func (k *keeper) keep(source Source, problems []Problem) {
	var first string
	for _, problem := range problems {
		for i := range k.choices {
			c := &k.choices[i]
			if !(c.replaced() || c.Kept != nil) || k.Source(c.User) != source {
				continue
			}
			if !k.named(c.User, problem) && !c.isNew(problem.Package) {
				continue
			}
			k.keepOne(i, source)
			k.note(c, problem)
			first = cmp.Or(first, c.Key)
		}
	}
	for i := range k.choices {
		c := &k.choices[i]
		if c.Side == Base && c.User.Installed() && !c.User.same(c.New) && k.Source(c.User) == source {
			k.keepOne(i, source)
			c.Kept.With, c.Reason = first, "kept with "+first+", which is built from the same source"
		}
	}
	k.checkLibrary(source)
}

// note notes why a package is kept: for a relation that does not hold otherwise.
func (k *keeper) note(c *Choice, problem Problem) {
	first := len(c.Kept.For) == 0 && c.Kept.With == ""
	if c.isNew(problem.Package) {
		at := slices.IndexFunc(k.choices, func(o Choice) bool {
			return o.Side == User && o.Effective.Installed() && k.named(o.Effective, problem)
		})
		if at >= 0 && first {
			c.Kept.With = k.choices[at].Key
		}
		if first {
			c.Reason = "kept, because the new version needs " + problem.Text
		}
		return
	}
	d := Dependent{Package: problem.Package.Name, Version: problem.Package.Version, Needs: problem.Text}
	if !slices.Contains(c.Kept.For, d) {
		c.Kept.For = append(c.Kept.For, d)
	}
	if len(c.Kept.For) == 1 {
		c.Kept.With, c.Reason = "", "kept for "+d.Package+", which needs "+d.Needs
	}
}

// keepOne makes the user's version of a package count.
func (k *keeper) keepOne(i int, source Source) {
	c := &k.choices[i]
	if c.Side == User {
		return
	}
	k.kept[source.Name] = append(k.kept[source.Name], undo{i, *c})
	c.Side, c.Effective, c.Kept = User, c.User, &Kept{Source: source.Name}
}

// checkLibrary refuses a source of which another release of the C library would stay.
func (k *keeper) checkLibrary(source Source) {
	for _, u := range k.kept[source.Name] {
		if c := k.choices[u.at]; c.New != nil && k.OtherLibrary(c.User, c.New) {
			why := "the C library would stay at " + c.User.Version + ", of another release than " + c.New.Version
			k.refuse(source.Name, why)
			return
		}
	}
}

// giveBack lets the sources follow the new base whose kept packages have a part in problems. It reports whether there
// were any.
func (k *keeper) giveBack(problems []Problem) (some bool) {
	for _, problem := range problems {
		for _, name := range k.partIn(problem) {
			if k.refused[name] == "" {
				k.refuse(name, problem.Package.Name+" "+problem.Package.Version+": "+problem.Field+": "+problem.Text)
				some = true
			}
		}
	}
	return some
}

// partIn returns the sources whose kept packages have a part in a problem.
func (k *keeper) partIn(problem Problem) (names []string) {
	for i := range k.choices {
		c := &k.choices[i]
		if c.Kept == nil {
			continue
		}
		named := k.named(c.Effective, problem) || c.New.Installed() && k.named(c.New, problem)
		if c.User.Name == problem.Package.Name || named {
			names = append(names, c.Kept.Source)
		}
	}
	return names
}

// refuse lets a source follow the new base.
func (k *keeper) refuse(name, why string) {
	for _, u := range k.kept[name] {
		k.choices[u.at] = u.before
	}
	k.refused[name] = why
}

// KeepNeeded keeps the user's version of packages of which the new base's would count, where relations would not hold
// otherwise, whatever they are built from. What cannot be helped in this way stays broken.
func KeepNeeded(choices []Choice, r Relations) {
	k := keeper{choices: choices, Relations: r, kept: make(map[string][]undo)}
	for grew := true; grew; {
		grew = false
		for _, problem := range r.Broken(Effective(choices)) {
			for i := range choices {
				c := &choices[i]
				if c.Side != Base || !c.User.Installed() || c.User.same(c.New) {
					continue
				}
				if k.named(c.User, problem) || c.isNew(problem.Package) {
					k.keepOne(i, r.Source(c.User))
					k.note(c, problem)
					grew = true
				}
			}
		}
	}
}
