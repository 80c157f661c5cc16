// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

func TestStanza(t *testing.T) {
	raw := "Package: a\nStatus: install ok installed\nConffiles:\n /etc/a 0123\n /etc/b 4567 obsolete\nDescription: x\n more\n .\n Version: not this one\nVersion: 1.0\n"
	all := ParseStanzas([]byte("\n" + raw + "\n\n" + "odd line\nX: y"))
	if len(all) != 2 || all[0].raw != raw || all[1].raw != "odd line\nX: y\n" {
		t.Fatalf("got %q", all)
	}
	for name, want := range map[string]string{"package": "a", "Version": "1.0", "Conffiles": "/etc/a 0123\n /etc/b 4567 obsolete", "None": ""} {
		if got := all[0].Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	changed := all[0].With("Status", "hold ok installed").With("New", "1")
	want := strings.Replace(raw, "install ok", "hold ok", 1) + "New: 1\n"
	if changed.raw != want {
		t.Errorf("got %q, want %q", changed.raw, want)
	}
	p, ok := newPackage(all[0])
	if !ok || !p.Installed() || len(Conffiles(p)) != 2 || Conffiles(p)["etc/a"] != "0123" {
		t.Errorf("got %v, %v", p, ok)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("Package: a\nStatus: install ok installed\nVersion: 1\n\nx\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		db := Parse(content)
		choices := Choose(db, db, db, nil)
		var kept, rendered []string
		for _, s := range ParseStanzas(content) {
			kept = append(kept, s.raw)
		}
		for _, s := range ParseStanzas(Status(choices, db, db)) {
			rendered = append(rendered, s.raw)
		}
		slices.Sort(kept)
		slices.Sort(rendered)
		// Of several records of one package only the last can count.
		if len(choices)+len(db.unknown) == len(kept) && !slices.Equal(kept, rendered) {
			t.Errorf("got %q, want %q", rendered, kept)
		}
		Problems(db.Packages)
	})
}

// TestCompare compares with dpkg itself.
func TestCompare(t *testing.T) {
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skip("dpkg is not installed")
	}
	version := rapid.StringMatching(`([0-9]:)?[0-9][0-9A-Za-z+.~]{0,5}([0-9]{20,22})?(-[0-9a-z+.~]{1,3})?`)
	rapid.Check(t, func(t *rapid.T) {
		a := version.Draw(t, "a")
		b := version.Draw(t, "b")
		got, err := Compare(a, b)
		if err != nil {
			t.Fatal(err)
		}
		for operator, want := range map[string]bool{"lt": got < 0, "eq": got == 0, "gt": got > 0} {
			err := exec.Command("dpkg", "--compare-versions", a, operator, b).Run()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if (err == nil) != want {
				t.Fatalf("%s %s %s is %v, but the order is %d", a, operator, b, err == nil, got)
			}
		}
	})
	if _, err := Compare("1", "not a version"); !errors.Is(err, ErrVersion) {
		t.Errorf("got %v", err)
	}
}

