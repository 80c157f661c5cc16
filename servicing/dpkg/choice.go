// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"errors"
	"fmt"
	"slices"

	"pault.ag/go/debian/version"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// ErrVersion is wrapped by the error of Compare when a version cannot be understood.
var ErrVersion = errors.New("not a version")

// Compare compares versions as dpkg does: negative when a is lower than b, 0 when they are equal.
func Compare(a, b string) (int, error) {
	va, errA := version.Parse(a)
	vb, errB := version.Parse(b)
	if errA != nil || errB != nil {
		return 0, fmt.Errorf("compare %q with %q: %w", a, b, ErrVersion)
	}
	return version.Compare(va, vb), nil
}

// Choose decides for each package of the three databases whose version counts, and merges what is wanted. Marks are
// the packages that an earlier update kept.
func Choose(old, base, user *Database, marks map[unit.Mark]bool) []unit.Choice {
	out := unit.Choose(old.Packages, base.Packages, user.Packages, marks, Compare)
	for i := range out {
		c := &out[i]
		if c.Effective == nil && c.New == nil && marked(c.User) && !marked(c.Old) {
			c.Effective = c.User
		}
		if c.Effective != nil {
			c.Effective = withWant(c.Effective, want(c))
		}
	}
	return out
}

// marked reports whether a database has a package only for what somebody wants of it: it is held, and not installed.
func marked(p *unit.Package) bool { return p != nil && p.State == unit.Absent && p.Held }

// want merges the selection state: the user's if the user changed it. A package that the result has because the base
// has it is not wanted away. A hold of a package that was not installed stays when the base brings it.
func want(c *unit.Choice) string {
	switch {
	case c.User == nil:
		return wanted(c.Effective)
	case marked(c.User) && !marked(c.Old):
		return wanted(c.User)
	case c.New == nil, c.Old == nil && c.User.Installed() == c.Effective.Installed():
		return wanted(c.User)
	case c.Old != nil && wanted(c.User) != wanted(c.Old) && c.User.Installed() == c.Effective.Installed():
		return wanted(c.User)
	default:
		return wanted(c.Effective)
	}
}

// Status renders the database of the result: the records of all choices, and the stanzas that are not about packages.
func Status(choices []unit.Choice, base, user *Database) []byte {
	var out []Stanza
	for _, p := range unit.Effective(choices) {
		out = append(out, stanza(p))
	}
	out = append(out, base.unknown...)
	for _, s := range user.unknown {
		if !slices.Contains(base.unknown, s) {
			out = append(out, s)
		}
	}
	return RenderStanzas(out)
}
