// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package apk

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	apkversion "github.com/knqyf263/go-apk-version"
	"pgregory.net/rapid"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

const (
	musl = "C:Q1aaaaaaaaaaaaaaaaaaaaaaaaaaa=\nP:musl\nV:1.2.4-r2\nA:x86_64\nS:1\nT:the musl c library: libc\np:so:libc.musl-x86_64.so.1=1\n" +
		"F:lib\nR:ld-musl-x86_64.so.1\na:0:0:755\nZ:Q1bbbb=\nR:libc.musl-x86_64.so.1\na:0:0:777\n"
	layout = "C:Q1cccccccccccccccccccccccccccc=\nP:layout\nV:3.4.3-r1\nA:x86_64\nD:/bin/sh so:libc.musl-x86_64.so.1\nF:\nR:.keep\nF:etc\nF:root\nM:0:0:700\n"
)

func TestParse(t *testing.T) {
	content := musl + "\n" + layout + "\nodd record\n\n"
	db := Parse([]byte(content))
	if len(db.Packages) != 2 || len(db.unknown) != 1 {
		t.Fatalf("got %v", db)
	}
	p := db.Packages[0]
	if p.Name != "musl" || p.Version != "1.2.4-r2" || p.Arch != "x86_64" || p.Record != musl || !p.Installed() || Checksum(p) != "Q1aaaaaaaaaaaaaaaaaaaaaaaaaaa=" {
		t.Errorf("got %v", p)
	}
	if got := Files(p); !slices.Equal(got, []string{"lib", "lib/ld-musl-x86_64.so.1", "lib/libc.musl-x86_64.so.1"}) {
		t.Errorf("files: %q", got)
	}
	if got := Files(db.Packages[1]); !slices.Equal(got, []string{".keep", "etc", "root"}) {
		t.Errorf("files: %q", got)
	}
	if got := Digests(p); len(got) != 1 || got["lib/ld-musl-x86_64.so.1"] != "Q1bbbb=" {
		t.Errorf("digests: %q", got)
	}
	if got := Render(unit.Choose(db.Packages, db.Packages, db.Packages, nil, Compare), db, db); string(got) != content {
		t.Errorf("got\n%s\nwant\n%s", got, content)
	}
	if len(Files(nil)) != 0 || Broken(p) != "" || Broken(&unit.Package{Record: "P:a\nf:fs\n"}) != "fs" {
		t.Error("what is not there")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(musl + "\n" + layout + "\nodd\n\n"))
	f.Add([]byte("P:a\nV:1\nF:../../etc\nR:/../x\nR:\nF:\nD:a b>=1 !c<~2 so:x=1@y\np:b=2\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		db := Parse(content)
		again := Parse(Render(unit.Choose(db.Packages, db.Packages, db.Packages, nil, Compare), db, db))
		if len(again.Packages) > len(db.Packages) {
			t.Errorf("%d packages became %d", len(db.Packages), len(again.Packages))
		}
		for _, p := range db.Packages {
			for _, name := range Files(p) {
				if name == "" || name[0] == '/' || strings.HasPrefix(name, "..") && (len(name) == 2 || name[2] == '/') {
					t.Errorf("a file at %q", name)
				}
			}
			Digests(p)
		}
		Problems(db.Packages, content)
	})
}

// TestCompare has the examples of apk's own documentation and order.
func TestCompare(t *testing.T) {
	ordered := []string{
		"0.9", "1.0_alpha", "1.0_alpha2", "1.0_beta1", "1.0_pre3", "1.0_rc1", "1.0", "1.0-r1", "1.0-r10", "1.0~c0ffee", "1.0_git20240101", "1.0_p1", "1.0_p2_git1", "1.0a", "1.0.1", "1.1", "1.2.3-r9", "1.2.10", "1.10", "2", "20240101",
	}
	for i, a := range ordered {
		for j, b := range ordered {
			got, err := Compare(a, b)
			if err != nil || (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%s with %s: %d, %v", a, b, got, err)
			}
		}
	}
	for _, odd := range []string{"", "x", "1.0-", "1..2x_"} {
		if _, err := Compare("1", odd); !errors.Is(err, ErrVersion) {
			t.Errorf("%q: %v", odd, err)
		}
	}
}

// TestCompareWithTheLibrary compares with an implementation of the rules as they were before 2.14, which differ only where
// a part of a version begins with a zero.
func TestCompareWithTheLibrary(t *testing.T) {
	version := rapid.StringMatching(`[1-9][0-9]?(\.[1-9][0-9]?){0,2}[a-z]?(_(alpha|beta|pre|rc|cvs|svn|git|hg|p)[1-9]?)?(-r[1-9][0-9]?)?`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := version.Draw(t, "a"), version.Draw(t, "b")
		got, err := Compare(a, b)
		if err != nil {
			t.Fatal(err)
		}
		if want := apkversion.Version(a).Compare(apkversion.Version(b)); got != want {
			t.Fatalf("%q with %q is %d, the library says %d", a, b, got, want)
		}
	})
}