// pkg makes a stanza: "name version [state [want]]", then further fields.
func pkg(text string, fields ...string) string {
	words := strings.Fields(text + " installed install")
	if len(strings.Fields(text)) == 3 {
		words = strings.Fields(text + " install")
	}
	name, arch, _ := strings.Cut(words[0], ":")
	if arch == "" {
		arch = "amd64"
	}
	out := fmt.Sprintf("Package: %s\nStatus: %s ok %s\nArchitecture: %s\nVersion: %s\n", name, words[3], words[2], arch, words[1])
	return out + strings.Join(append(fields, ""), "\n") + "\n"
}

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		name            string
		old, base, user string
		side            unit.Side
		effective       string // version and state
		want            string
	}{
		{"unchanged", pkg("a 1"), pkg("a 1"), pkg("a 1"), unit.Base, "1 installed", "install"},
		{"upgraded by the base", pkg("a 1"), pkg("a 2"), pkg("a 1"), unit.Base, "2 installed", "install"},
		{"removed by the base", pkg("a 1"), "", pkg("a 1"), unit.Base, "", ""},
		{"new in the base", "", pkg("a 1"), "", unit.Base, "1 installed", "install"},
		{"installed by the user", "", "", pkg("a 1"), unit.User, "1 installed", "install"},
		{"upgraded by the user", pkg("a 1"), pkg("a 1"), pkg("a 2"), unit.User, "2 installed", "install"},
		{"the user's is higher", pkg("a 1"), pkg("a 2"), pkg("a 3"), unit.User, "3 installed", "install"},
		{"the base's is higher", pkg("a 1"), pkg("a 3"), pkg("a 2"), unit.Base, "3 installed", "install"},
		{"1.10 is higher than 1.9", pkg("a 1"), pkg("a 1.10"), pkg("a 1.9"), unit.Base, "1.10 installed", "install"},
		{"the same upgrade", pkg("a 1"), pkg("a 2"), pkg("a 2"), unit.Base, "2 installed", "install"},
		{"both installed it", "", pkg("a 1"), pkg("a 2"), unit.User, "2 installed", "install"},
		{"purged by the user", pkg("a 1"), pkg("a 2"), "", unit.User, "", ""},
		{"removed by the user", pkg("a 1"), pkg("a 2"), pkg("a 1 config-files deinstall"), unit.User, "1 config-files", "deinstall"},
		{"removed by the user, also by the base", pkg("a 1"), "", pkg("a 1 config-files deinstall"), unit.User, "1 config-files", "deinstall"},
		{"upgraded by the user, removed by the base", pkg("a 1"), "", pkg("a 2"), unit.User, "2 installed", "install"},
		{"held", pkg("a 1"), pkg("a 2"), pkg("a 1 installed hold"), unit.User, "1 installed", "hold"},
		{"held at the base's version", pkg("a 1"), pkg("a 1"), pkg("a 1 installed hold"), unit.Base, "1 installed", "hold"},
		{"hold released by the user", pkg("a 1 installed hold"), pkg("a 2 installed hold"), pkg("a 1"), unit.Base, "2 installed", "install"},
		{"held by the old base, released by the new one", pkg("a 1 installed hold"), pkg("a 1"), pkg("a 1 installed hold"), unit.Base, "1 installed", "install"},
		{"downgraded by the user", pkg("a 2"), pkg("a 2"), pkg("a 1"), unit.User, "1 installed", "install"},
		{"not comparable", pkg("a 1"), pkg("a 2"), pkg("a x"), unit.User, "x installed", "install"},
		{"another architecture", pkg("a:all 1"), pkg("a:amd64 2"), pkg("a:all 1"), unit.Base, "2 installed", "install"},
	} {
		t.Run(c.name, func(t *testing.T) {
			choices := Choose(Parse([]byte(c.old)), Parse([]byte(c.base)), Parse([]byte(c.user)), nil)
			if len(choices) != 1 {
				t.Fatalf("%d choices", len(choices))
			}
			effective, want := "", ""
			if p := choices[0].Effective; p != nil {
				state, _ := Condition(p)
				effective, want = p.Version+" "+state, wanted(p)
			}
			if choices[0].Side != c.side || effective != c.effective || want != c.want {
				t.Errorf("%s, %q, %q because %s", choices[0].Side, effective, want, choices[0].Reason)
			}
		})
	}
}

func TestSeveralArchitectures(t *testing.T) {
	same := "Multi-Arch: same"
	old := Parse([]byte(pkg("a:amd64 1", same)))
	base := Parse([]byte(pkg("a:amd64 2", same)))
	user := Parse([]byte(pkg("a:amd64 1", same) + pkg("a:i386 1", same)))
	choices := Choose(old, base, user, nil)
	if len(choices) != 2 || choices[0].Key != "a:amd64" || choices[0].Side != unit.Base || choices[1].Key != "a:i386" || choices[1].Side != unit.User {
		t.Errorf("got %v", choices)
	}
}

