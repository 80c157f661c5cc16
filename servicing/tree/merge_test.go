// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// Each case names what the merged node says, as changes writes it.
func TestMerge(t *testing.T) {
	opaque := func(l layer, path, value string) layer { return l.with(path, "d", attrOpaque, value) }
	cases := map[string]struct {
		upper, lower layer
		below        []layer
		want         string
	}{
		"files":                          {files("a", "f1", "b", "f1"), files("b", "f2", "c", "f2"), nil, "./@0 a@0 b@0 c@0"},
		"directories":                    {files("d/a", "f1"), files("d/b", "f2"), []layer{files("d/c", "f3")}, "./@0 d/@0 d/a@0 d/b@0"},
		"whiteout of own":                {files("a", "w"), files("a", "f2"), nil, "./@0"},
		"whiteout of below":              {files("a", "w"), files("a", "f2"), []layer{files("a", "f3")}, "./@0 -a@0"},
		"lower whiteout of below":        {files(), files("a", "w"), []layer{files("a", "d")}, "./@0 -a@0"},
		"pointless lower whiteout":       {files(), files("a", "w"), []layer{files("b", "f3")}, "./@0"},
		"whiteout where below has one":   {files("a", "w"), files(), []layer{files("a", "w"), files("a", "f4")}, "./@0"},
		"whiteout of a hidden name":      {files("d/a", "w"), files(), []layer{files("d", "f3"), files("d/a", "f4")}, "./@0 d/@0"},
		"second form":                    {opaque(files("d/a", "x"), "d", "x"), files(), []layer{files("d/a", "f3")}, "./@0 d/@0 -d/a@0"},
		"opaque, nothing below":          {opaque(files("d/a", "f1"), "d", "y"), files("d/b", "f2"), nil, "./@0 d/@0 d/a@0"},
		"opaque, a file below":           {opaque(files("d/a", "f1"), "d", "y"), files(), []layer{files("d", "f3")}, "./@0 d/@0 d/a@0"},
		"opaque, a directory below":      {opaque(files("d/a", "f1"), "d", "y"), files("d/b", "f2"), []layer{files("d/c", "f3")}, "./@0 d/!@0 (d/a@0)"},
		"opaque lower":                   {files("d/a", "f1"), opaque(files("d/b", "f2"), "d", "y"), []layer{files("d/c", "f3")}, "./@0 d/!@0 (d/a@0) (d/b@0)"},
		"opaque, whiteout above":         {files("d/b", "w"), opaque(files("d/b", "f2"), "d", "y"), []layer{files("d/b", "f3")}, "./@0 d/!@0"},
		"opaque in opaque":               {opaque(opaque(files("d/e/a", "f1"), "d/e", "y"), "d", "y"), files(), []layer{files("d/e/b", "f3")}, "./@0 d/!@0 (d/e/@0) (d/e/a@0)"},
		"directory over whiteout":        {files("d/a", "f1"), files("d", "w"), []layer{files("d/b", "f3")}, "./@0 d/!@0 (d/a@0)"},
		"directory over file":            {files("d/a", "f1"), files("d", "f2"), []layer{files("d/b", "f3")}, "./@0 d/!@0 (d/a@0)"},
		"directory over pointless":       {files("d/a", "f1"), files("d", "w"), []layer{files("e", "f3")}, "./@0 d/@0 d/a@0"},
		"file over directory":            {files("d", "f1"), files("d/a", "f2"), []layer{files("d/b", "f3")}, "./@0 d@0"},
		"whiteouts not hidden any more":  {files("d/a", "w", "d/e/b", "w"), files("d/e", "d"), []layer{files("x", "f")}, "./@0 d/@0 d/e/@0"},
		"everything gone":                {files("d", "w"), files("d/a", "f2"), nil, "./@0"},
		"bottom has no marks whatsoever": {opaque(files("d/a", "w", "b", "w"), "d", "y"), files("c", "w"), []layer{}, "./@0 d/@0"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			stack := buildStack(t, append([]layer{c.upper, c.lower}, c.below...)...)
			dst := t.TempDir()
			check(t, Merge(t.Context(), stack[0], stack[1], []Stack{stack[2:]}, dst))
			if got := changes(t, openView(t, dst)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			sameView(t, stack, append(Stack{dst}, stack[2:]...))
			raw := readTree(t, dst)
			for path, f := range raw { // marks are made only in the forms that every kernel knows
				if f.Format == unix.S_IFREG && strings.Contains(f.Xattrs, attrWhiteout) || strings.Contains(f.Xattrs, `opaque="x"`) {
					t.Errorf("%s: %v", path, f)
				}
			}
		})
	}
}

