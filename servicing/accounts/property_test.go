// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package accounts

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// drawn makes a consistent system out of a consistent one: accounts added, removed and changed on both files of a pair.
func drawn(t *rapid.T, f Files, label string) Files {
	for i := range rapid.IntRange(0, 5).Draw(t, label+" changes") {
		name := rapid.SampledFrom([]string{"anna", "bob", "carl", "dora"}).Draw(t, "name")
		exists := parse(layouts[Passwd], f[Passwd]).has(name)
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0, 1:
			id := fmt.Sprint(rapid.IntRange(100, 106).Draw(t, "id"))
			users := parse(layouts[Passwd], f[Passwd])
			groups := parse(layouts[Group], f[Group])
			if !exists && !groups.has(name) && !strings.Contains(string(f[Passwd]), ":x:"+id+":") && len(groups.withID(atoi(id))) == 0 && len(users.withID(atoi(id))) == 0 {
				f = account(f, name, id, "")
			}
		case 2:
			if exists {
				f = leave(without(f, name), name)
			}
		case 3:
			f = edit(f, Shadow, name+":!", fmt.Sprintf("%s:$y$%s%d", name, label, i))
		case 4:
			if exists {
				f = edit(edit(f, Group, "adm:x:4:daemon", "adm:x:4:daemon,"+name), Gshadow, "adm:*::daemon", "adm:*::daemon,"+name)
			}
		}
	}
	return f
}

func atoi(s string) uint32 {
	var n uint32
	_, err := fmt.Sscan(s, &n)
	if err != nil {
		return 0
	}
	return n
}

// leave removes a name from all members.
func leave(f Files, name string) Files {
	for _, file := range []File{Group, Gshadow} {
		f[file] = []byte(strings.ReplaceAll(string(f[file]), ","+name, ""))
	}
	return f
}

func TestMergeProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		old := drawn(rt, sample(), "o")
		base, user := drawn(rt, old, "n"), drawn(rt, old, "u")
		got := Merge(old, base, user, Busy{})
		if again := Merge(old, base, user, Busy{}); !reflect.DeepEqual(got, again) {
			rt.Fatal("not deterministic")
		}
		for _, f := range []Files{old, base, user} {
			if said := check(t, f); said != "" {
				rt.Fatalf("the drawn system is not consistent: %s", said)
			}
		}
		if said := check(t, got.Files); said != "" {
			rt.Fatalf("not consistent: %s\nold %s\nbase %s\nuser %s\ngot %s", said, old, base, user, got.Files)
		}
		secretsStay(rt, old, user, got.Files)
		idsStay(rt, old, base, user, got)
	})
}

// secretsStay checks that a password that the user set is the one that counts afterwards.
func secretsStay(t *rapid.T, old, user, got Files) {
	o, u, r := parse(layouts[Shadow], old[Shadow]), parse(layouts[Shadow], user[Shadow]), parse(layouts[Shadow], got[Shadow])
	for _, name := range u.names() {
		set := o.get(name) == nil || o.get(name)[1] != u.get(name)[1]
		if set && (r.get(name) == nil || r.get(name)[1] != u.get(name)[1]) {
			t.Fatalf("the password of %s is gone", name)
		}
	}
}

// idsStay checks that whoever is left has the id that the user knows, that no id has two names that did not share it
// before, and that the base's ids lead to the same names as in the base.
func idsStay(t *rapid.T, old, base, user Files, got Result) {
	for f, ids := range map[File]map[uint32]uint32{Passwd: got.UIDs, Group: got.GIDs} {
		o, n, u, r := parse(layouts[f], old[f]), parse(layouts[f], base[f]), parse(layouts[f], user[f]), parse(layouts[f], got.Files[f])
		for _, name := range r.names() {
			if u.has(name) && u.id(name, 2) != r.id(name, 2) {
				t.Fatalf("%s has id %d now", name, r.id(name, 2))
			}
			if len(r.withID(r.id(name, 2))) > 1 {
				t.Fatalf("id %d has several names: %v", r.id(name, 2), r.withID(r.id(name, 2)))
			}
			unchanged := o.has(name) && n.has(name) && o.id(name, 2) == n.id(name, 2)
			if !n.has(name) || unchanged {
				continue
			}
			id := n.id(name, 2)
			if to, mapped := ids[id]; mapped {
				id = to
			}
			if id != r.id(name, 2) {
				t.Fatalf("the base's files of %s go to %d", name, id)
			}
		}
	}
}

func TestNothingChangedInTheBase(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old := drawn(t, sample(), "o")
		user := drawn(t, old, "u")
		got := Merge(old, old, user, Busy{})
		if !reflect.DeepEqual(got.Files, user) || len(got.UIDs)+len(got.GIDs) != 0 {
			t.Fatalf("got %s, want %s", got.Files, user)
		}
		if len(renumbered(old, user)) > 0 {
			return
		}
		if untouched := Merge(old, user, old, Busy{}); !reflect.DeepEqual(untouched.Files, user) || len(untouched.UIDs)+len(untouched.GIDs) != 0 {
			t.Fatalf("untouched by the user: got %s, want %s", untouched.Files, user)
		}
	})
}

// renumbered returns the names whose ids differ.
func renumbered(a, b Files) []string {
	var out []string
	for _, f := range []File{Passwd, Group} {
		x, y := parse(layouts[f], a[f]), parse(layouts[f], b[f])
		for _, name := range x.names() {
			if y.has(name) && x.id(name, 2) != y.id(name, 2) {
				out = append(out, name)
			}
		}
	}
	return out
}

func FuzzMerge(f *testing.F) {
	s := sample()
	f.Add(s[Passwd], s[Passwd], []byte("a:b\n+::::::\n"), s[Group], s[Group], []byte("x:x:4294967295:a,,b"))
	f.Fuzz(func(t *testing.T, op, np, up, og, ng, ug []byte) {
		files := func(passwd, group []byte) Files { return Files{Passwd: passwd, Group: group} }
		got := Merge(files(op, og), files(np, ng), files(up, ug), Busy{})
		same := Merge(files(op, og), files(op, og), files(up, ug), Busy{})
		// What the user has and nobody else knows stays, byte for byte.
		for file, content := range map[File][]byte{Passwd: up, Group: ug} {
			for _, r := range parse(layouts[file], content).records {
				line := strings.TrimSuffix(r.raw, "\n")
				known := slices.ContainsFunc(append(parse(layouts[file], op).records, parse(layouts[file], og).records...), func(o record) bool {
					return strings.TrimSuffix(o.raw, "\n") == line
				})
				if r.name == "" && !known && !slices.Contains(strings.Split(string(got.Files[file]), "\n"), line) {
					t.Errorf("%q is gone", r.raw)
				}
			}
			if lines(same.Files[file]) != lines(content) {
				t.Errorf("the base did not change, but %q became %q", content, same.Files[file])
			}
		}
	})
}

func lines(content []byte) string { return strings.TrimSuffix(string(content), "\n") }
