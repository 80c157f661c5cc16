// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package languages

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/langpkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// pack is what is decided on as one: a package, or a tree of packages.
type pack struct {
	where   root
	name    string               // of the package; "" for a tree
	records []string             // what shows that it is there; the first that is there is told
	has     [3]map[string]string // by side, the packages with their versions; empty where it is not there
	paths   map[string]bool      // of all sides
	digests map[string]string    // of the user's files, by path; nil where the record has none
	order   langpkg.Order
	unread  string // a record that could not be read
	threes  []sides.Three
}

// choice is whose version of a package is shown, and why.
type choice struct {
	side   int
	reason string
}

// called returns what a package is called in reports.
func (u *pack) called() string {
	if u.name == "" {
		return "the " + kinds[u.where.kind].called + " in " + tree.Shown(u.where.dir)
	}
	return "the " + kinds[u.where.kind].called + " " + u.name
}

// version says at which version a side has a package.
func (u *pack) version(side int) string {
	if u.name == "" {
		return fmt.Sprintf("%d packages", len(u.has[side]))
	}
	return u.has[side][u.name]
}

// both says which versions there are, of a package that stays as the user has it.
func (u *pack) both() string {
	if u.name != "" {
		return fmt.Sprintf("the user's %s stays whole, the base has %s", u.version(sides.User), u.version(sides.New))
	}
	out := "the user's stays whole"
	var differ []string
	for _, name := range slices.Sorted(maps.Keys(u.has[sides.New])) {
		if own, base := u.has[sides.User][name], u.has[sides.New][name]; own != base {
			if own == "" {
				own = "none"
			}
			differ = append(differ, fmt.Sprintf("%s %s (user: %s)", name, base, own))
		}
	}
	if len(differ) > 0 {
		more := ""
		if n := len(differ) - sides.MaxNamed; n > 0 {
			differ, more = differ[:sides.MaxNamed], fmt.Sprintf(" and %d more", n)
		}
		out += "; the base has " + strings.Join(differ, ", ") + more
	}
	return out
}

// difference says what differs between the sides of a package.
type difference struct{ user, base, sides bool }

// compare compares the sides of a package, by versions and contents. Byte code is no change. Where the user changed
// nothing, nothing else is compared.
func (u *pack) compare(ctx context.Context) (d difference, err error) {
	d.user = !maps.Equal(u.has[sides.Old], u.has[sides.User])
	d.base = !maps.Equal(u.has[sides.Old], u.has[sides.New])
	d.sides = !maps.Equal(u.has[sides.New], u.has[sides.User])
	for _, one := range []struct {
		differ *bool
		of     func(t sides.Three) (sides.Node, sides.Node, bool)
	}{
		{&d.user, func(t sides.Three) (sides.Node, sides.Node, bool) { return t.O, t.U, t.O.Absent() && t.N.Absent() }},
		{&d.base, func(t sides.Three) (sides.Node, sides.Node, bool) { return t.O, t.N, false }},
		{&d.sides, func(t sides.Three) (sides.Node, sides.Node, bool) { return t.N, t.U, false }},
	} {
		for _, t := range u.threes {
			if *one.differ || ctx.Err() != nil {
				break
			}
			a, b, none := one.of(t)
			if none || strings.HasSuffix(t.Path, byteCode) {
				continue
			}
			same, err := sides.SameContent(a, b)
			if err != nil {
				return d, err
			}
			*one.differ = !same
		}
		if !*one.differ {
			break
		}
	}
	return d, ctx.Err()
}

// choose decides whose version of a package is shown. It reports false where the ordinary rules show one: a side did
// not change it, or both have the same.
func (u *pack) choose(ctx context.Context) (choice, bool, error) {
	d, err := u.compare(ctx)
	if err != nil || !d.user || !d.base || !d.sides {
		return choice{}, false, err
	}
	old, base, user := len(u.has[sides.Old]) > 0, len(u.has[sides.New]) > 0, len(u.has[sides.User]) > 0
	switch {
	case !user && (!old || !base), !base && !old:
		return choice{}, false, nil
	case !user:
		return u.users("it was removed by the user; the base has " + u.version(sides.New)), true, nil
	case !base:
		return u.users("removed from the base; the user's " + u.version(sides.User) + " stays whole"), true, nil
	}
	edited, err := u.edited(ctx)
	if err != nil {
		return choice{}, false, err
	}
	if edited != "" {
		return u.users(edited + ": " + u.both()), true, nil
	}
	return u.higher(), true, nil
}

func (u *pack) users(why string) choice { return choice{sides.User, u.called() + ": " + why} }

// higher decides by the versions.
func (u *pack) higher() choice {
	user, base, old := u.has[sides.User], u.has[sides.New], u.has[sides.Old]
	if u.digests == nil && len(old) > 0 {
		if raised, err := langpkg.AtLeast(user, old, nil, u.order); err != nil || !raised {
			return u.users("not at a version above the old base's: " + u.both())
		}
	}
	baseWins, err := langpkg.AtLeast(base, user, old, u.order)
	if err != nil {
		return u.users(err.Error() + ": " + u.both())
	}
	userWins, err := langpkg.AtLeast(user, base, old, u.order)
	switch {
	case err != nil:
		return u.users(err.Error() + ": " + u.both())
	case baseWins && (!userWins || u.digests != nil):
		why := fmt.Sprintf("the base's %s is higher than the user's %s", u.version(sides.New), u.version(sides.User))
		if userWins {
			why = fmt.Sprintf("the base's %s is as high as the user's %s", u.version(sides.New), u.version(sides.User))
		}
		if u.name == "" {
			why = "no version is lower in the base's"
		}
		return choice{sides.New, u.called() + ": " + why + ", and is shown whole"}
	case userWins && !baseWins:
		return u.users("the user's is higher: " + u.both())
	default:
		return u.users("neither is higher: " + u.both())
	}
}

// edited says what shows that the user changed a package by hand, rather than with its package manager; "" for nothing.
func (u *pack) edited(ctx context.Context) (string, error) {
	if u.digests == nil {
		if maps.Equal(u.has[sides.Old], u.has[sides.User]) {
			return "edited by the user", nil
		}
		return "", nil
	}
	for _, t := range u.threes {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		want := u.digests[t.Path]
		if want == "" || strings.HasSuffix(t.Path, byteCode) {
			continue
		}
		if same, err := sides.SameContent(t.O, t.U); err != nil || same {
			if err != nil {
				return "", err
			}
			continue
		}
		got, err := digest(t.U)
		if err != nil {
			return "", err
		}
		if got != want {
			return "edited by the user (" + tree.Shown(t.Path) + ")", nil
		}
	}
	return "", nil
}

// digest returns the digest of a regular file as Python's records have it; "" for anything else.
func digest(n sides.Node) (string, error) {
	if !n.Is(tree.Regular) {
		return "", nil
	}
	sum, err := sides.DigestOf(n, sha256.New())
	return base64.RawURLEncoding.EncodeToString(sum), err
}
