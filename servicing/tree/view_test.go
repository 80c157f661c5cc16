// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// buildStack builds layers, the topmost first.
func buildStack(t *testing.T, layers ...layer) Stack {
	t.Helper()
	needRoot(t)
	stack := makeDirs(t, t.TempDir(), len(layers))
	for i, l := range layers {
		l.build(t, stack[i])
	}
	return stack
}

// Each case names what is shown, as path=content, in order. The kernel must agree.
func TestViewSemantics(t *testing.T) {
	opaque := func(l layer, path, value string) layer { return l.with(path, "d", attrOpaque, value) }
	cases := map[string]struct {
		layers []layer
		want   string
	}{
		"one layer":              {[]layer{files("a", "f1", "d/b", "f2")}, "a=1 d/ d/b=2"},
		"upper file wins":        {[]layer{files("a", "f1"), files("a", "f2")}, "a=1"},
		"directories merge":      {[]layer{files("d/a", "f1"), files("d/b", "f2"), files("d/c", "f3")}, "d/ d/a=1 d/b=2 d/c=3"},
		"whiteout":               {[]layer{files("a", "w"), files("a", "f1", "b", "f2")}, "b=2"},
		"whiteout of directory":  {[]layer{files("d", "w"), files("d/a", "f1")}, ""},
		"whiteout in directory":  {[]layer{files("d/a", "w"), files("d/a", "f1", "d/b", "f2")}, "d/ d/b=2"},
		"second form":            {[]layer{opaque(files("d/a", "x"), "d", "x"), files("d/a", "f1", "d/b", "f2")}, "d/ d/b=2"},
		"second form, unmarked":  {[]layer{files("d/a", "x"), files("d/a", "f1", "d/b", "f2")}, "d/ d/b=2"},
		"second form, with data": {[]layer{files("a", "f1").with("a", "f1", attrWhiteout, ""), files("a", "f2")}, "a=1"},
		"second form on symlink": {[]layer{files().with("a", "lx", attrWhiteout, ""), files("a", "f2")}, "a->x"},
		"opaque":                 {[]layer{opaque(files("d/a", "f1"), "d", "y"), files("d/b", "f2")}, "d/ d/a=1"},
		"opaque in the middle": {
			[]layer{files("d/a", "f1"), opaque(files("d/b", "f2"), "d", "y"), files("d/c", "f3")}, "d/ d/a=1 d/b=2",
		},
		"opaque x is not opaque":  {[]layer{opaque(files("d/a", "f1"), "d", "x"), files("d/b", "f2")}, "d/ d/a=1 d/b=2"},
		"opaque n is not opaque":  {[]layer{opaque(files("d/a", "f1"), "d", "n"), files("d/b", "f2")}, "d/ d/a=1 d/b=2"},
		"opaque yes is not":       {[]layer{opaque(files("d/a", "f1"), "d", "yes"), files("d/b", "f2")}, "d/ d/a=1 d/b=2"},
		"opaque root is not":      {[]layer{opaque(files("a", "f1"), ".", "y"), files("b", "f2")}, "a=1 b=2"},
		"user.overlay.opaque":     {[]layer{files("d/a", "f1").with("d", "d", "user.overlay.opaque", "y"), files("d/b", "f2")}, "d/ d/a=1 d/b=2"},
		"escaped opaque":          {[]layer{files("d/a", "f1").with("d", "d", "trusted.overlay.overlay.opaque", "y"), files("d/b", "f2")}, "d/ d/a=1 d/b=2"},
		"file over directory":     {[]layer{files("d", "f1"), files("d/a", "f2")}, "d=1"},
		"symlink over directory":  {[]layer{files("d", "l.."), files("d/a", "f2")}, "d->.."},
		"directory over file":     {[]layer{files("d/a", "f1"), files("d", "f2"), files("d/b", "f3")}, "d/ d/a=1"},
		"directory over whiteout": {[]layer{files("d/a", "f1"), files("d", "w"), files("d/b", "f3")}, "d/ d/a=1"},
		"file over whiteout":      {[]layer{files("a", "f1"), files("a", "w"), files("a", "f3")}, "a=1"},
		"whiteout at the bottom":  {[]layer{files("a", "f1"), files("b", "w", "d/c", "w")}, "a=1 d/"},
		"parent hidden":           {[]layer{files("d/e", "w"), files("d/e/f", "f1"), files("d/e/g", "f2", "d/h", "f3")}, "d/ d/h=3"},
		"other device is none":    {[]layer{files("a", "c"), files("a", "f1")}, "a:character device"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			stack := buildStack(t, c.layers...)
			v := openView(t, stack...)
			if got := summary(t, v); got != c.want {
				t.Errorf("shown: %s\n want: %s", got, c.want)
			}
			mount, release := mountOverlay(t, stack, t.TempDir())
			defer release()
			sameFacts(t, "against the kernel", readView(t, v), readTree(t, mount))
		})
	}
}

