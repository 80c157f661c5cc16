// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// differences writes down what Compare found, on one line.
func differences(t *testing.T, o CompareOptions, a, b Stack) string {
	t.Helper()
	diffs, err := o.Compare(t.Context(), a, b)
	check(t, err)
	var list []string
	for _, d := range diffs {
		list = append(list, d.String())
	}
	return strings.Join(list, "; ")
}

// Each case is one layer, another one, and what Compare says; the directories of both are the same.
func TestCompare(t *testing.T) {
	file := func(i item) layer { return layer{"d": {What: "d"}, "d/f": i} }
	xattr := func(name, value string) item { return item{What: "f1", Xattrs: map[string]string{name: value}} }
	cases := map[string]struct {
		a, b layer
		want string
	}{
		"same":       {files("d/f", "f1", "l", "lx", "p", "p"), files("d/f", "f1", "l", "lx", "p", "p"), ``},
		"content":    {file(item{What: "f1"}), file(item{What: "f2"}), `"d/f": content`},
		"size":       {file(item{What: "f1"}), file(item{What: "f22"}), `"d/f": content`},
		"target":     {file(item{What: "lx"}), file(item{What: "ly"}), `"d/f": content`},
		"device":     {layer{"f": {What: "c"}}, layer{"f": {What: "b"}}, `"f": character device != block device`},
		"kind":       {file(item{What: "f1", UID: 3}), file(item{What: "lx"}), `"d/f": regular file != symbolic link`},
		"mode":       {file(item{What: "f1", Mode: 0o4755}), file(item{What: "f1", Mode: 0o755}), `"d/f": mode 4755 != 755`},
		"owner":      {file(item{What: "f1", UID: 1}), file(item{What: "f1", UID: 2}), `"d/f": owner 1:1 != 2:2`},
		"mtime":      {file(item{What: "f1", Mtime: 1e18 + 1}), file(item{What: "f1", Mtime: 1e18 + 2}), `"d/f": mtime 1000000000.000000001 != 1000000000.000000002`},
		"of symlink": {file(item{What: "lx", Mtime: 1}), file(item{What: "lx", Mtime: 2}), `"d/f": mtime 0.000000001 != 0.000000002`},
		"of device":  {file(item{What: "c", Mtime: 1}), file(item{What: "c", Mtime: 2}), `"d/f": mtime 0.000000001 != 0.000000002`},
		"of directory": {
			layer{"d": {What: "d", Mtime: 1}}, layer{"d": {What: "d", Mtime: 2}}, `"d": mtime 0.000000001 != 0.000000002`,
		},
		"xattr value":   {file(xattr("user.x", "1")), file(xattr("user.x", "2")), `"d/f": xattr user.x`},
		"xattr missing": {file(xattr("user.x", "")), file(item{What: "f1"}), `"d/f": xattr user.x`},
		"xattr added":   {file(item{What: "f1"}), file(xattr("trusted.x", "")), `"d/f": xattr trusted.x`},
		"capability":    {file(xattr("security.capability", capability())), file(item{What: "f1"}), `"d/f": xattr security.capability`},
		"ACL": {
			file(xattr(attrAccessACL, acl(1))), file(xattr(attrAccessACL, acl(2))), `"d/f": xattr system.posix_acl_access`,
		},
		"own xattr":  {file(xattr("trusted.overlay.origin", "")), file(item{What: "f1"}), ``},
		"missing":    {files("a/b", "f", "a/c", "f", "e", "f"), files("e", "f"), `"a": only in the first; "a/b": only in the first; "a/c": only in the first`},
		"additional": {files("e", "f"), files("e", "f", "e-", "f"), `"e-": only in the second`},
		"directory and file": {
			files("a/b", "f"), files("a", "f"), `"a": directory != regular file; "a/b": only in the first`,
		},
		"links": {
			files("a", "f1", "b", "ha", "c", "f1"), files("a", "f1", "b", "f1", "c", "ha"),
			`"b": hard links: with "a" != with "b"; "c": hard links: with "c" != with "a"`,
		},
		"links of other names": {files("a", "f1", "b", "ha", "c", "ha"), files("b", "f1", "c", "hb"), `"a": only in the first`},
		"links of symlinks":    {files("a", "lx", "b", "ha"), files("a", "lx", "b", "lx"), `"b": hard links: with "a" != with "b"`},
		"links that are gone":  {files("a", "f1", "b", "ha", "b2", "hb"), files("a", "f1", "b", "ha", "b2", "hb"), ``},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for _, l := range []layer{c.a, c.b} { // the times of directories that are not part of the case
				fixDirs(l)
			}
			stack := buildStack(t, c.a, c.b)
			if got := differences(t, CompareOptions{}, stack[:1], stack[1:]); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// fixDirs names all directories of a layer, so that their times are set.
func fixDirs(l layer) {
	l[root] = item{What: "d"}
	for path := range l {
		for path != root {
			if path, _ = splitPath(path); l[path].What == "" {
				l[path] = item{What: "d"}
			}
		}
	}
}

func TestCompareOptions(t *testing.T) {
	a := layer{".": {What: "d", Mtime: 1}, "d": {What: "d", Mtime: 1}, "d/f": {What: "f1"}, "e": {What: "f1", Mtime: 1}}
	b := layer{".": {What: "d", Mtime: 2}, "d": {What: "d", Mtime: 2}, "d/f": {What: "f2"}, "e": {What: "f1", Mtime: 2}}
	stack := buildStack(t, a, b)
	none := CompareOptions{IgnoreDirectoryTimes: true}
	if got := differences(t, none, stack[:1], stack[1:]); got != `"d/f": content; "e": mtime 0.000000001 != 0.000000002` {
		t.Errorf("without times of directories: %s", got)
	}
	some := CompareOptions{Skip: func(path string) bool { return path == "d" }}
	want := `".": mtime 0.000000001 != 0.000000002; "e": mtime 0.000000001 != 0.000000002`
	if got := differences(t, some, stack[:1], stack[1:]); got != want {
		t.Errorf("without d: %s", got)
	}
	some.Skip = func(path string) bool { return path == "e" || path == "d/f" || path == root }
	if got := differences(t, some, stack[:1], stack[1:]); got != "" {
		t.Errorf("without all: %s", got)
	}
}

func TestCompareErrors(t *testing.T) {
	stack := buildStack(t, files("a", "f1"), files("d/a", "f1").with("d", "d", attrRedirect, "e"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Compare(ctx, stack[:1], stack[:1]); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	var refused *RefusedError
	if _, err := Compare(t.Context(), stack[:1], stack[1:]); !errors.As(err, &refused) {
		t.Errorf("redirect: %v", err)
	}
	for _, s := range [][2]Stack{{{"none"}, stack}, {stack, {"none"}}} {
		if _, err := Compare(t.Context(), s[0], s[1]); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("missing: %v", err)
		}
	}
}

// Property: Compare finds a difference exactly if reading both trees finds one, however small it is.
func TestCompareFindsWhatDiffers(t *testing.T) {
	inTemp(t, func(t *rapid.T, dir string) {
		dirs := makeDirs(t, dir, 2)
		l := genLayer(t, "layer")
		fixDirs(l)
		l.build(t, dirs[0])
		changed := maps.Clone(l)
		path := rapid.SampledFrom(slices.Sorted(maps.Keys(l))).Draw(t, "path")
		changed[path] = genChange(t, l[path])
		changed.build(t, dirs[1])
		t.Logf("%q: %+v became %+v", path, l[path], changed[path])

		diffs, err := Compare(testContext(), dirs[:1], dirs[1:])
		if same := maps.Equal(readStack(t, dirs[0]), readStack(t, dirs[1])); err != nil || (len(diffs) == 0) != same {
			t.Errorf("Compare: %v, %v, but the same: %v", diffs, err, same)
		}
	})
}

// genChange changes one thing about an item, or nothing.
func genChange(t *rapid.T, i item) item {
	switch rapid.IntRange(0, 5).Draw(t, "change") {
	case 0:
		i.Mode ^= 0o7
	case 1:
		i.UID++
	case 2:
		i.Mtime++
	case 3:
		if i.What[0] == 'f' || i.What[0] == 'l' {
			i.What += "x"
		}
	case 4:
		i.Xattrs = maps.Clone(i.Xattrs)
		if i.Xattrs == nil {
			i.Xattrs = make(map[string]string)
		}
		i.Xattrs["trusted.z"] = ""
	}
	return i
}
