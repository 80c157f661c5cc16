// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package lineset

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMerge(t *testing.T) {
	for _, c := range []struct {
		name, old, base, user string
		key                   Key
		want                  string // "conflict"
	}{
		{"added on both sides in one place", "a\nb\n", "a\nb\nn\n", "a\nb\nu\n", Whole, "a\nb\nn\nu\n"},
		{"the same added on both sides", "a\n", "x\na\n", "a\nx\n", Whole, "a\nx\n"},
		{"removed on both sides", "a\nb\nc\n", "b\nc\n", "a\nb\n", Whole, "b\n"},
		{"comments stay", "# x\na\n", "# y\na\nn\n", "# z\n\na\t # why\nu\n", Whole, "# z\n\na\t # why\nn\nu\n"},
		{"spaces mean nothing", "deb  x y\n", "deb x y\ndeb z\n", "deb\tx y\n", Whole, "deb\tx y\ndeb z\n"},
		{"in its place", "a\nc\n", "a\nb\nc\n", "0\na\nc\n", Whole, "0\na\nb\nc\n"},
		{"no end of the last line", "a", "a\nn", "a\nu", Whole, "a\nn\nu"},
		{"carriage returns", "a\r\n", "a\r\nn\r\n", "a\r\nu\r\n", Whole, "a\r\nn\r\nu\r\n"},
		{"made by both", "", "a\nb\n", "b\nc\n", Whole, "b\nc\na\n"},
		{"made empty by the user", "a\n", "a\nn\n", "", Whole, "n\n"},
		{"what is said changed by the base", "m x=1\n", "m x=2\n", "m x=1\nu\n", First, "m x=2\nu\n"},
		{"what is said changed by the user", "m x=1\n", "m x=1\nn\n", "m x=3\n", First, "m x=3\nn\n"},
		{"what is said changed by both", "m x=1\n", "m x=2\n", "m x=3\n", First, "conflict"},
		{"changed by the base, removed by the user", "m x=1\n", "m x=2\n", "", First, "conflict"},
		{"changed by the user, removed by the base", "m x=1\n", "", "m x=2\n", First, "conflict"},
		{"one entry twice", "m\n", "m\n", "m x=1\nm x=2\n", First, "conflict"},
		{"lines that go on", "a\n", "a\nb\n", "a \\\n b\n", Whole, "conflict"},
		{"no text", "a\n", "a\nb\n", "a\x00\n", Whole, "conflict"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := Merge([]byte(c.old), []byte(c.base), []byte(c.user), c.key)
			if !ok {
				got = []byte("conflict")
			}
			if string(got) != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestMergeIsASet compares with the set: the user's, with what the base added and without what it removed.
func TestMergeIsASet(t *testing.T) {
	file := rapid.Custom(func(t *rapid.T) []string {
		return rapid.SliceOfNDistinct(rapid.StringMatching(`[a-f]`), 0, 6, rapid.ID[string]).Draw(t, "entries")
	})
	rapid.Check(t, func(t *rapid.T) {
		o, n, u := file.Draw(t, "old"), file.Draw(t, "base"), file.Draw(t, "user")
		got, ok := Merge(text(o), text(n), text(u), Whole)
		if !ok {
			t.Fatal("conflict")
		}
		var want []string
		for _, e := range []string{"a", "b", "c", "d", "e", "f"} {
			inO, inN, inU := slices.Contains(o, e), slices.Contains(n, e), slices.Contains(u, e)
			if inU && (inN || !inO) || !inU && inN && !inO {
				want = append(want, e)
			}
		}
		have := strings.Fields(string(got))
		order := slices.DeleteFunc(slices.Clone(have), func(e string) bool { return !slices.Contains(u, e) })
		if !slices.Equal(order, slices.DeleteFunc(slices.Clone(u), func(e string) bool { return !slices.Contains(have, e) })) {
			t.Fatalf("the order of %q is not that of %q", have, u)
		}
		slices.Sort(have)
		if !slices.Equal(have, want) {
			t.Fatalf("got %q, want %q", have, want)
		}
	})
}

func text(lines []string) []byte {
	if len(lines) == 0 {
		return nil
	}
	return []byte(strings.Join(lines, "\n") + "\n")
}

func FuzzMerge(f *testing.F) {
	f.Add("a\nb # x\n", "a\nn", "\r\nb\n")
	f.Fuzz(func(t *testing.T, old, base, user string) {
		for _, key := range []Key{Whole, First} {
			if got, ok := Merge([]byte(old), []byte(old), []byte(user), key); ok && string(got) != user {
				t.Errorf("the base changed nothing, but %q became %q", user, got)
			}
			got, ok := Merge([]byte(old), []byte(base), []byte(user), key)
			if !ok {
				continue
			}
			if again, ok := Merge([]byte(base), []byte(base), got, key); !ok || string(again) != string(got) {
				t.Errorf("%q, again %q, %v", got, again, ok)
			}
		}
	})
}
