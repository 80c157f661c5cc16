// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

type mergeCase struct {
	name            string
	old, base, user string
	want            string // "conflict", "form"
}

var cases = map[string][]mergeCase{
	"ini": {
		{"neighbours changed", "[a]\nx=1\ny=2\nz=3\n", "[a]\nx=1\ny=20\nz=3\n", "[a]\nx = 10 ; mine\ny=2\nz=30\n", "[a]\nx = 10 ; mine\ny=20\nz=30\n"},
		{"added by both in one place", "[a]\nx=1\n", "[a]\nx=1\n# theirs\nn=1\n", "[a]\nx=1\n# mine\nu=1\n", "[a]\nx=1\n# theirs\nn=1\n# mine\nu=1\n"},
		{"the same key", "[a]\nx=1\n", "[a]\nx=2\n", "[a]\nx=3\n", "conflict"},
		{"changed to the same", "[a]\nx=1\ny=1\n", "[a]\nx=2\ny=2\n", "[a]\nx=2\ny=1\nz=1\n", "[a]\nx=2\ny=2\nz=1\n"},
		{"removed by the base beside a change", "[a]\nx=1\ny=2\n", "[a]\ny=2\n", "[a]\nx=1\ny=3\n", "[a]\ny=3\n"},
		{"removed by the base, changed by the user", "[a]\nx=1\n", "[a]\n", "[a]\nx=2\n", "conflict"},
		{"a section added by both", "[a]\nx=1\n", "[a]\nx=1\n\n# theirs\n[n]\ny=1\nz=1\n", "[a]\nx=1\n[u]\ny=2\n", "[a]\nx=1\n\n# theirs\n[n]\ny=1\nz=1\n[u]\ny=2\n"},
		{"a section removed by the base", "[a]\nx=1\n[b]\ny=1\n[c]\nz=1\n", "[a]\nx=1\n[c]\nz=1\n", "[a]\nx=2\n[b]\ny=1\n[c]\nz=2\n", "[a]\nx=2\n[c]\nz=2\n"},
		{"a section removed by the base, in which the user has more", "[b]\ny=1\n[c]\nz=1\n", "[c]\nz=1\n", "[b]\ny=1\nmine=1\n[c]\nz=1\n", "[b]\nmine=1\n[c]\nz=1\n"},
		{"the same key in other sections", "[a]\nx=1\n[b]\nx=1\n", "[a]\nx=2\n[b]\nx=1\n", "[a]\nx=1\n[b]\nx=3\n", "[a]\nx=2\n[b]\nx=3\n"},
		{"in a section that the user removed", "[a]\nx=1\n[b]\ny=1\n", "[a]\nx=1\n[b]\ny=1\nn=1\n", "[a]\nx=1\n", "form"},
		{"a list, changed by the user", "[a]\nx=1\nx=2\ny=1\n", "[a]\nx=1\nx=2\ny=2\n", "[a]\nx=1\nx=3\ny=1\n", "[a]\nx=1\nx=3\ny=2\n"},
		{"a list, changed by the base", "[a]\nx=1\nx=2\ny=1\n", "[a]\nx=1\nx=3\ny=1\n", "[a]\nx=1\nx=2\ny=2\n", "form"},
		{"lines that go on", "[a]\nx=1 \\\n  2\ny=1\n", "[a]\nx=1 \\\n  3\ny=1\n", "[a]\nx=1 \\\n  2\ny=2\n", "[a]\nx=1 \\\n  3\ny=2\n"},
		{"no end of the last line", "[a]\nx=1\ny=1", "[a]\nx=1\ny=1\nn=1", "[a]\nx=2\ny=1", "[a]\nx=2\ny=1\nn=1"},
		{"carriage returns", "[a]\r\nx=1\r\ny=1\r\n", "[a]\r\nx=2\r\ny=1\r\n", "[a]\r\nx=1\r\ny=2\r\n", "[a]\r\nx=2\r\ny=2\r\n"},
		{"other ends of lines", "[a]\nx=1\ny=1\n", "[a]\nx=2\ny=1\n", "[a]\r\nx=1\r\ny=2\r\n", "form"},
		{"switches", "[mysqld]\nskip-networking\nport=1\n", "[mysqld]\nskip-networking\nport=2\n", "[mysqld]\nport=1\nown\n", "[mysqld]\nport=2\nown\n"},
		{"before the first section", "x=1\n[a]\ny=1\n", "x=1\nn=1\n[a]\ny=1\n", "x=2\n[a]\ny=1\n", "x=2\nn=1\n[a]\ny=1\n"},
		{"no INI", "[a]\nx=1\n", "[a]\nx=2\n", "[a\nx=1\n", "form"},
	},
	"assignments": {
		{"neighbours changed", "A=1\nB=2\n", "A=1\nB=3\n", "A=9\nB=2\n", "A=9\nB=3\n"},
		{"code", "A=1\nB=2\n", "A=1\nB=3\n", "if true; then\nA=9\nfi\nB=2\n", "form"},
		{"a text over several lines", "A=1\n", "A=2\n", "A=1\nB=\"x\ny\"\n", "form"},
		{"exported", "export A=1\nB='x y'\n", "export A=2\nB='x y'\n", "export A=1\nB='x  y'\n", "export A=2\nB='x  y'\n"},
	},
	"words": {
		{
			"sshd_config", "Port 22\nPermitRootLogin no\nUsePAM yes\n", "Port 22\nPermitRootLogin no\nUsePAM no\nX11Forwarding no\n", "port 2222\nPermitRootLogin no\nUsePAM yes\n\nMatch User x\n  X11Forwarding yes\n",
			"port 2222\nPermitRootLogin no\nUsePAM no\nX11Forwarding no\n\nMatch User x\n  X11Forwarding yes\n",
		},
		{"keys in capitals", "Port 22\nA 1\n", "PORT 23\nA 1\n", "port 22\nA 2\n", "PORT 23\nA 2\n"},
		{"several of a key", "HostKey a\nHostKey b\nPort 22\n", "HostKey a\nHostKey b\nPort 23\n", "HostKey a\nHostKey c\nPort 22\n", "HostKey a\nHostKey c\nPort 23\n"},
		{"blocks", "a {\n}\n", "a {\n b\n}\n", "a {\n c\n}\n", "form"},
	},
	"yaml": {
		{"neighbours changed", "a: 1\nb: 2\nc: 3\n", "a: 1\nb: 20\nc: 3\n", "a: 10 # mine\nb: 2\nc: 30\n", "a: 10 # mine\nb: 20\nc: 30\n"},
		{"nested", "a:\n  x: 1\n  y: 2\nb: 1\n", "a:\n  x: 1\n  y: 3\n  n: 1\nb: 1\n", "a:\n  x: 2\n  y: 2\n\nb: 2\n", "a:\n  x: 2\n  y: 3\n  n: 1\n\nb: 2\n"},
		{"a mapping added", "a: 1\n", "a: 1\nn:\n  x: 1\n  y:\n    - 1\n", "a: 1\nu: 1\n", "a: 1\nn:\n  x: 1\n  y:\n    - 1\nu: 1\n"},
		{"a mapping removed", "a: 1\nn:\n  x: 1\n  y: 2\nz: 1\n", "a: 1\nz: 1\n", "a: 2\nn:\n  x: 1\n  y: 2\nz: 1\n", "a: 2\nz: 1\n"},
		{"a sequence", "a:\n  - 1\n  - 2\nb: 1\n", "a:\n  - 1\n  - 3\nb: 1\n", "a:\n  - 1\n  - 2\nb: 2\n", "a:\n  - 1\n  - 3\nb: 2\n"},
		{"a text over several lines", "a: |\n  x\n\n  y\nb: 1\n", "a: |\n  x\n\n  z\nb: 1\n", "a: |\n  x\n\n  y\nb: 2\n", "a: |\n  x\n\n  z\nb: 2\n"},
		{"a text that ends like a comment", "a: |\n  x\n  # y\nb: 1\n", "a: |\n  z\n  # z\nb: 1\n", "a: |\n  x\n  # y\nb: 2\n", "form"},
		{"other indentation", "a:\n  x: 1\n  y: 1\n", "a:\n  x: 2\n  y: 1\n", "a:\n    x: 1\n    y: 2\n", "form"},
		{"the same key", "a: 1\n", "a: 2\n", "a: 3\n", "conflict"},
		{"written otherwise", "a: \"1\"\nb: 1\n", "a: '1'\nb: 1\n", "a: \"1\"\nb: 2\n", "a: '1'\nb: 2\n"},
		{"a key twice", "a: 1\nb: 1\n", "a: 2\nb: 1\n", "a: 1\nb: 2\nb: 3\n", "form"},
		{"an alias", "a: 1\nb: 1\n", "a: 2\nb: 1\n", "a: 1\nb: &x 2\nc: *x\n", "form"},
		{"two documents", "a: 1\nb: 1\n", "a: 2\nb: 1\n", "a: 1\nb: 2\n---\nc: 1\n", "form"},
		{"a mapping became a value", "a:\n  x: 1\nb: 1\n", "a: 1\nb: 1\n", "a:\n  x: 1\nb: 2\n", "form"},
		{"a marker at the beginning", "---\na: 1\nb: 1\n", "---\na: 2\nb: 1\n", "---\n# mine\na: 1\nb: 2\n", "---\n# mine\na: 2\nb: 2\n"},
	},
	"toml": {
		{"neighbours changed", "a = 1\nb = 2\n[t]\nx = 1\n", "a = 1\nb = 3\n[t]\nx = 1\ny = \"n\"\n", "a = 9 # mine\nb = 2\n[t]\nx = 2\n", "a = 9 # mine\nb = 3\n[t]\nx = 2\ny = \"n\"\n"},
		{"an array over several lines", "a = [\n  1,\n  2,\n]\nb = 1\n", "a = [\n  1,\n  3,\n]\nb = 1\n", "a = [\n  1,\n  2,\n]\nb = 2\n", "a = [\n  1,\n  3,\n]\nb = 2\n"},
		{"a table added", "a = 1\n", "a = 1\n\n[n.x]\ny = 1\n", "a = 1\nu = 1\n", "a = 1\nu = 1\n\n[n.x]\ny = 1\n"},
		{"the same key", "a = 1\n", "a = 2\n", "a = 3\n", "conflict"},
		{"written otherwise", "t.a = 1\nt.b = 1\n", "[t]\na = 1\nb = 2\n", "t.a = 2\nt.b = 1\n", "form"},
		{"arrays of tables, not changed by the base", "a = 1\n[[x]]\ny = 1\n", "a = 2\n[[x]]\ny = 1\n", "a = 1\n[[x]]\ny = 1\n[[x]]\ny = 2\n", "a = 2\n[[x]]\ny = 1\n[[x]]\ny = 2\n"},
		{"arrays of tables, changed by both", "[[x]]\ny = 1\n", "[[x]]\ny = 1\n[[x]]\ny = 2\n", "[[x]]\ny = 1\n[[x]]\nz = 2\n", "conflict"},
		{"no TOML", "a = 1\n", "a = 2\n", "a = \n", "form"},
	},
	"json": {
		{"neighbours changed", "{\n  \"a\": 1,\n  \"b\": 2\n}\n", "{\n  \"a\": 1,\n  \"b\": [3, 4]\n}\n", "{\n  \"a\" : 9,\n  \"b\": 2\n}", "{\n  \"a\" : 9,\n  \"b\": [3, 4]\n}"},
		{"added by both in one place", "{\"a\": 1}", "{\"a\": 1, \"n\": {\"x\": 1}}", "{\n\t\"a\": 1,\n\t\"u\": 2\n}\n", "{\n\t\"a\": 1,\n\t\"n\": {\"x\": 1},\n\t\"u\": 2\n}\n"},
		{"nested", "{\"a\": {\"x\": 1, \"y\": 2}}", "{\"a\": {\"x\": 1, \"y\": 3, \"n\": 1}}", "{\"a\": {\"x\": 2, \"y\": 2}}", "{\"a\": {\"x\": 2, \"y\": 3, \"n\": 1}}"},
		{"removed", "{\"a\": 1, \"b\": 2, \"c\": 3}", "{\"c\": 3}", "{\"a\": 1, \"b\": 2, \"c\": 4}", "{\"c\": 4}"},
		{"the last removed", "{\"a\": 1,\n \"b\": 2}", "{\"a\": 1}", "{\"a\": 2,\n \"b\": 2}", "{\"a\": 2}"},
		{"all removed", "{\"a\": 1}", "{}", "{\"a\": 1}", "{}"},
		{"an object removed", "{\"a\": {\"x\": 1}, \"b\": 1}", "{\"b\": 1}", "{\"a\": {\"x\": 1}, \"b\": 2}", "{\"b\": 2}"},
		{"an object removed in which the user has more", "{\"a\": {\"x\": 1}, \"b\": 1}", "{\"b\": 1}", "{\"a\": {\"x\": 1, \"u\": 1}, \"b\": 1}", "{\"a\": {\"u\": 1}, \"b\": 1}"},
		{"first of all", "{\"a\": 1}", "{\"n\": 1, \"a\": 1}", "{\n \"a\": 2\n}", "{\n \"n\": 1,\n \"a\": 2\n}"},
		{"into an empty object", "{}", "{\"n\": 1}", "{\n}", "{\"n\": 1}"},
		{"the same key", "{\"a\": 1}", "{\"a\": 2}", "{\"a\": 3}", "conflict"},
		{"a key twice", "{\"a\": 1}", "{\"a\": 2}", "{\"a\": 1, \"b\": 1, \"b\": 2}", "form"},
		{"comments", "{\"a\": 1}", "{\"a\": 2}", "{\"a\": 1 /* x */}", "form"},
		{"a list", "[1]", "[1, 2]", "[0, 1]", "form"},
		{"deep", "{\"a\": 1}", "{\"a\": 2}", strings.Repeat("{\"a\":", 40) + "1" + strings.Repeat("}", 40), "form"},
		{"odd names", "{\"a\\\"}\": 1, \"\": 2}", "{\"a\\\"}\": 1, \"\": 3}", "{\"a\\\"}\": 9, \"\": 2}", "{\"a\\\"}\": 9, \"\": 3}"},
	},
}