// sameView asserts that two stacks show the same, by the kernel's word and by Compare's.
func sameView(t failer, a, b Stack) {
	t.Helper()
	empty, err := os.MkdirTemp(filepath.Dir(a[0]), "empty")
	check(t, err)
	mountA, releaseA := mountOverlay(t, a, empty)
	defer releaseA()
	mountB, releaseB := mountOverlay(t, b, empty)
	defer releaseB()
	sameFacts(t, "against the kernel", readTree(t, mountB), readTree(t, mountA))
	diffs, err := Compare(testContext(), a, b)
	if err != nil || len(diffs) > 0 {
		t.Errorf("Compare: %v, %v", diffs, err)
	}
}

// Property: merging two nodes changes nothing in the view, wherever they stand, and keeps no mark that hides nothing.
func TestMergeKeepsTheView(t *testing.T) {
	inTemp(t, func(t *rapid.T, dir string) {
		stack := genStack(t, dir, 2, 5)
		at := rapid.IntRange(0, len(stack)-2).Draw(t, "merge at")
		for _, node := range stack {
			check(t, Seal(testContext(), node))
		}
		dst := dir + "/merged"
		check(t, os.Mkdir(dst, 0o755))
		before := readTree(t, stack[at])
		check(t, Merge(testContext(), stack[at], stack[at+1], []Stack{stack[at+2:]}, dst))

		sameFacts(t, "the upper node", readTree(t, stack[at]), before)
		sameView(t, stack, slices.Concat(stack[:at], Stack{dst}, stack[at+2:]))
		sameView(t, stack[at:], slices.Concat(Stack{dst}, stack[at+2:]))
		marksHide(t, dst, []Stack{stack[at+2:]})
	})
}

// marksHide asserts that each whiteout and opaque mark of a node hides something in one of the views below it.
func marksHide(t failer, node string, below []Stack) {
	t.Helper()
	v, err := Open(Stack{node})
	check(t, err)
	defer v.Close()
	kinds := make(map[Kind]map[string]bool)
	for _, stack := range below {
		for path, kind := range paths(t, stack) {
			for _, k := range []Kind{0, kind} { // 0 stands for any
				if kinds[k] == nil {
					kinds[k] = make(map[string]bool)
				}
				kinds[k][path] = true
			}
		}
	}
	check(t, v.Walk(testContext(), func(c Change) error {
		if c.Deleted && (c.Covered || !kinds[0][c.Path]) {
			t.Errorf("pointless whiteout %q", c.Path)
		}
		if c.Opaque && (c.Covered || !kinds[Directory][c.Path]) {
			t.Errorf("pointless opaque mark on %q", c.Path)
		}
		return nil
	}))
}

