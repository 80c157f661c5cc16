// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package unit

import (
	"slices"
	"strings"
)

// Side tells whose version of a package counts.
type Side string

// The sides.
const (
	Base Side = "base" // the new base's
	User Side = "user" // the user's
)

// Choice is what was decided about one package.
type Choice struct {
	Key             string // the name, with ":" and the architecture where there are several
	Old, New, User  *Package
	Side            Side
	Reason          string
	Effective       *Package // what the result's database says; nil when the package is not in it
	UserVersionOnly bool     // the user has another version than the old base
	Kept            *Kept    // why the user's version counts although the new base's would; nil where it would not
}

// Differs reports whether the user's side of a package counts and is not what the new base has.
func (c *Choice) Differs() bool { return c != nil && c.Side == User }

// Replaces reports whether the new base's version of a package takes the place of one that the user installed.
func (c *Choice) Replaces() bool {
	return c != nil && c.Side == Base && c.UserVersionOnly && c.User.Installed()
}

// ReplacesAny reports whether the new base's version of some package takes the place of one that the user has, or
// that was kept.
func ReplacesAny(choices []Choice) bool {
	return slices.ContainsFunc(choices, func(c Choice) bool { return c.Replaces() })
}

// Mark names a package that an earlier update kept at a version. As long as it is at that version the user has not
// changed it.
type Mark struct{ Name, Arch, Version string }

// MarkOf returns what marks a package as it is; nothing that any package has where there is none.
func MarkOf(p *Package) Mark {
	if !p.Installed() {
		return Mark{}
	}
	return Mark{p.Name, p.Arch, p.Version}
}

// Compare compares versions as a package manager does: negative when a is lower than b, 0 when they are equal. It
// gives an error when a version cannot be understood.
type Compare func(a, b string) (int, error)

// Choose decides for each package of the three databases whose version counts. The order is that of the new base, then
// the user's additions, then what both lack now. Marks are the packages that an earlier update kept.
func Choose(old, base, user []*Package, marks map[Mark]bool, compare Compare) []Choice {
	key := keys(old, base, user)
	byKey := make(map[string]*Choice)
	var order []string
	for _, side := range []struct {
		all []*Package
		put func(*Choice, *Package)
	}{
		{base, func(c *Choice, p *Package) { c.New = p }},
		{user, func(c *Choice, p *Package) { c.User = p }},
		{old, func(c *Choice, p *Package) { c.Old = p }},
	} {
		for _, p := range side.all {
			k := key(p)
			if byKey[k] == nil {
				byKey[k] = &Choice{Key: k}
				order = append(order, k)
			}
			side.put(byKey[k], p)
		}
	}
	out := make([]Choice, 0, len(order))
	for _, k := range order {
		c := byKey[k]
		c.decide(marks[MarkOf(c.User)], compare)
		out = append(out, *c)
	}
	return out
}

// keys returns how packages are told from one another: by name, unless one database has several architectures of it.
func keys(all ...[]*Package) func(*Package) string {
	several := make(map[string]bool)
	for _, db := range all {
		seen := make(map[string]bool)
		for _, p := range db {
			several[p.Name] = several[p.Name] || seen[p.Name]
			seen[p.Name] = true
		}
	}
	return func(p *Package) string {
		if several[p.Name] {
			return p.Name + ":" + p.Arch
		}
		return p.Name
	}
}

// decide sets the side, the reason and what the result's database says.
func (c *Choice) decide(marked bool, compare Compare) {
	c.UserVersionOnly = !c.User.same(c.Old)
	c.Side, c.Reason = c.side(marked, compare)
	c.Effective = c.New
	if c.Side == User {
		c.Effective = c.User
	}
}

func (c *Choice) side(marked bool, compare Compare) (Side, string) {
	switch {
	case c.User.same(c.New):
		return Base, "the same on both sides"
	case c.User.Installed() && c.User.Held:
		return User, "held by the user"
	case marked:
		return Base, "kept by an earlier update, unchanged by the user"
	case c.User.same(c.Old):
		return Base, "unchanged by the user"
	case c.New.same(c.Old) && c.User.Installed() && !c.Old.Installed():
		return User, "installed by the user"
	case !c.User.Installed():
		return User, "removed by the user"
	case c.New.same(c.Old):
		return User, "another version installed by the user"
	case !c.New.Installed():
		return User, "another version installed by the user, removed from the base"
	}
	order, err := compare(c.User.Version, c.New.Version)
	switch {
	case err != nil:
		return User, err.Error()
	case order > 0:
		return User, "the user's version is higher"
	default:
		return Base, "the base's version is higher"
	}
}

// Effective returns the packages that the result's database has.
func Effective(choices []Choice) []*Package {
	var out []*Package
	for _, c := range choices {
		if c.Effective != nil {
			out = append(out, c.Effective)
		}
	}
	return out
}

// New returns the problems that are not among known ones.
func New(problems []Problem, known ...[]Problem) []Problem {
	seen := make(map[string]bool)
	for _, p := range slices.Concat(known...) {
		seen[p.identity()] = true
	}
	return slices.DeleteFunc(problems, func(p Problem) bool { return seen[p.identity()] })
}

// identity reports whether it is the same problem as another one: versions do not matter.
func (p Problem) identity() string {
	return strings.Join([]string{p.Package.Name, p.Package.Arch, p.Field, strings.Join(p.Names, "|")}, "\x00")
}