var formats = map[string]Format{"ini": INI, "assignments": Assignments, "words": Words, "yaml": YAML, "toml": TOML, "json": JSON}

func TestMerge(t *testing.T) {
	for name, all := range cases {
		for _, c := range all {
			t.Run(name+" "+c.name, func(t *testing.T) {
				out, err := formats[name].Merge([]byte(c.old), []byte(c.base), []byte(c.user))
				got := string(out)
				switch {
				case errors.Is(err, ErrConflict):
					got = "conflict"
				case errors.Is(err, ErrForm):
					got = "form"
				case err != nil:
					t.Fatal(err)
				default:
					if err := formats[name].Agrees(out, []byte(c.old), []byte(c.base), []byte(c.user)); err != nil {
						t.Errorf("it does not agree: %v", err)
					}
				}
				if got != c.want {
					t.Errorf("got\n%s\nwant\n%s", got, c.want)
				}
			})
		}
	}
}

func TestSound(t *testing.T) {
	for _, c := range []struct {
		format, merged, base, user string
		want                       bool
	}{
		{"ini", "[a]\nx=1\ny=1\nx=2\n", "[a]\nx=1\ny=1\n", "[a]\ny=1\nx=2\n", false},
		{"ini", "[a]\nx=1\ny=1\nx=2\n", "[a]\nx=1\nx=3\n", "[a]\ny=1\nx=2\n", true},
		{"ini", "[a]\nx=1\n", "[a]\n", "[a]\n", true},
		{"ini", "[a\n", "[a]\n", "[a]\n", false},
		{"json", `{"a": 1, "a": 2}`, "{}", "{}", false},
		{"yaml", "a:\n  - 1\n  - 2\n", "", "", true},
	} {
		if got := formats[c.format].Sound([]byte(c.merged), []byte(c.base), []byte(c.user)); got != c.want {
			t.Errorf("%q: %v", c.merged, got)
		}
	}
}

