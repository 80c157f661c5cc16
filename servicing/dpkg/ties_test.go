// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// record is an installed package: "name version source", then fields separated by "|".
func record(text string) string {
	head, fields, _ := strings.Cut(text, "|")
	words := strings.Fields(head)
	name, arch, several := strings.Cut(words[0], ":")
	if !several {
		arch = "amd64"
	}
	out := fmt.Sprintf("Package: %s\nStatus: install ok installed\nArchitecture: %s\nVersion: %s\n", name, arch, words[1])
	if len(words) > 2 {
		out += "Source: " + strings.Join(words[2:], " ") + "\n"
	}
	if fields != "" {
		out += strings.ReplaceAll(fields, "|", "\n") + "\n"
	}
	return out
}

func database(records ...string) *Database {
	var all []string
	for _, one := range records {
		all = append(all, record(one))
	}
	return Parse([]byte(strings.Join(all, "\n")))
}

// tied keeps what is tied, and returns the choices, why what is broken cannot be helped, and what is broken.
func tied(old, base, user *Database, marks map[unit.Mark]bool) ([]unit.Choice, unit.Refused, []unit.Problem) {
	known := [][]unit.Problem{Problems(user.Packages), Problems(base.Packages)}
	broken := func(all []*unit.Package) []unit.Problem { return unit.New(Problems(all), known...) }
	choices := Choose(old, base, user, marks)
	refused := unit.KeepTied(choices, unit.Relations{Broken: broken, Names: Names, Source: Source, OtherLibrary: OtherLibrary})
	return choices, refused, broken(unit.Effective(choices))
}

