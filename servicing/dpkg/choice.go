// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"errors"
	"fmt"
	"slices"

	debversion "github.com/knqyf263/go-deb-version"
)

// Side tells whose version of a package counts.
type Side string

// The sides.
const (
	Base Side = "base" // the new base's
	User Side = "user" // the user's
)

// Choice is what was decided about one package: it is a unit, its files and its record are one side's.
type Choice struct {
	Key             string // the name, with ":" and the architecture where there are several
	Old, New, User  *Package
	Side            Side
	Reason          string
	Effective       *Package // what the result's database says; nil when the package is not in it
	UserVersionOnly bool     // the user has another version than the old base
}

// ErrVersion is wrapped by the error of Compare when a version cannot be understood.
var ErrVersion = errors.New("not a version")

// Compare compares versions as dpkg does: negative when a is lower than b, 0 when they are equal.
func Compare(a, b string) (int, error) {
	va, errA := debversion.NewVersion(a)
	vb, errB := debversion.NewVersion(b)
	if errA != nil || errB != nil {
		return 0, fmt.Errorf("compare %q with %q: %w", a, b, ErrVersion)
	}
	return va.Compare(vb), nil
}

// Choose decides for each package of the three databases whose version counts. The order is that of the new base, then
// the user's additions, then what both lack now.
func Choose(old, base, user *Database) []Choice {
	key := keys(old, base, user)
	byKey := make(map[string]*Choice)
	var order []string
	for _, side := range []struct {
		db  *Database
		put func(*Choice, *Package)
	}{
		{base, func(c *Choice, p *Package) { c.New = p }},
		{user, func(c *Choice, p *Package) { c.User = p }},
		{old, func(c *Choice, p *Package) { c.Old = p }},
	} {
		for _, p := range side.db.Packages {
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
		c.decide()
		out = append(out, *c)
	}
	return out
}

// keys returns how packages are told from one another: by name, unless one database has several architectures of it.
func keys(all ...*Database) func(*Package) string {
	several := make(map[string]bool)
	for _, db := range all {
		seen := make(map[string]bool)
		for _, p := range db.Packages {
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
func (c *Choice) decide() {
	c.UserVersionOnly = !c.User.same(c.Old)
	c.Side, c.Reason = c.side()
	c.Effective = c.New
	if c.Side == User {
		c.Effective = c.User
	}
	if c.Effective != nil {
		c.Effective = c.Effective.withWant(c.want())
	}
}

func (c *Choice) side() (Side, string) {
	held := c.User.Installed() && c.User.Want == "hold"
	switch {
	case c.User.same(c.New):
		return Base, "the same on both sides"
	case held:
		return User, "held by the user"
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
	order, err := Compare(c.User.Version, c.New.Version)
	switch {
	case err != nil:
		return User, err.Error()
	case order > 0:
		return User, "the user's version is higher"
	default:
		return Base, "the base's version is higher"
	}
}

// want merges the selection state: the user's if the user changed it. A package that the result has because the base has
// it is not wanted away.
func (c *Choice) want() string {
	switch {
	case c.User == nil:
		return c.Effective.Want
	case c.New == nil, c.Old == nil && c.User.Installed() == c.Effective.Installed():
		return c.User.Want
	case c.Old != nil && c.User.Want != c.Old.Want && c.User.Installed() == c.Effective.Installed():
		return c.User.Want
	default:
		return c.Effective.Want
	}
}

// Status renders the database of the result: the records of all choices, and the stanzas that are not about packages.
func Status(choices []Choice, base, user *Database) []byte {
	var out []Stanza
	for _, c := range choices {
		if c.Effective != nil {
			out = append(out, c.Effective.Stanza)
		}
	}
	out = append(out, base.unknown...)
	for _, s := range user.unknown {
		if !slices.Contains(base.unknown, s) {
			out = append(out, s)
		}
	}
	return RenderStanzas(out)
}