func TestTooLarge(t *testing.T) {
	large := []byte("a=1\n" + strings.Repeat("# \n", maxLines))
	if _, err := INI.Merge(large, large, large); !errors.Is(err, ErrForm) {
		t.Errorf("too many lines: %v", err)
	}
	if _, err := INI.Merge(nil, nil, []byte("a=\x00\n")); !errors.Is(err, ErrForm) {
		t.Errorf("no text: %v", err)
	}
	var many strings.Builder
	for i := range 2 * maxChanges {
		fmt.Fprintf(&many, "%sk%d: 1\n", strings.Repeat(" ", 0), i)
	}
	if _, err := YAML.Merge([]byte("a: 1\n"), []byte("a: 1\n"+many.String()), []byte("a: 2\n")); !errors.Is(err, ErrForm) {
		t.Errorf("too many changes: %v", err)
	}
}

// TestBombs checks that what is made to be expensive is refused at once.
func TestBombs(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'z'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	for name, content := range map[string]string{
		"yaml": bomb, "yaml ": strings.Repeat("[", 100_000), "json": strings.Repeat("[", 500_000), "json ": "{\"a\":" + strings.Repeat("{\"a\":", 100_000),
		"toml": "a = " + strings.Repeat("[", 100_000), "yaml  ": strings.Repeat("a: \n", 1) + strings.Repeat("- ", 200_000),
	} {
		begin := time.Now()
		if _, err := formats[strings.TrimSpace(name)].Merge([]byte(content), nil, nil); !errors.Is(err, ErrForm) {
			t.Errorf("%s: %v", name, err)
		}
		t.Logf("%s: %v", name, time.Since(begin))
	}
}