func TestTies(t *testing.T) {
	const perl = "perl 5-3|Depends: perl-base (= 5-3)"
	for _, c := range []struct {
		name            string
		old, base, user []string // user: in addition to the old base
		marks           []unit.Mark
		kept            map[string]string // by package, why
		broken          string            // the package whose relation does not hold
		refused         string            // part of why that cannot be helped
	}{
		{
			name: "K16 one package of the base", old: []string{"perl-base 5-3 perl", "libc6 2.36-1 glibc"}, base: []string{"perl-base 5-4 perl", "libc6 2.36-2 glibc"},
			user: []string{perl}, kept: map[string]string{"perl-base": "kept for perl, which needs perl-base (= 5-3)"},
		},
		{
			name: "K4 another architecture of a package of the base", old: []string{"libz 1 z|Multi-Arch: same"}, base: []string{"libz 2 z|Multi-Arch: same"},
			user: []string{"libz:i386 1 z|Multi-Arch: same"}, kept: map[string]string{"libz:amd64": "kept for libz, which needs same (with libz:amd64 2)"},
		},
		{
			name: "all packages of the source stay", old: []string{"libssl3 3-1 openssl", "openssl 3-1"}, base: []string{"libssl3 3-2 openssl", "openssl 3-2"},
			user: []string{"libssl-dev 3-1 openssl|Depends: libssl3 (= 3-1)"},
			kept: map[string]string{"libssl3": "kept for libssl-dev, which needs libssl3 (= 3-1)", "openssl": "kept with libssl3, which is built from the same source"},
		},
		{
			name: "a package that the source no longer has stays, too", old: []string{"liba 1 a|Depends: liba-data", "liba-data 1 a"}, base: []string{"liba 2 a"},
			user: []string{"a-dev 1 a|Depends: liba (= 1)"},
			kept: map[string]string{"liba": "kept for a-dev, which needs liba (= 1)", "liba-data": "kept with liba, which is built from the same source"},
		},
		{
			name: "the version of the source counts, not that of the package", old: []string{"liba 1+b1 a (1)", "liba-data 1 a"}, base: []string{"liba 2 a", "liba-data 2 a"},
			user: []string{"a-dev 1+b1 a (1)|Depends: liba (= 1+b1)"},
			kept: map[string]string{"liba": "kept for a-dev, which needs liba (= 1+b1)", "liba-data": "kept with liba, which is built from the same source"},
		},
		{
			name: "the new version breaks the user's package", old: []string{"perl-base 5-3 perl"}, base: []string{"perl-base 5-4 perl|Breaks: perl (<< 5-4)"},
			user: []string{"perl 5-3"}, kept: map[string]string{"perl-base": "kept, because the new version needs perl (<< 5-4)"},
		},
		{
			name: "it leaves the source", old: []string{"liba 1 a", "tool 1"}, base: []string{"liba 2 a", "tool 2|Depends: liba (>= 2)"},
			user: []string{"a-dev 1 a|Depends: liba (= 1)"}, broken: "a-dev", refused: "tool 2: Depends: liba (>= 2)",
		},
		{
			name: "another package of the base needs what only the new version provides", old: []string{"liba 1 a", "tool 1"},
			base: []string{"liba 2 a|Provides: abi-2", "tool 2|Depends: abi-2"}, user: []string{"a-dev 1 a|Depends: liba (= 1)"}, broken: "a-dev", refused: "tool 2: Depends: abi-2",
		},
		{
			name: "the C library, within a release", old: []string{"libc6 2.36-9+deb12u9 glibc", "libc-bin 2.36-9+deb12u9 glibc"},
			base: []string{"libc6 2.36-9+deb12u14 glibc", "libc-bin 2.36-9+deb12u14 glibc"}, user: []string{"libc6-dev 2.36-9+deb12u9 glibc|Depends: libc6 (= 2.36-9+deb12u9)"},
			kept: map[string]string{
				"libc6": "kept for libc6-dev, which needs libc6 (= 2.36-9+deb12u9)", "libc-bin": "kept with libc6, which is built from the same source",
			},
		},
		{
			name: "the C library, across releases", old: []string{"libc6 2.36-9 glibc"}, base: []string{"libc6 2.41-12 glibc"},
			user: []string{"libc6-dev 2.36-9 glibc|Depends: libc6 (= 2.36-9)"}, broken: "libc6-dev", refused: "the C library would stay at 2.36-9",
		},
		{
			name: "a package of another source needs it", old: []string{"liba 1 a"}, base: []string{"liba 2 a"}, user: []string{"mine 1|Depends: liba (= 1)"}, broken: "mine",
		},
		{
			name: "the base no longer has it", old: []string{"gcc-base 12 gcc-12"}, base: []string{"gcc-base-14 14 gcc-14"},
			user: []string{"gcc 12 gcc-12|Depends: gcc-base (= 12)"}, broken: "gcc",
		},
		{
			name: "one source stays, another one cannot", old: []string{"perl-base 5-3 perl", "liba 1 a", "tool 1"},
			base: []string{"perl-base 5-4 perl", "liba 2 a", "tool 2|Depends: liba (>= 2)"}, user: []string{perl, "a-dev 1 a|Depends: liba (= 1)"},
			kept: map[string]string{"perl-base": "kept for perl, which needs perl-base (= 5-3)"}, broken: "a-dev", refused: "tool 2",
		},
		{
			name: "K4 two architectures of one package", old: []string{"libz:amd64 1|Multi-Arch: same"}, base: []string{"libz:amd64 2|Multi-Arch: same"},
			user: []string{"libz:i386 1|Multi-Arch: same"}, kept: map[string]string{"libz:amd64": "kept for libz, which needs same (with libz:amd64 2)"},
		},
		{
			name: "kept before, and needed still", old: []string{"perl-base 5-4 perl"}, base: []string{"perl-base 5-5 perl"}, user: []string{"perl-base 5-3 perl", perl},
			marks: []unit.Mark{{Name: "perl-base", Arch: "amd64", Version: "5-3"}}, kept: map[string]string{"perl-base": "kept for perl, which needs perl-base (= 5-3)"},
		},
		{
			name: "kept before, and no longer needed", old: []string{"perl-base 5-4 perl"}, base: []string{"perl-base 5-4 perl"}, user: []string{"perl-base 5-3 perl"},
			marks: []unit.Mark{{Name: "perl-base", Arch: "amd64", Version: "5-3"}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			marks := make(map[unit.Mark]bool)
			user := c.user
			for _, one := range c.old {
				if c.marks == nil {
					user = append(user, one)
				}
			}
			for _, m := range c.marks {
				marks[m] = true
			}
			choices, refused, broken := tied(database(c.old...), database(c.base...), database(user...), marks)
			kept := make(map[string]string)
			for _, choice := range choices {
				if choice.Kept != nil {
					kept[choice.Key] = choice.Reason
				}
				if c.marks != nil && c.kept == nil && choice.Side != unit.Base {
					t.Errorf("%s does not follow the base: %s", choice.Key, choice.Reason)
				}
			}
			if !maps.Equal(kept, c.kept) {
				t.Errorf("kept %v, want %v", kept, c.kept)
			}
			var names []string
			for _, p := range broken {
				names = append(names, p.Package.Name)
				if why := refused.Why(p); !strings.Contains(why, c.refused) || (why == "") != (c.refused == "") {
					t.Errorf("%s is refused because of %q, want %q", p.Package.Name, why, c.refused)
				}
			}
			if got := strings.Join(slices.Compact(names), " "); got != c.broken {
				t.Errorf("broken is %q, want %q", got, c.broken)
			}
		})
	}
}