func TestCompareIsAnOrder(t *testing.T) {
	version := rapid.StringMatching(`[0-9]{1,2}(\.[0-9]{1,2}){0,2}[a-z]?(_(alpha|beta|pre|rc|git|p)[0-9]?)?(-r[0-9]{1,2})?`)
	rapid.Check(t, func(t *rapid.T) {
		all := []string{version.Draw(t, "a"), version.Draw(t, "b"), version.Draw(t, "c")}
		order := func(i, j int) int {
			got, err := Compare(all[i], all[j])
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		if order(0, 1) != -order(1, 0) || order(0, 0) != 0 {
			t.Fatalf("%q and %q", all[0], all[1])
		}
		if order(0, 1) < 0 && order(1, 2) < 0 && order(0, 2) >= 0 {
			t.Fatalf("%q < %q < %q", all[0], all[1], all[2])
		}
	})
}

func FuzzCompare(f *testing.F) {
	f.Add("1.2.3_alpha1-r2", "1.02a_p3")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, errX := Compare(a, b)
		y, errY := Compare(b, a)
		if (errX == nil) != (errY == nil) || errX == nil && (x < 0) != (y > 0) {
			t.Errorf("%q with %q is %d, %v, the other way round %d, %v", a, b, x, errX, y, errY)
		}
	})
}

func TestRelations(t *testing.T) {
	for _, c := range []struct {
		relation, version string
		want              bool
	}{
		{"a", "", true},
		{"a=1.0-r0", "1.0-r0", true},
		{"a=1.0-r0", "1.0-r1", false},
		{"a>=1.2", "1.10", true},
		{"a>1.2", "1.2", false},
		{"a<2", "1.9-r3", true},
		{"a<=2", "2", true},
		{"a~1.2", "1.2.3-r1", true},
		{"a~1.2", "1.2-r1", true},
		{"a~1.2", "1.20", false},
		{"a>~1.2", "1.3", true},
		{"a~=1.2", "1.2.9", true},
		{"a<1", "", false},
		{"a><Q1xyz=", "1", true},
		{"a>=1@edge", "2", true},
		{"a=x", "1", false},
	} {
		r := relations(c.relation)
		if len(r) != 1 || r[0].name != "a" || r[0].holds(c.version) != c.want {
			t.Errorf("%s of %q: %v", c.relation, c.version, r)
		}
	}
	if got := relations("@edge >=1"); len(got) != 0 {
		t.Errorf("without a name: %v", got)
	}
}

// pkg makes a record: "name version", then further lines.
func pkg(text string, lines ...string) string {
	name, version, _ := strings.Cut(text, " ")
	return strings.Join(append([]string{"C:Q1" + name + version + "=", "P:" + name, "V:" + version, "A:x86_64"}, lines...), "\n") + "\n\n"
}