func TestMergeForSeveralViews(t *testing.T) {
	opaque := func(l layer, path string) layer { return l.with(path, "d", attrOpaque, "y") }
	cases := map[string]struct {
		upper, lower layer
		below        [2][]layer
		want         string // empty when no node serves both views
	}{
		"whiteout for one":         {files("a", "w"), files(), [2][]layer{{files("b", "f")}, {files("a", "f")}}, "./@0 -a@0"},
		"whiteout for none":        {files("a", "w"), files(), [2][]layer{{files("b", "f")}, {files("c", "f")}}, "./@0"},
		"no directory in one":      {files("d/a", "w"), files(), [2][]layer{{files("d/a", "f")}, {files("b", "f")}}, ""},
		"a file in one":            {files("d/a", "w"), files(), [2][]layer{{files("d", "f")}, {files("d/a", "f")}}, ""},
		"nothing at all in one":    {files("a", "w"), files(), [2][]layer{{files("a", "f")}, nil}, ""},
		"pointless, none in one":   {files("d/a", "w"), files(), [2][]layer{{files("d/b", "f")}, {files("b", "f")}}, "./@0 d/@0"},
		"directory in both":        {files("d/a", "w"), files(), [2][]layer{{files("d/a", "f")}, {files("d", "d")}}, "./@0 d/@0 -d/a@0"},
		"opaque for one":           {opaque(files("d/a", "f"), "d"), files(), [2][]layer{{files("d", "f")}, {files("d/b", "f")}}, "./@0 d/!@0 (d/a@0)"},
		"opaque for none":          {opaque(files("d/a", "f"), "d"), files(), [2][]layer{{files("d", "f")}, {files("b", "f")}}, "./@0 d/@0 d/a@0"},
		"whiteout within opaque":   {files("d/a", "w"), opaque(files("d/a", "f"), "d"), [2][]layer{{files("d/a", "f")}, {files("b", "f")}}, "./@0 d/!@0"},
		"whiteout of a directory":  {files("d", "w"), files(), [2][]layer{{files("d/a", "f")}, {files("b", "f")}}, "./@0 -d@0"},
		"recreated, for one":       {files("d/a", "f"), files("d", "w"), [2][]layer{{files("b", "f")}, {files("d/b", "f")}}, "./@0 d/!@0 (d/a@0)"},
		"hidden in one by its own": {files("d/a", "w"), files(), [2][]layer{{files("d/a", "f")}, {files("d/a", "w"), files("d/a", "f")}}, "./@0 d/@0 -d/a@0"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			nodes := buildStack(t, c.upper, c.lower)
			below := []Stack{buildStack(t, c.below[0]...), buildStack(t, c.below[1]...)}
			dst := t.TempDir()
			err := Merge(t.Context(), nodes[0], nodes[1], below, dst)
			if c.want == "" {
				if !errors.Is(err, ErrViewsDiffer) {
					t.Errorf("Merge: %v", err)
				}
				return
			}
			check(t, err)
			if got := changes(t, openView(t, dst)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			for _, b := range below {
				sameView(t, slices.Concat(nodes, b), slices.Concat(Stack{dst}, b))
			}
		})
	}
}

// Property: a merged node serves each of the views, or there is a whiteout that one needs and another would show.
func TestMergeForSeveralViewsKeepsThem(t *testing.T) {
	inTemp(t, func(t *rapid.T, dir string) {
		stack := genStack(t, dir, 4, 6)
		for _, node := range stack {
			check(t, Seal(testContext(), node))
		}
		nodes, below := stack[:2], []Stack{stack[2:3], stack[3:]}
		dst := dir + "/merged"
		check(t, os.Mkdir(dst, 0o755))
		err := Merge(testContext(), nodes[0], nodes[1], below, dst)
		if errors.Is(err, ErrViewsDiffer) {
			if !whiteoutShows(t, nodes, below) {
				t.Errorf("Merge: %v", err)
			}
			return
		}
		check(t, err)
		if whiteoutShows(t, nodes, below) {
			t.Errorf("a whiteout shows in one of the views")
		}
		marksHide(t, dst, below)
		for _, b := range below {
			sameView(t, slices.Concat(nodes, b), slices.Concat(Stack{dst}, b))
		}
	})
}

