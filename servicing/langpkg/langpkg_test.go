// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package langpkg

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestOrders(t *testing.T) {
	for _, c := range []struct {
		name  string
		order Order
		want  string // ascending
		none  string // a pair that cannot be compared
	}{
		{"pep440", PEP440, "1.0.dev1 1.0a1 1.0rc1 1.0 1.0.post1 1.1 1.10 1!0.1", "1.0 x.y"},
		{"semver", Semantic, "9.0.0 10.5.0-rc.1 10.5.0 10.8.0", "1.0.0 dev-main"},
		{"four numbers", Semantic, "1.2.3 1.2.3.1 1.2.10", "1.0.0 dev"},
		{"gem", Gem, "1.0.a 1.0.rc1 1.0 1.0.1 1.2 1.10 99999999999999999999 100000000000000000000", "1.0 @"},
		{"R", Dotted, "1.2-3 1.2-10 1.3 1.3.0.1", "1.2 a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := strings.Fields(c.want)
			for i := range all {
				for k := range all {
					got, err := c.order(all[i], all[k])
					if err != nil || (got < 0) != (i < k) || (got > 0) != (i > k) {
						t.Errorf("%s and %s: %d, %v", all[i], all[k], got, err)
					}
				}
			}
			pair := strings.Fields(c.none)
			if _, err := c.order(pair[0], pair[1]); !errors.Is(err, ErrVersion) {
				t.Errorf("%q: %v", pair, err)
			}
			if got, err := c.order(pair[1], pair[1]); err != nil || got != 0 {
				t.Errorf("%q with itself: %d, %v", pair[1], got, err)
			}
		})
	}
}

func TestAtLeast(t *testing.T) {
	set := func(text string) map[string]string {
		out := make(map[string]string)
		for one := range strings.FieldsSeq(text) {
			name, version, _ := strings.Cut(one, "=")
			out[name] = version
		}
		return out
	}
	for _, c := range []struct {
		a, b, before string
		want         bool
	}{
		{"x=2", "x=1", "x=1", true},
		{"x=1", "x=2", "x=1", false},
		{"x=2 y=1", "x=2", "", true},         // y was added
		{"x=2 y=1", "x=2", "x=1 y=1", false}, // y was removed from the other one
		{"x=3", "x=2 y=1", "", false},
		{"x=3 y=1", "x=2 y=2", "", false},
	} {
		if got, err := AtLeast(set(c.a), set(c.b), set(c.before), Semantic); err != nil || got != c.want {
			t.Errorf("%q at least %q: %v, %v", c.a, c.b, got, err)
		}
	}
}

func TestPythonPackage(t *testing.T) {
	for base, want := range map[string]string{
		"tool-1.0.dist-info": "tool 1.0", "Foo_Bar-2.dist-info": "foo-bar 2", "foo.bar-2+local.dist-info": "foo-bar 2+local",
		"Foo-1.0-py3.11.egg-info": "foo 1.0", "zope.x-1.egg-info": "zope-x 1", "tool": "", "-1.dist-info": "", "x.dist-info": "",
		"my-tool-1.0.dist-info": "my-tool 1.0",
	} {
		name, version, ok := PythonPackage(base)
		if got := strings.TrimSpace(name + " " + version); got != want || ok != (want != "") {
			t.Errorf("%s: %q %v, want %q", base, got, ok, want)
		}
	}
}

func TestParseRecord(t *testing.T) {
	got, ok := ParseRecord([]byte("tool/__init__.py,sha256=abc_-,5\n\"tool/a,b.py\",,\n../../../bin/tool,sha256=x=,1\ntool-1.0.dist-info/RECORD,,\n"))
	want := []File{{"tool/__init__.py", "abc_-"}, {"tool/a,b.py", ""}, {"../../../bin/tool", "x"}, {"tool-1.0.dist-info/RECORD", ""}}
	if !ok || !slices.Equal(got, want) {
		t.Errorf("%v %v", got, ok)
	}
}

func TestSets(t *testing.T) {
	for name, c := range map[string]struct {
		got  map[string]string
		want map[string]string
	}{
		"lock":       {ParseNodeLock([]byte(`{"packages":{"":{},"node_modules/a":{"version":"1.0.0"}}}`)), map[string]string{"node_modules/a": "1.0.0"}},
		"composer 2": {ParseComposer([]byte(`{"packages":[{"name":"a/b","version":"v1.2.0"}]}`)), map[string]string{"a/b": "1.2.0"}},
		"composer 1": {ParseComposer([]byte(`[{"name":"a/b","version":"1.2.0"}]`)), map[string]string{"a/b": "1.2.0"}},
		"no lock":    {ParseNodeLock([]byte(`[`)), nil},
	} {
		if !maps.Equal(c.got, c.want) {
			t.Errorf("%s: %v", name, c.got)
		}
	}
	crates2, ok := ParseCrates2([]byte(`{"installs":{"rg 13.0.0 (registry+x)":{"bins":["rg","../x"]}}}`))
	if !ok || crates2.Versions["rg"] != "13.0.0" || !slices.Equal(crates2.Bins, []string{"rg"}) {
		t.Errorf("%v %v", crates2, ok)
	}
	crates, ok := ParseCrates([]byte("[v1]\n\"rg 13.0.0 (registry+x)\" = [\"rg\"]\n"))
	if !ok || crates.Versions["rg"] != "13.0.0" || !slices.Equal(crates.Bins, []string{"rg"}) {
		t.Errorf("%v %v", crates, ok)
	}
	if name, version, _ := CondaPackage("ca-certificates-2024.2.2-hbcca054_0.json"); name != "ca-certificates" || version != "2024.2.2" {
		t.Errorf("%s %s", name, version)
	}
	if name, version, _ := GemPackage("nokogiri-1.16.0-x86_64-linux"); name != "nokogiri" || version != "1.16.0" {
		t.Errorf("%s %s", name, version)
	}
	if name, version := ParseDescription([]byte("Package: ggplot2\nVersion: 3.4-1\n")); name != "ggplot2" || version != "3.4-1" {
		t.Errorf("%s %s", name, version)
	}
	if p, ok := ParseNode([]byte(`{"name":"@s/x","version":"1.0.0","bin":"x.js"}`)); !ok || !slices.Equal(p.Bins, []string{"x"}) {
		t.Errorf("%v %v", p, ok)
	}
}

func TestNoCrates(t *testing.T) {
	if got, ok := ParseCrates([]byte("[v1]\n")); !ok || len(got.Versions) != 0 {
		t.Errorf("%v %v", got, ok)
	}
	if got, ok := ParseCrates2([]byte(`{"installs":{}}`)); !ok || len(got.Versions) != 0 {
		t.Errorf("%v %v", got, ok)
	}
}