// world draws a base, its successor and what a user installed on it: packages of a few sources, in which exact relations, relations
// with other sources and the C library occur.
func drawn(t *rapid.T) (old, base, user *Database) {
	var before, after, own []string
	for s := range rapid.IntRange(1, 4).Draw(t, "sources") {
		source := rapid.SampledFrom([]string{"a", "b", "c", cLibrary}).Draw(t, "source") + strings.Repeat("x", s)
		if s == 0 {
			source = cLibrary
		}
		to := rapid.SampledFrom([]string{"1-1", "1-2", "2-1"}).Draw(t, "to")
		needs := func(label string) string {
			other := rapid.SampledFrom([]string{"", "|Depends: p0-0 (>= 1-2)", "|Depends: p1-0 (= 1-1)", "|Depends: p1-0 (>= 2-1)", "|Breaks: p1-9 (<< 2-1)"}).Draw(t, label)
			return other
		}
		for n := range rapid.IntRange(1, 3).Draw(t, "packages") {
			before = append(before, fmt.Sprintf("p%d-%d 1-1 %s", s, n, source))
			after = append(after, fmt.Sprintf("p%d-%d %s %s%s", s, n, to, source, needs("base needs")))
		}
		if rapid.Bool().Draw(t, "tied") {
			own = append(own, fmt.Sprintf("p%d-9 1-1 %s|Depends: p%d-0 (= 1-1)", s, source, s))
		}
	}
	return database(before...), database(after...), database(slices.Concat(own, before)...)
}

// TestTiesProperty: packages that are kept break nothing; those of one source stay together or not at all; what does not hold in the
// result would not hold either if nothing were kept; and the C library stays in its release.
func TestTiesProperty(t *testing.T) {
	seen := map[string]bool{}
	rapid.Check(t, func(t *rapid.T) {
		old, base, user := drawn(t)
		without := unit.New(Problems(unit.Effective(Choose(old, base, user, nil))), Problems(user.Packages), Problems(base.Packages))
		choices, refused, broken := tied(old, base, user, nil)
		if added := unit.New(slices.Clone(broken), without); len(added) > 0 {
			t.Fatalf("broken by what is kept: %v", added)
		}
		bySource := make(map[string]map[bool]bool)
		for _, c := range choices {
			if c.Kept != nil && len(c.Kept.For) == 0 && c.Kept.With == "" {
				t.Fatalf("%s is kept for nothing", c.Key)
			}
			if c.Kept != nil && OtherLibrary(c.User, c.New) {
				t.Fatalf("%s stays at another release", c.Key)
			}
			if c.Old != nil && c.New != nil && c.Old.Version != c.New.Version {
				name := Source(c.Old).Name
				if bySource[name] == nil {
					bySource[name] = make(map[bool]bool)
				}
				bySource[name][c.Kept != nil] = true
			}
			seen["kept"] = seen["kept"] || c.Kept != nil
		}
		for name, kept := range bySource {
			if len(kept) > 1 {
				t.Fatalf("of source %s some packages are kept and some are not", name)
			}
		}
		seen["refused"] = seen["refused"] || len(refused) > 0
	})
	if !seen["kept"] || !seen["refused"] {
		t.Errorf("the property was not tried: %v", seen)
	}
}
