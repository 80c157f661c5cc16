// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"testing"
)

const (
	head   = "auto\n/usr/bin/awk\nawk.1.gz\n/usr/share/man/man1/awk.1.gz\nnawk\n/usr/bin/nawk\n\n"
	mawk   = "/usr/bin/mawk\n5\n/usr/share/man/man1/mawk.1.gz\n/usr/bin/mawk\n"
	gawk   = "/usr/bin/gawk\n10\n/usr/share/man/man1/gawk.1.gz\n\n"
	busy   = "/usr/bin/busybox\n1\n\n\n"
	manual = "manual\n/usr/bin/awk\nawk.1.gz\n/usr/share/man/man1/awk.1.gz\nnawk\n/usr/bin/nawk\n\n"
)

func TestMergeAlternatives(t *testing.T) {
	for _, c := range []struct {
		name, old, base, user, current string
		want, best                     string
	}{
		{"nothing changed", head + mawk, head + mawk, head + mawk, "/usr/bin/mawk", head + mawk, "/usr/bin/mawk"},
		{"added on both sides", head + mawk, head + busy + mawk, head + gawk + mawk, "/usr/bin/gawk", head + busy + gawk + mawk, "/usr/bin/gawk"},
		{"removed by the base, added by the user", head + mawk, head + busy, head + gawk + mawk, "/usr/bin/gawk", head + busy + gawk, "/usr/bin/gawk"},
		{"chosen by hand", head + mawk + gawk, head + busy + gawk + mawk, manual + gawk + mawk, "/usr/bin/mawk", manual + busy + gawk + mawk, "/usr/bin/gawk"},
		{"what was chosen by hand is gone", head + gawk + mawk, head + gawk, manual + gawk + mawk, "/usr/bin/mawk", head + gawk, "/usr/bin/gawk"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var all [3]*Alternatives
			for i, content := range []string{c.old, c.base, c.user} {
				var ok bool
				if all[i], ok = ParseAlternatives([]byte(content + "\n")); !ok {
					t.Fatalf("not understood: %q", content)
				}
			}
			got := MergeAlternatives(all[0], all[1], all[2], c.current)
			if string(got.Render()) != c.want+"\n" || got.Best() != c.best {
				t.Errorf("got %q, %s, want %q", got.Render(), got.Best(), c.want)
			}
		})
	}
	if slaves := MergeAlternatives(parsed(t, head+gawk), parsed(t, head+gawk), parsed(t, head+gawk), "").SlavesOf("/usr/bin/gawk"); len(slaves) != 1 {
		t.Errorf("the slaves are %v", slaves)
	}
	for _, content := range []string{"", "auto\n", "odd\n/x\n\n\n", "auto\n/x\n\n/y\nnumber\n\n"} {
		if _, ok := ParseAlternatives([]byte(content)); ok {
			t.Errorf("%q was understood", content)
		}
	}
}

func parsed(t *testing.T, content string) *Alternatives {
	t.Helper()
	a, ok := ParseAlternatives([]byte(content + "\n"))
	if !ok {
		t.Fatalf("not understood: %q", content)
	}
	return a
}

func FuzzParseAlternatives(f *testing.F) {
	f.Add([]byte(head + mawk + gawk + "\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		a, ok := ParseAlternatives(content)
		if !ok {
			return
		}
		again, ok := ParseAlternatives(a.Render())
		if !ok || string(again.Render()) != string(a.Render()) {
			t.Errorf("%q is rendered as %q", content, a.Render())
		}
	})
}