// written writes keys in a format, in a style of the user's or the base's.
func written(format string, keys map[string]int, mine bool) string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		value := keys[key]
		switch format {
		case "ini", "toml", "assignments":
			out = append(out, fmt.Sprintf("%s = %d\n", key, value))
		case "words":
			out = append(out, fmt.Sprintf("%s %d\n", key, value))
		case "yaml":
			out = append(out, fmt.Sprintf("%s: %d\n", key, value))
		case "json":
			out = append(out, fmt.Sprintf("%q: %d", key, value))
		}
		if mine && format != "json" {
			out = append(out, "# about "+key+"\n\n")
		}
	}
	if format == "json" {
		return "{ " + strings.Join(out, ", ") + " }"
	}
	return strings.Join(out, "")
}

// TestMergeIsByKey has both sides change keys at random: the result is the one that is right for each key by itself, and
// what is the user's stays as it is.
func TestMergeIsByKey(t *testing.T) {
	key := rapid.SampledFrom([]string{"aa", "bb", "cc", "dd", "ee", "ff"})
	file := rapid.MapOfN(key, rapid.IntRange(1, 3), 0, 6)
	merged := 0
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(slices.Sorted(maps.Keys(formats))).Draw(t, "format")
		o, n, u := file.Draw(t, "old"), file.Draw(t, "base"), file.Draw(t, "user")
		want, conflict := maps.Clone(u), false
		for _, k := range []string{"aa", "bb", "cc", "dd", "ee", "ff"} {
			switch {
			case o[k] == n[k], n[k] == u[k]:
			case o[k] != u[k]:
				conflict = true
			case n[k] == 0:
				delete(want, k)
			default:
				want[k] = n[k]
			}
		}
		user := written(name, u, true)
		got, err := formats[name].Merge([]byte(written(name, o, false)), []byte(written(name, n, false)), []byte(user))
		if conflict {
			if !errors.Is(err, ErrConflict) {
				t.Fatalf("no conflict: %q, %v", got, err)
			}
			return
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		merged++
		if again, err := formats[name].Merge([]byte(written(name, want, false)), []byte(written(name, want, false)), got); err != nil || string(again) != string(got) {
			t.Fatalf("%q: %v", got, err)
		}
		said, err := formats[name].says(got)
		if err != nil || len(said) != len(want) {
			t.Fatalf("%q says %v: %v", got, said, err)
		}
		for k := range u {
			if name != "json" && !strings.Contains(string(got), "# about "+k+"\n\n") {
				t.Fatalf("the user's comment about %s is not in %q", k, got)
			}
		}
	})
	if merged == 0 {
		t.Error("nothing was merged")
	}
}

