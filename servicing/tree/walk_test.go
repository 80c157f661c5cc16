// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// changes writes down a walk: "-" is a deletion, "!" opaque, "(...)" covered, "/" a directory, "@" the layer.
func changes(t *testing.T, v *View) string {
	t.Helper()
	var list []string
	check(t, v.Walk(t.Context(), func(c Change) error {
		s := c.Path
		if c.Kind == Directory {
			s += "/"
		}
		if c.Deleted {
			s = "-" + s
		}
		if c.Opaque {
			s += "!"
		}
		s = fmt.Sprintf("%s@%d", s, c.Layer)
		if c.Covered {
			s = "(" + s + ")"
		}
		list = append(list, s)
		return nil
	}))
	return strings.Join(list, " ")
}

func TestWalk(t *testing.T) {
	opaque := func(l layer, path string) layer { return l.with(path, "d", attrOpaque, "y") }
	cases := map[string]struct {
		layers []layer
		want   string
	}{
		"nothing":                 {[]layer{files()}, "./@0"},
		"order":                   {[]layer{files("a/b", "f", "a-b", "f", "a.b", "f", "a", "d")}, "./@0 a/@0 a/b@0 a-b@0 a.b@0"},
		"deletion":                {[]layer{files("a", "w")}, "./@0 -a@0"},
		"deletion, second form":   {[]layer{files("a", "x")}, "./@0 -a@0"},
		"deletion of own":         {[]layer{files("a", "w"), files("a", "f")}, "./@0 -a@0"},
		"deletion and recreation": {[]layer{files("a", "f"), files("a", "w")}, "./@0 a@0"},
		"directory recreated":     {[]layer{files("d/a", "f"), files("d", "w")}, "./@0 d/!@0 (d/a@0)"},
		"directory over file":     {[]layer{files("d/a", "f"), files("d", "f")}, "./@0 d/!@0 (d/a@0)"},
		"opaque":                  {[]layer{opaque(files("d/a", "f"), "d")}, "./@0 d/!@0 (d/a@0)"},
		"opaque below":            {[]layer{files("d/a", "f"), opaque(files("d/b", "f"), "d")}, "./@0 d/!@0 (d/a@0) (d/b@1)"},
		"opaque above":            {[]layer{opaque(files("d/a", "f"), "d"), files("d/b", "f")}, "./@0 d/!@0 (d/a@0)"},
		"whiteout under opaque":   {[]layer{files("d/a", "w"), opaque(files("d/a", "f"), "d")}, "./@0 d/!@0 (-d/a@0)"},
		"merged":                  {[]layer{files("d/a", "f"), files("d/a", "f", "d/b", "w")}, "./@0 d/@0 d/a@0 -d/b@1"},
		"whiteout of directory":   {[]layer{files("d", "w"), files("d/a", "f")}, "./@0 -d@0"},
		"nested opaque":           {[]layer{opaque(opaque(files("d/e/a", "f"), "d/e"), "d")}, "./@0 d/!@0 (d/e/!@0) (d/e/a@0)"},
		"opaque root":             {[]layer{opaque(files("a", "f"), "."), files("b", "f")}, "./@0 a@0 b@1"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := changes(t, openView(t, buildStack(t, c.layers...)...)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestWalkEnds(t *testing.T) {
	v := openView(t, buildStack(t, files("a/b", "f", "a/c/d", "f", "e", "f", "g", "f"))...)
	broken := errors.New("broken")
	var seen []string
	err := v.Walk(t.Context(), func(c Change) error {
		seen = append(seen, c.Path)
		switch c.Path {
		case "a":
			return fs.SkipDir
		case "e":
			return broken
		}
		return nil
	})
	if !errors.Is(err, broken) || !slices.Equal(seen, []string{".", "a", "e"}) {
		t.Errorf("saw %q, %v", seen, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = v.Tree(ctx, func(e Entry) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// Property: applied to any base, what a walk tells gives what the stack over that base shows.
func TestWalkAppliedIsTheView(t *testing.T) {
	inTemp(t, func(t *rapid.T, dir string) {
		stack := genStack(t, dir, 2, 5)
		nodes := rapid.IntRange(1, len(stack)-1).Draw(t, "nodes")
		over, err := Open(stack[:nodes])
		check(t, err)
		defer over.Close()

		shown := paths(t, stack[nodes:])
		check(t, over.Walk(testContext(), func(c Change) error {
			if c.Deleted || c.Opaque || c.Kind != Directory || shown[c.Path] != Directory {
				hide(shown, c.Path)
			}
			if !c.Deleted {
				if _, ok := shown[c.Path]; ok && c.Covered {
					t.Errorf("%q is covered, but shows from below", c.Path)
				}
				shown[c.Path] = c.Kind
			}
			return nil
		}))
		if want := paths(t, stack); fmt.Sprint(shown) != fmt.Sprint(want) {
			t.Errorf("applied: %q\n   want: %q", shown, want)
		}
	})
}

// paths returns the paths that a stack shows, with their kinds.
func paths(t failer, stack Stack) map[string]Kind {
	t.Helper()
	v, err := Open(stack)
	check(t, err)
	defer v.Close()
	kinds := make(map[string]Kind)
	check(t, v.Tree(testContext(), func(e Entry) error {
		kinds[e.Path] = e.Kind
		return nil
	}))
	return kinds
}

// hide removes a path and what is below it.
func hide(shown map[string]Kind, path string) {
	for p := range shown {
		if p == path || strings.HasPrefix(p, path+"/") {
			delete(shown, p)
		}
	}
}

func TestComparePaths(t *testing.T) {
	sorted := []string{".", "a", "a/b", "a/b/c", "a/b-c", "a-b", "a.b", "b", "b/\x01", "b\x01", "ba", "\xff"}
	for i, a := range sorted {
		for j, b := range sorted {
			if got := comparePaths(a, b); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("comparePaths(%q, %q) = %d", a, b, got)
			}
		}
	}
}