func TestProblems(t *testing.T) {
	for _, c := range []struct {
		name, installed, world string
		want                   []string
	}{
		{"satisfied", pkg("a 1", "D:b so:c.so.1 cmd:d /bin/sh") + pkg("b 1") + pkg("c 1", "p:so:c.so.1=1 cmd:d=1 /bin/sh"), "a", nil},
		{"missing", pkg("a 1", "D:b so:c.so.1"), "", []string{"b", "so:c.so.1"}},
		{"too low", pkg("a 1", "D:b>=2") + pkg("b 1"), "", []string{"b>=2"}},
		{"provided without a version", pkg("a 1", "D:b>=1") + pkg("c 1", "p:b"), "", []string{"b>=1"}},
		{"provided with a version", pkg("a 1", "D:b>=1") + pkg("c 1", "p:b=2"), "", nil},
		{"in conflict", pkg("a 1", "D:!b<2") + pkg("b 1"), "", []string{"!b<2"}},
		{"not in conflict", pkg("a 1", "D:!b<2") + pkg("b 2"), "", nil},
		{"in conflict with what it provides itself", pkg("a 1", "D:!mta", "p:mta"), "", nil},
		{"needs what it provides itself", pkg("a 1", "D:mta", "p:mta"), "", nil},
		{"asked for, not there", pkg("a 1"), "a\nb\nc@edge\n", []string{"b", "c@edge"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, p := range Problems(Parse([]byte(c.installed)).Packages, []byte(c.world)) {
				got = append(got, p.Text)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestChoose(t *testing.T) {
	db := func(all ...string) *Database { return Parse([]byte(strings.Join(all, ""))) }
	for _, c := range []struct {
		name            string
		old, base, user string
		world           string
		side            unit.Side
		version         string
	}{
		{"upgraded by the base", pkg("a 1-r0"), pkg("a 1-r1"), pkg("a 1-r0"), "", unit.Base, "1-r1"},
		{"the user's is higher", pkg("a 1"), pkg("a 1.9"), pkg("a 1.10"), "", unit.User, "1.10"},
		{"the base's is higher", pkg("a 1"), pkg("a 1.10"), pkg("a 1.9"), "", unit.Base, "1.10"},
		{"removed", pkg("a 1"), pkg("a 2"), "", "", unit.User, ""},
		{"asked for in this version", pkg("a 1"), pkg("a 2"), pkg("a 1"), "a=1", unit.User, "1"},
		{"asked for in versions that the base's is one of", pkg("a 1.1"), pkg("a 1.2"), pkg("a 1.1"), "a~1", unit.Base, "1.2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			choices := Choose(db(c.old), db(c.base), db(c.user), []byte(c.world), nil)
			version := ""
			if p := choices[0].Effective; p != nil {
				version = p.Version
			}
			if len(choices) != 1 || choices[0].Side != c.side || version != c.version {
				t.Errorf("got %v", choices)
			}
		})
	}
}

// archive makes a tar of scripts.
func archive(t testing.TB, names ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range names {
		content := "#!/bin/sh\n# " + name + strings.Repeat("x", len(name)*20) + "\n"
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content)), Format: tar.FormatGNU}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestMergeScripts(t *testing.T) {
	long := "long-" + strings.Repeat("n", 100)
	db := func(all ...string) *Database { return Parse([]byte(strings.Join(all, ""))) }
	old := db(pkg("a 1.0"), pkg("b 1"), pkg("gone 1"))
	base := db(pkg("a 1.1"), pkg("b 1"), pkg("new 1"))
	user := db(pkg("a 1.0"), pkg(long+" 1"), pkg("gone 1"))
	got, ok := MergeScripts(Choose(old, base, user, nil, nil),
		archive(t, "a-1.1.Q1a/+=.post-install", "b-1.Q1b=.pre-install", "new-1.Q1n=.trigger", "a-1.Q1x.1.post-install"),
		archive(t, "a-1.0.Q1a0=.post-install", long+"-1.Q1l=.post-upgrade", long+"-1.Q1l=.pre-upgrade", "gone-1.Q1g=.pre-install"))
	want := archive(t, "a-1.1.Q1a/+=.post-install", "new-1.Q1n=.trigger", long+"-1.Q1l=.post-upgrade", long+"-1.Q1l=.pre-upgrade")
	if !ok || !bytes.Equal(got, want) {
		t.Errorf("%v: got %d bytes, want %d", ok, len(got), len(want))
	}
	whole := archive(t, "a-1.Q1=.x")
	for name, odd := range map[string][]byte{
		"cut": whole[:600], "not a tar": []byte(strings.Repeat("x", 600)), "a directory": slices.Concat(whole[:156], []byte("5"), whole[157:]),
	} {
		if _, ok := MergeScripts(nil, odd, nil); ok {
			t.Errorf("%s was understood", name)
		}
	}
	if out, ok := MergeScripts(nil, nil, whole); !ok || len(out) != 1024 {
		t.Errorf("no packages: %v", out)
	}
}

func FuzzMembers(f *testing.F) {
	f.Add(archive(f, "a-1.Q1=.x", "b-2.Q1=.y", "l"+strings.Repeat("o", 200)+"ng-1.Q1=.z"))
	f.Fuzz(func(t *testing.T, content []byte) {
		all, ok := members(content)
		if !ok {
			return
		}
		var raw []byte
		for _, m := range all {
			raw = append(raw, m.raw...)
		}
		if !bytes.HasPrefix(content, raw) {
			t.Error("the members are not what the archive begins with")
		}
		byPackage(all)
	})
}

func TestMergeTriggers(t *testing.T) {
	old, base, user := Parse([]byte(pkg("a 1")+pkg("b 1"))), Parse([]byte(pkg("a 2")+pkg("b 1"))), Parse([]byte(pkg("a 1")+pkg("b 1")+pkg("c 1")))
	got := MergeTriggers(Choose(old, base, user, nil, nil), []byte("Q1b1= /lib\nQ1a2= /usr/lib /lib\n"), []byte("Q1a1= /lib\nQ1b1= /lib\nQ1c1= /etc"))
	if want := "Q1a2= /usr/lib /lib\nQ1b1= /lib\nQ1c1= /etc\n"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMergeWorld(t *testing.T) {
	for _, c := range []struct{ name, old, base, user, want string }{
		{"added on both sides", "a\nb\n", "a\nb\nn\n", "a\nb\nu\n", "a\nb\nu\nn\n"},
		{"removed on both sides", "a\nb\nc\n", "b\nc\n", "a\nb\n", "b\n"},
		{"a version asked for by the user", "a\n", "a@edge\n", "a=1\n", "a=1\n"},
		{"a version asked for by the base", "a\n", "a>2\n", "a\nu\n", "a>2\nu\n"},
		{"not wanted", "a\n", "a\n!x\n", "a\nx\n", "a\nx\n!x\n"},
		{"in one line", "a b", "a b n", "b", "b\nn\n"},
	} {
		if got := MergeWorld([]byte(c.old), []byte(c.base), []byte(c.user)); string(got) != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