func summary(t *testing.T, v *View) string {
	t.Helper()
	var list []string
	check(t, v.Tree(t.Context(), func(e Entry) error {
		switch {
		case e.Path == root:
		case e.Kind == Directory:
			list = append(list, e.Path+"/")
		case e.Kind == Symlink:
			list = append(list, e.Path+"->"+e.Link)
		case e.Kind == Regular:
			content, err := v.ReadFile(e.Path, 100)
			check(t, err)
			list = append(list, fmt.Sprintf("%s=%s", e.Path, content))
		default:
			list = append(list, fmt.Sprintf("%s:%s", e.Path, e.Kind))
		}
		return nil
	}))
	return strings.Join(list, " ")
}

// Extended attributes are shown by the names that the kernel shows, with overlayfs's own left out.
func TestXattrNames(t *testing.T) {
	attrs := map[string]string{}
	for _, name := range []string{
		"trusted.overlay.overlay.opaque", "trusted.overlay.overlay.overlay.opaque", "trusted.overlay.overlayx",
		"trusted.overlay.overlay", "trusted.overlay.unknown", "trusted.overlay.origin", "trusted.overlayx", "trusted.x",
		"user.overlay.opaque", "user.overlay.overlay.opaque", "user.x", "security.x",
	} {
		attrs[name] = "y"
	}
	stack := buildStack(t, layer{"f": item{What: "fcontent", Xattrs: attrs}, "d": item{What: "d", Xattrs: attrs}})
	mount, release := mountOverlay(t, stack, t.TempDir())
	defer release()
	sameFacts(t, "against the kernel", readView(t, openView(t, stack...)), readTree(t, mount))
}

func TestShownNames(t *testing.T) {
	for shown, stored := range map[string]string{
		"user.x": "user.x", "trusted.overlay.x": "trusted.overlay.overlay.x", "trusted.overlayx": "trusted.overlayx",
		"trusted.overlay.overlay.x": "trusted.overlay.overlay.overlay.x", "user.overlay.x": "user.overlay.x",
	} {
		if got := storedName(shown); got != stored {
			t.Errorf("storedName(%q) = %q, want %q", shown, got, stored)
		}
		if got, ok := shownName(stored); !ok || got != shown {
			t.Errorf("shownName(%q) = %q, %v, want %q", stored, got, ok, shown)
		}
	}
}

func TestLookup(t *testing.T) {
	stack := buildStack(t,
		files("d/up", "f1", "d/gone", "w", "link", "ld", "fifo", "p"),
		files("d/low", "f22", "d/gone", "f3", "dev", "b"),
	)
	v := openView(t, stack...)
	cases := map[string]struct {
		err error
		e   Entry
	}{
		".":                             {e: Entry{Kind: Directory, Layer: 0}},
		"d":                             {e: Entry{Kind: Directory, Layer: 0}},
		"d/up":                          {e: Entry{Kind: Regular, Layer: 0, Size: 1}},
		"d/low":                         {e: Entry{Kind: Regular, Layer: 1, Size: 2}},
		"link":                          {e: Entry{Kind: Symlink, Layer: 0, Link: "d", Size: 1}},
		"fifo":                          {e: Entry{Kind: FIFO, Layer: 0}},
		"dev":                           {e: Entry{Kind: BlockDevice, Layer: 1, Rdev: unix.Mkdev(259, 70000)}},
		"d/gone":                        {err: fs.ErrNotExist},
		"d/none":                        {err: fs.ErrNotExist},
		"none/none":                     {err: fs.ErrNotExist},
		"d/up/below/a/file":             {err: fs.ErrNotExist},
		"link/up":                       {err: fs.ErrNotExist},
		strings.Repeat("n", 256):        {err: fs.ErrNotExist},
		"d/" + strings.Repeat("n", 999): {err: fs.ErrNotExist},
		"":                              {err: fs.ErrInvalid},
		"..":                            {err: fs.ErrInvalid},
		"d/../d":                        {err: fs.ErrInvalid},
		"./d":                           {err: fs.ErrInvalid},
		"/d":                            {err: fs.ErrInvalid},
		"d/":                            {err: fs.ErrInvalid},
		"d//up":                         {err: fs.ErrInvalid},
		"d\x00":                         {err: fs.ErrInvalid},
	}
	for path, c := range cases {
		for range 2 { // the second time from memory
			e, err := v.Lookup(path)
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Errorf("Lookup(%.20q): %v, want %v", path, err, c.err)
			}
			if err != nil {
				continue
			}
			got := Entry{Kind: e.Kind, Layer: e.Layer, Size: e.Size, Link: e.Link, Rdev: e.Rdev}
			if fmt.Sprint(got) != fmt.Sprint(c.e) || e.Path != path || e.Ino == 0 || e.Nlink == 0 {
				t.Errorf("Lookup(%q) = %+v, want %+v", path, e, c.e)
			}
		}
	}
}