func TestStatus(t *testing.T) {
	unknown := "Odd: stanza\n\n"
	old := Parse([]byte(pkg("a 1") + pkg("b 1") + pkg("c 1")))
	base := Parse([]byte(pkg("c 2") + pkg("a 2") + pkg("d 1")))
	user := Parse([]byte(pkg("a 1", "X-Mine: kept") + pkg("b 1") + pkg("c 3") + pkg("x 1") + unknown))
	want := pkg("c 3") + pkg("a 2") + pkg("d 1") + pkg("x 1") + unknown
	if got := Status(Choose(old, base, user, nil), base, user); string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestProblems(t *testing.T) {
	for _, c := range []struct {
		name, installed string
		want            []string
	}{
		{"satisfied", pkg("a 1", "Depends: b (>= 1), c | d") + pkg("b 1") + pkg("d 1"), nil},
		{"missing", pkg("a 1", "Depends: b"), []string{"b"}},
		{"removed", pkg("a 1", "Depends: b") + pkg("b 1 config-files deinstall"), []string{"b"}},
		{"too low", pkg("a 1", "Pre-Depends: b (>= 2)") + pkg("b 1"), []string{"b (>= 2)"}},
		{"exact", pkg("a 1", "Depends: b (= 1), c (= 1)") + pkg("b 1") + pkg("c 1-1"), []string{"c (= 1)"}},
		{"strictly", pkg("a 1", "Depends: b (>> 1), c (<< 2)") + pkg("b 1") + pkg("c 1"), []string{"b (>> 1)"}},
		{"provided", pkg("a 1", "Depends: b") + pkg("p 1", "Provides: b"), nil},
		{"provided without a version", pkg("a 1", "Depends: b (>= 1)") + pkg("p 1", "Provides: b"), []string{"b (>= 1)"}},
		{"provided with a version", pkg("a 1", "Depends: b (>= 1)") + pkg("p 1", "Provides: x, b (= 2)"), nil},
		{"another architecture", pkg("a:i386 1", "Depends: b, c, d, e:any") + pkg("b 1") + pkg("c:all 1") + pkg("d 1", "Multi-Arch: foreign") + pkg("e 1", "Multi-Arch: allowed"), []string{"b"}},
		{"breaks", pkg("a 1", "Breaks: b (<< 2)", "Conflicts: c (<< 2)") + pkg("b 1") + pkg("c 2"), []string{"b (<< 2)"}},
		{"conflicts with what it provides itself", pkg("a 1", "Provides: mta", "Conflicts: mta"), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, p := range Problems(Parse([]byte(c.installed)).Packages) {
				got = append(got, p.Text)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestNewProblems(t *testing.T) {
	broken := Parse([]byte(pkg("a 1", "Depends: b (>= 1)"))).Packages
	if got := unit.New(Problems(broken), Problems(broken)); len(got) != 0 {
		t.Errorf("not new: %v", got)
	}
	sound := Parse([]byte(pkg("a 1", "Depends: b (>= 1)") + pkg("b 1"))).Packages
	got := unit.New(Problems(broken), Problems(sound))
	if len(got) != 1 || got[0].Package.Name != "a" || !slices.Equal(got[0].Names, []string{"b"}) {
		t.Errorf("got %v", got)
	}
}

func TestMergeRecords(t *testing.T) {
	for _, c := range []struct{ path, old, base, user, want string }{
		{"var/lib/dpkg/diversions", "/a\n/a.x\np\n", "/a\n/a.x\np\n/c\n/c.x\nq\n", "/a\n/a.x\np\n/b\n/b.x\n:\n", "/a\n/a.x\np\n/b\n/b.x\n:\n/c\n/c.x\nq\n"},
		{"var/lib/dpkg/diversions", "/a\n/a.x\np\n/b\n/b.x\np\n", "/b\n/b.x\np\n", "/a\n/a.x\np\n", ""},
		{"var/lib/dpkg/statoverride", "root root 755 /a\n", "root root 4755 /a\nroot root 755 /b\n", "root root 700 /a\n", "root root 700 /a\nroot root 755 /b\n"},
		{"var/lib/dpkg/triggers/File", "/usr/lib libc\n", "/usr/lib libc\n/usr/share man\n", "/usr/lib libc\n/usr/share/x x\n", "/usr/lib libc\n/usr/share/x x\n/usr/share man\n"},
		{"var/lib/dpkg/triggers/ldconfig", "libc-bin/noawait\n", "", "libc-bin/noawait\n", ""},
	} {
		got, ok := MergeRecords(c.path, []byte(c.old), []byte(c.base), []byte(c.user))
		if !ok || string(got) != c.want {
			t.Errorf("%s: got %q, %v, want %q", c.path, got, ok, c.want)
		}
	}
	for _, p := range []string{"etc/passwd", "var/lib/dpkg/triggers/x/y"} {
		if _, ok := MergeRecords(p, nil, nil, nil); ok {
			t.Errorf("%s is taken for a list of records", p)
		}
	}
	if _, ok := MergeRecords("var/lib/dpkg/diversions", nil, []byte("/a\n"), nil); ok {
		t.Error("half a record was understood")
	}
}

func TestMergeStanzas(t *testing.T) {
	state := func(name, auto string) string {
		return "Package: " + name + "\nArchitecture: amd64\nAuto-Installed: " + auto + "\n\n"
	}
	old := state("a", "1") + state("b", "1")
	got := MergeStanzas([]byte(old), []byte(old+state("c", "1")), []byte(state("a", "0")+state("b", "1")+state("x", "1")), "Package", "Architecture")
	if want := state("a", "0") + state("b", "1") + state("x", "1") + state("c", "1"); string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLists(t *testing.T) {
	if got := ParseList([]byte("/.\n/usr\n/usr/bin/a b\n")); !slices.Equal(got, []string{"usr", "usr/bin/a b"}) {
		t.Errorf("got %q", got)
	}
	if got := ParseDigests([]byte("0123  usr/a b\n\nodd\n")); len(got) != 1 || got["usr/a b"] != "0123" {
		t.Errorf("got %q", got)
	}
	for name, want := range map[string][2]string{"libc6:amd64.list": {"libc6:amd64", "list"}, "libpython3.11.md5sums": {"libpython3.11", "md5sums"}} {
		if pkg, kind, ok := InfoName(name); !ok || pkg != want[0] || kind != want[1] {
			t.Errorf("%s: %s, %s", name, pkg, kind)
		}
	}
	if _, _, ok := InfoName("format"); ok {
		t.Error("format is taken for a package's")
	}
	if !bytes.Equal(RenderStanzas(ParseStanzas([]byte("A: b\n\n"))), []byte("A: b\n\n")) {
		t.Error("not the same")
	}
}
