// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"slices"
	"strings"
	"testing"
)

// FuzzMergeRecords merges lists of records: what only one side changed is as that side has it.
func FuzzMergeRecords(f *testing.F) {
	paths := []string{"var/lib/dpkg/diversions", "var/lib/dpkg/statoverride", "var/lib/dpkg/arch", "var/lib/dpkg/triggers/File"}
	f.Add(uint8(0), []byte("/a\n/a.orig\n:\n"), []byte("/a\n/a.distrib\np\n/b\n/b.x\nq\n"))
	f.Add(uint8(1), []byte("root root 0755 /a\n"), []byte("root mail 02755 /a\n\nroot root 04755 /b"))
	f.Add(uint8(3), []byte("/a p\n"), []byte("/b q\n/b q\n"))
	f.Fuzz(func(t *testing.T, which uint8, a, b []byte) {
		path := paths[int(which)%len(paths)]
		format, known := recordFormats[path]
		if !known {
			format = triggerFormat
		}
		if diversions := ParseDiversions(b); path == paths[0] && len(diversions) > len(b) {
			t.Errorf("%d diversions in %q", len(diversions), b)
		}
		read, ok := format.parse(b)
		if _, okA := format.parse(a); !ok || !okA {
			return
		}
		want := mergeRecords(read, read, read)
		slices.Sort(want)
		for _, sides := range [][3][]byte{{a, b, a}, {a, a, b}, {a, b, b}} {
			merged, ok := MergeRecords(path, sides[0], sides[1], sides[2])
			if !ok {
				t.Fatalf("%q is not understood", sides)
			}
			again, _ := format.parse(merged)
			got := mergeRecords(again, again, again)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%q merge to %q, want %q", sides, got, want)
			}
		}
	})
}

// FuzzMergeStanzas merges records of fields: what only the user changed stays, and nothing is there twice.
func FuzzMergeStanzas(f *testing.F) {
	f.Add([]byte("Package: a\nArchitecture: amd64\nAuto-Installed: 1\n\nPackage: b\n"), []byte("Package: a\nAuto-Installed: 0\n"))
	f.Fuzz(func(t *testing.T, old, user []byte) {
		keys := []string{"Package", "Architecture"}
		name := func(s Stanza) string { return s.Get(keys[0]) + "\x00" + s.Get(keys[1]) }
		want := make(map[string]string)
		for _, s := range ParseStanzas(user) {
			want[name(s)] = s.raw
		}
		got := ParseStanzas(MergeStanzas(old, old, user, keys...))
		for _, s := range got {
			if want[name(s)] != s.raw {
				t.Errorf("got %q, want %q", s.raw, want[name(s)])
			}
		}
		if len(got) != len(want) {
			t.Errorf("got %d records, want %d", len(got), len(want))
		}
	})
}

// FuzzInfo reads what is in the info directory: each path and digest that is told is in the file.
func FuzzInfo(f *testing.F) {
	f.Add("libc6:amd64.md5sums", []byte("/.\n/usr\nd41d8cd98f00b204e9800998ecf8427e  usr/share/doc/a\n"))
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		if pkg, kind, ok := InfoName(name); ok && pkg+"."+kind != name {
			t.Errorf("%q is read as %q and %q", name, pkg, kind)
		}
		for _, path := range ParseList(content) {
			if path == "" || strings.Contains(path, "\n") || !strings.Contains(string(content), path) {
				t.Errorf("%q is told of %q", path, content)
			}
		}
		for path, digest := range ParseDigests(content) {
			if !strings.Contains(string(content), digest+"  ") || !strings.Contains(string(content), path) {
				t.Errorf("%q with %q is told of %q", path, digest, content)
			}
		}
	})
}

// FuzzCompare compares versions: the other way round it is the opposite, and each is itself.
func FuzzCompare(f *testing.F) {
	f.Add("1:2.3~rc1+b1-4", "1.02a-3")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, errX := Compare(a, b)
		y, errY := Compare(b, a)
		if (errX == nil) != (errY == nil) || errX == nil && (x < 0) != (y > 0) {
			t.Errorf("%q with %q is %d, %v, the other way round %d, %v", a, b, x, errX, y, errY)
		}
		if same, err := Compare(a, a); err == nil && same != 0 {
			t.Errorf("%q is not itself: %d", a, same)
		}
	})
}

// FuzzRelations reads relations between packages: each is of a package, and asking whether it holds never fails.
func FuzzRelations(f *testing.F) {
	f.Add("libc6 (>= 2.36), a:any | b (<< 1~) [amd64] <!nocheck>", "2.36-9")
	f.Fuzz(func(t *testing.T, field, version string) {
		for _, g := range relations(field) {
			if len(g.alternatives) == 0 {
				t.Errorf("%q has a group of nothing", field)
			}
			for _, r := range g.alternatives {
				if !strings.Contains(field, r.name) || r.operator == "" && !r.holds(version) {
					t.Errorf("%q is read as %+v", field, r)
				}
			}
		}
	})
}

// FuzzParseDiversions: each diversion is three lines of the file one after the other, and what is written of them reads
// the same.
func FuzzParseDiversions(f *testing.F) {
	f.Add([]byte("/bin/a\n/bin/a.distrib\ndash\n/bin/b\n/bin/b.real\n:\n"))
	f.Add([]byte("/a\n/b\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		var again strings.Builder
		diversions := ParseDiversions(content)
		for _, d := range diversions {
			lines := d.From + "\n" + d.To + "\n" + d.By
			if strings.Count(lines, "\n") != 2 || !strings.Contains(string(content), lines) {
				t.Errorf("%q is read as %+v", content, d)
			}
			again.WriteString(lines + "\n")
		}
		if got := ParseDiversions([]byte(again.String())); !slices.Equal(got, diversions) {
			t.Errorf("%q is read as %+v, and that as %+v", content, diversions, got)
		}
	})
}

// FuzzParseDigests: each path has the digest of its last line, whatever else is in the file.
func FuzzParseDigests(f *testing.F) {
	f.Add([]byte("d41d8cd98f00b204e9800998ecf8427e  usr/share/doc/a b\n"), "usr/bin/x", "0123")
	f.Fuzz(func(t *testing.T, content []byte, path, digest string) {
		for p, d := range ParseDigests(content) {
			if strings.ContainsAny(p+d, "\n") || !strings.Contains(string(content), d+"  "+p) && !strings.Contains(string(content), d+"  /"+p) {
				t.Errorf("%q of %q is told of %q", d, p, content)
			}
		}
		if path == "" || digest == "" || strings.ContainsAny(path+digest, "\n\r /") {
			return
		}
		line := digest + "  " + path + "\n"
		if got := ParseDigests(append(append(slices.Clone(content), '\n'), line...)); got[path] != digest {
			t.Errorf("%q after %q is read as %q", line, content, got[path])
		}
	})
}