func TestReadDir(t *testing.T) {
	v := openView(t, buildStack(t, files("d/b", "f", "d/x", "w", "d/y", "x"), files("d/a", "f", "d/x", "f", "f", "f"))...)
	got, err := v.ReadDir("d")
	check(t, err)
	if !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("ReadDir(d) = %q", got)
	}
	for path, want := range map[string]error{"f": unix.ENOTDIR, "f/g": fs.ErrNotExist, "d/x": fs.ErrNotExist} {
		if _, err := v.ReadDir(path); !errors.Is(err, want) {
			t.Errorf("ReadDir(%q): %v, want %v", path, err, want)
		}
	}
}

func TestReadFile(t *testing.T) {
	v := openView(t, buildStack(t, files("f", "f12345", "l", "lf", "p", "p", "c", "c", "s", "s", "d", "d"))...)
	for limit, want := range map[int64]error{4: ErrTooLarge, 5: nil, 6: nil} {
		content, err := v.ReadFile("f", limit)
		if !errors.Is(err, want) || err == nil && string(content) != "12345" {
			t.Errorf("ReadFile with limit %d: %q, %v", limit, content, err)
		}
	}
	for _, path := range []string{"l", "p", "c", "s", "d"} { // none of them may block either
		if _, err := v.ReadFile(path, 10); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("ReadFile(%q): %v", path, err)
		}
		if _, err := v.OpenFile(path); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("OpenFile(%q): %v", path, err)
		}
	}
	if _, err := v.OpenFile("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenFile(none): %v", err)
	}
}

// An entry whose file was replaced is not taken for the new one.
func TestOpenEntryReplaced(t *testing.T) {
	stack := buildStack(t, files("f", "f1", "g", "f2"))
	v := openView(t, stack...)
	e, err := v.Lookup("f")
	check(t, err)
	check(t, os.Rename(stack[0]+"/g", stack[0]+"/f"))
	if _, err := v.OpenEntry(e); err == nil {
		t.Error("another file was opened")
	}
	check(t, os.Remove(stack[0]+"/f"))
	check(t, unix.Mknod(stack[0]+"/f", unix.S_IFIFO|0o600, 0))
	if _, err := v.OpenEntry(e); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a FIFO in place of a file: %v", err)
	}
}

func TestEmptyStack(t *testing.T) {
	v := openView(t)
	e, err := v.Lookup(root)
	if err != nil || e.Kind != Directory {
		t.Errorf("Lookup(.) = %+v, %v", e, err)
	}
	if names, err := v.ReadDir(root); err != nil || len(names) > 0 {
		t.Errorf("ReadDir(.) = %q, %v", names, err)
	}
	if _, err := v.Lookup("a/b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Lookup(a/b): %v", err)
	}
	if got := summary(t, v); got != "" {
		t.Errorf("shown: %s", got)
	}
}

func TestOpenMissing(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(Stack{dir, dir + "/none"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open: %v", err)
	}
}

// What the kernel refuses to show with the mount options of molt is refused, not misread.
func TestViewRefuses(t *testing.T) {
	needRoot(t)
	for name, c := range map[string]struct {
		upper layer
		path  string
	}{
		"redirect": {files("d/a", "f1").with("d", "d", attrRedirect, "e"), "d"},
		"metacopy": {files().with("f", "fxx", attrMetacopy, ""), "f"},
	} {
		stack := buildStack(t, c.upper, files("d/b", "f2", "f", "fyy", "e/c", "f3"))
		v := openView(t, stack...)
		_, err := v.Lookup(c.path)
		var refused *RefusedError
		if !errors.As(err, &refused) || refused.Path != c.path {
			t.Errorf("%s: Lookup: %v", name, err)
		}
		if err := v.Walk(t.Context(), func(Change) error { return nil }); !errors.As(err, &refused) {
			t.Errorf("%s: Walk: %v", name, err)
		}
		mount, release := mountOverlay(t, stack, t.TempDir())
		if _, err := os.Stat(mount + "/" + c.path); !errors.Is(err, unix.EPERM) {
			t.Errorf("%s: the kernel says %v", name, err)
		}
		release()
	}
	v := openView(t, buildStack(t, files("d/a", "f1").with("d", "d", attrRedirect, "e"))...)
	if _, err := v.Lookup("d/a"); err == nil {
		t.Error("something was shown in a redirected directory")
	}
}