// whiteoutShows reports whether the nodes have a whiteout that hides something in one of the views, while its directory does
// not merge in another one.
func whiteoutShows(t failer, nodes Stack, below []Stack) bool {
	t.Helper()
	var kinds []map[string]Kind
	for _, stack := range below {
		kinds = append(kinds, paths(t, stack))
	}
	v, err := Open(nodes)
	check(t, err)
	defer v.Close()
	shows := false
	check(t, v.Walk(testContext(), func(c Change) error {
		dir, _ := splitPath(c.Path)
		if c.Deleted && !c.Covered {
			needed := kinds[0][c.Path] != 0 || kinds[1][c.Path] != 0
			shows = shows || needed && (kinds[0][dir] != Directory || kinds[1][dir] != Directory)
		}
		return nil
	}))
	return shows
}

func TestMergeLinks(t *testing.T) {
	stack := buildStack(t, files("a", "f1", "a2", "ha", "l", "lx", "p", "p"), files("b", "f2"))
	dst := t.TempDir()
	check(t, Merge(t.Context(), stack[0], stack[1], []Stack{nil}, dst))
	for path, from := range map[string]string{
		"a": stack[0] + "/a", "a2": stack[0] + "/a", "l": stack[0] + "/l", "p": stack[0] + "/p", "b": stack[1] + "/b",
	} {
		var x, y unix.Stat_t
		check(t, errors.Join(unix.Lstat(dst+"/"+path, &x), unix.Lstat(from, &y)))
		if x.Ino != y.Ino || x.Dev != y.Dev {
			t.Errorf("%s is not a link to %s", path, from)
		}
	}
}

// On another file system files are copied, and their names stay together.
func TestMergeAcross(t *testing.T) {
	stack := buildStack(t, files("a", "f1", "a2", "ha", "l", "lx", "p", "p", "d/w", "w"), files("d/b", "f2", "d/w", "f", "d/a3", "d"))
	dst := tmpfs(t)
	check(t, Merge(t.Context(), stack[0], stack[1], []Stack{nil}, dst))
	diffs, err := Compare(t.Context(), stack, Stack{dst})
	if err != nil || len(diffs) > 0 {
		t.Errorf("Compare: %v, %v", diffs, err)
	}
}

// A file that can have no more names is copied, and all its names in the node become names of the copy.
func TestMergeTooManyLinks(t *testing.T) {
	stack := buildStack(t, files("n/a", "f1", "n/b", "hn/a", "n/c", "hn/a"), files("z", "f2"))
	many := t.TempDir()
	var err error
	for i := 0; err == nil; i++ {
		if i == 1<<17 {
			t.Skip("this file system lets a file have very many names")
		}
		err = os.Link(stack[0]+"/n/a", fmt.Sprintf("%s/%d", many, i))
	}
	if !errors.Is(err, unix.EMLINK) {
		t.Fatal(err)
	}
	check(t, os.Remove(many+"/0")) // so that the first name can still be linked, and the second one cannot
	dst := t.TempDir()
	check(t, Merge(t.Context(), stack[0], stack[1], []Stack{nil}, dst))
	diffs, err := Compare(t.Context(), stack, Stack{dst})
	if err != nil || len(diffs) > 0 {
		t.Errorf("Compare: %v, %v", diffs, err)
	}
}

func TestMergeErrors(t *testing.T) {
	stack := buildStack(t, files("a", "f1"), files("b", "f2").with("d", "d", attrRedirect, "e"))
	var refused *RefusedError
	if err := Merge(t.Context(), stack[0], stack[1], []Stack{nil}, t.TempDir()); !errors.As(err, &refused) {
		t.Errorf("redirect: %v", err)
	}
	if err := Merge(t.Context(), stack[0], stack[0], []Stack{nil}, stack[1]); !errors.Is(err, unix.ENOTEMPTY) {
		t.Errorf("into something: %v", err)
	}
	for _, dirs := range [][4]string{
		{"none", stack[0], stack[0], t.TempDir()}, {stack[0], "none", stack[0], t.TempDir()},
		{stack[0], stack[0], "none", t.TempDir()}, {stack[0], stack[0], stack[0], "none"},
	} {
		if err := Merge(t.Context(), dirs[0], dirs[1], []Stack{{dirs[2]}}, dirs[3]); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%v: %v", dirs, err)
		}
	}
}
