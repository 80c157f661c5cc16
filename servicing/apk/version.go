// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package apk

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// ErrVersion is wrapped by the error of Compare when a version cannot be understood.
var ErrVersion = errors.New("not a version")

// Compare compares versions as apk does since 2.14: negative when a is lower than b, 0 when they are equal. Before,
// it took 1.0_rc1 for higher than 1.0.
func Compare(a, b string) (int, error) { return compareVersions(a, b, false) }

// compareVersions compares versions; fuzzy takes all for equal to b that begin as b does, as 1.2.3-r1 and 1.2.
func compareVersions(a, b string, fuzzy bool) (int, error) {
	ta, errA := tokens(a)
	tb, errB := tokens(b)
	if errA != nil || errB != nil {
		return 0, fmt.Errorf("compare %q with %q: %w", a, b, ErrVersion)
	}
	for i := 0; ; i++ {
		x, y := ta[i], tb[i]
		switch {
		case y.kind == end && (fuzzy || x.kind == end):
			return 0, nil
		case x.kind == y.kind:
			if order := x.compare(y); order != 0 {
				return order, nil
			}
		case x.before(), y.before():
			return cmp.Compare(boolToInt(y.before()), boolToInt(x.before())), nil
		default:
			return cmp.Compare(y.kind, x.kind), nil // the one that goes on is higher
		}
	}
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// The kinds of the parts of a version, in the order in which they decide.
const (
	first = iota
	digits
	letter
	suffix
	suffixNumber
	commit
	revision
	end
)

// form is what a version looks like: 1.2.3b_rc4_p5~c0ffee-r6.
var form = regexp.MustCompile(
	`^([0-9]+)((?:\.[0-9]+)*)([a-z])?((?:_(?:alpha|beta|pre|rc|cvs|svn|git|hg|p)[0-9]*)*)(~[0-9a-f]+)?(-r[0-9]+)?$`,
)

// suffixes are in their order; those up to rc are of what comes before the version.
var suffixes = []string{"alpha", "beta", "pre", "rc", "cvs", "svn", "git", "hg", "p"}

// token is a part of a version.
type token struct {
	kind int
	text string
}

// tokens returns the parts of a version; the last is the end.
func tokens(version string) ([]token, error) {
	m := form.FindStringSubmatch(version)
	if m == nil {
		return nil, ErrVersion
	}
	out := []token{{first, m[1]}}
	for _, part := range strings.Split(m[2], ".")[1:] {
		out = append(out, token{digits, part})
	}
	if m[3] != "" {
		out = append(out, token{letter, m[3]})
	}
	for _, part := range strings.Split(m[4], "_")[min(1, len(m[4])):] {
		name := strings.TrimRight(part, "0123456789")
		if name != "" {
			out = append(out, token{suffix, name})
		}
		if number := part[len(name):]; number != "" {
			out = append(out, token{suffixNumber, number})
		}
	}
	if m[5] != "" {
		out = append(out, token{commit, m[5]})
	}
	if m[6] != "" {
		out = append(out, token{revision, strings.TrimPrefix(m[6], "-r")})
	}
	return append(out, token{kind: end}), nil
}

// before reports whether it makes a version one that comes before the one without it.
func (t token) before() bool {
	return t.kind == suffix && slices.Index(suffixes, t.text) <= slices.Index(suffixes, "rc")
}

// compare compares tokens of one kind.
func (t token) compare(other token) int {
	switch {
	case t.kind == suffix:
		return cmp.Compare(slices.Index(suffixes, t.text), slices.Index(suffixes, other.text))
	case t.kind == letter, t.kind == commit, t.kind == digits && (t.text[0] == '0' || other.text[0] == '0'):
		return cmp.Compare(t.text, other.text)
	}
	a, b := strings.TrimLeft(t.text, "0"), strings.TrimLeft(other.text, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

// Choose decides for each package of the three databases whose version counts. A version that the user asked for in the
// world counts as held while the new base's is not what was asked for.
func Choose(old, base, user *Database, world []byte, marks map[unit.Mark]bool) []unit.Choice {
	asked := make(map[string][]relation)
	for _, r := range relations(string(world)) {
		if r.operator != "" && !r.conflict {
			asked[r.name] = append(asked[r.name], r)
		}
	}
	versions := make(map[string]string)
	for _, p := range base.Packages {
		versions[p.Name] = p.Version
	}
	packages := make([]*unit.Package, 0, len(user.Packages))
	for _, p := range user.Packages {
		for _, r := range asked[p.Name] {
			if version, ok := versions[p.Name]; ok && r.holds(p.Version) && !r.holds(version) {
				held := *p
				held.Held = true
				p = &held
			}
		}
		packages = append(packages, p)
	}
	return unit.Choose(old.Packages, base.Packages, packages, marks, Compare)
}