func fuzz(f *testing.F, name string) {
	for _, c := range cases[name] {
		f.Add(c.old, c.base, c.user)
	}
	format := formats[name]
	f.Fuzz(func(t *testing.T, old, base, user string) {
		if got, err := format.Merge([]byte(old), []byte(old), []byte(user)); err == nil && string(got) != user {
			t.Errorf("the base changed nothing, but %q became %q", user, got)
		}
		got, err := format.Merge([]byte(old), []byte(base), []byte(user))
		if err != nil {
			return
		}
		if err := format.Agrees(got, []byte(old), []byte(base), []byte(user)); err != nil {
			t.Errorf("%q does not agree: %v", got, err)
		}
		if again, err := format.Merge([]byte(base), []byte(base), got); err == nil && string(again) != string(got) {
			t.Errorf("%q, again %q", got, again)
		}
	})
}

func FuzzINI(f *testing.F)         { fuzz(f, "ini") }
func FuzzAssignments(f *testing.F) { fuzz(f, "assignments") }
func FuzzWords(f *testing.F)       { fuzz(f, "words") }
func FuzzYAML(f *testing.F)        { fuzz(f, "yaml") }
func FuzzTOML(f *testing.F)        { fuzz(f, "toml") }
func FuzzJSON(f *testing.F)        { fuzz(f, "json") }
