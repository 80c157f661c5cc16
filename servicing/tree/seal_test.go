// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What real use of an overlay leaves behind is stripped; what was made by the user stays.
func TestSealUpper(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	lower, upper := filepath.Join(dir, "lower"), filepath.Join(dir, "upper")
	for _, d := range []string{lower, upper, dir + "/work", dir + "/mnt"} {
		check(t, os.Mkdir(d, 0o755))
	}
	files("d/f", "f1", "d/g", "f2", "r/old", "f3", "gone", "f4").build(t, lower)
	mnt := dir + "/mnt"
	check(t, unix.Mount("overlay", mnt, "overlay", 0, "index=off,lowerdir="+lower+",upperdir="+upper+",workdir="+dir+"/work"))
	func() {
		defer func() { check(t, unix.Unmount(mnt, 0)) }()
		check(t, os.WriteFile(mnt+"/d/f", []byte("changed"), 0o644))
		check(t, os.Remove(mnt+"/gone"))
		check(t, os.RemoveAll(mnt+"/r"))
		check(t, os.Mkdir(mnt+"/r", 0o755))
		check(t, unix.Setxattr(mnt+"/d/f", "user.mine", []byte("1"), 0))
		check(t, unix.Setxattr(mnt+"/d/f", "trusted.overlay.mine", []byte("2"), 0)) // is stored escaped
		check(t, unix.Setxattr(mnt+"/d", "trusted.overlay.redirect", []byte("3"), 0))
	}()
	if got := realXattrs(t, upper+"/d/f"); got == `trusted.overlay.overlay.mine="2" user.mine="1"` {
		t.Fatal("there is nothing to strip: the test tests nothing")
	}
	for range 2 { // the second time changes nothing
		check(t, Seal(t.Context(), upper))
		for path, want := range map[string]string{
			".": "", "d": `trusted.overlay.overlay.redirect="3"`, "d/f": `trusted.overlay.overlay.mine="2" user.mine="1"`,
			"r": `trusted.overlay.opaque="y"`, "gone": "",
		} {
			if got := realXattrs(t, upper+"/"+path); got != want {
				t.Errorf("%s has %s, want %s", path, got, want)
			}
		}
	}
	if got := changes(t, openView(t, upper)); got != "./@0 d/@0 d/f@0 -gone@0 r/!@0" {
		t.Errorf("the sealed node says %s", got)
	}
}

func TestSealXattrs(t *testing.T) {
	cases := map[string]treatment{
		"trusted.overlay.origin": stripped, "trusted.overlay.impure": stripped, "trusted.overlay.uuid": stripped,
		"trusted.overlay.nlink": stripped, "trusted.overlay.upper": stripped, "user.overlay.origin": stripped,
		"user.overlay.impure": stripped, "user.overlay.uuid": stripped, "user.overlay.nlink": stripped,
		"user.overlay.upper": stripped, "trusted.overlay.opaque": kept, "trusted.overlay.whiteout": kept,
		"user.overlay.opaque": kept, "user.overlay.whiteout": kept, "trusted.overlay.overlay.redirect": kept,
		"trusted.overlay.overlay.overlay.x": kept, "user.overlay.overlay.metacopy": kept, "user.overlayx": kept,
		"user.origin": kept, "trusted.origin": kept, "security.capability": kept,
		"trusted.overlay.redirect": refused, "trusted.overlay.metacopy": refused, "trusted.overlay.protattr": refused, // the value is none of overlayfs
		"trusted.overlay.new": refused, "user.overlay.redirect": kept, "user.overlay.metacopy": kept,
		"user.overlay.protattr": kept, "user.overlay.new": kept,
	}
	for attr, want := range cases {
		t.Run(attr, func(t *testing.T) {
			value := "y"
			if attr == "security.capability" {
				value = capability()
			}
			l := files("d/a", "f1").with("d/e/f", "fx", attr, value).with("a", "f", "trusted.overlay.origin", "")
			if want == refused {
				l["d/e/f"].Xattrs["trusted.overlay.origin"] = ""
			}
			dir := buildStack(t, l)[0]
			err := Seal(t.Context(), dir)
			var re *RefusedError
			if errors.As(err, &re) != (want == refused) || err != nil && want != refused {
				t.Fatalf("Seal: %v", err)
			}
			if want == refused && (re.Path != "d/e/f" || re.Xattr != attr) {
				t.Errorf("refused: %+v", re)
			}
			_, err = unix.Getxattr(dir+"/d/e/f", attr, nil)
			if (err != nil) != (want == stripped) {
				t.Errorf("afterwards: %v", err)
			}
			if _, err = unix.Getxattr(dir+"/a", "trusted.overlay.origin", nil); (err == nil) != (want == refused) {
				t.Errorf("another file's origin: %v; nothing may be changed when something is refused", err)
			}
		})
	}
}

// All kinds of files are sealed, on each level, and nothing else about them changes.
func TestSealKinds(t *testing.T) {
	attrs := map[string]string{"trusted.overlay.origin": "", "trusted.k": "v"}
	l := make(layer)
	for path, what := range map[string]string{
		".": "d", "f": "f1", "d": "d", "d/d": "d", "d/d/l": "l/etc/passwd", "d/p": "p", "s": "s", "b": "b", "c": "c",
		"odd\n\xff": "f2",
	} {
		l[path] = item{What: what, Xattrs: attrs, Mtime: 1234567890123456789, Mode: 0o751, UID: 3}
	}
	dir := buildStack(t, l)[0]
	want := readTree(t, dir)
	for path, f := range want {
		f.Xattrs = `trusted.k="v"`
		want[path] = f
	}
	check(t, Seal(t.Context(), dir))
	sameFacts(t, "sealed", readTree(t, dir), want)
}

func TestSealCancelled(t *testing.T) {
	dir := buildStack(t, files("a", "f"))[0]
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Seal(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("Seal: %v", err)
	}
	if err := Seal(t.Context(), dir+"/none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Seal of nothing: %v", err)
	}
}

func TestUsage(t *testing.T) {
	l := files("d/a", "f", "d/b", "hd/a", "w", "w", "l", "ld", "p", "p")
	l["d/a"] = item{What: "f" + string(make([]byte, 10000))}
	dir := buildStack(t, l)[0]
	check(t, os.WriteFile(dir+"/sparse", nil, 0o644))
	check(t, os.Truncate(dir+"/sparse", 1<<30))
	size, inodes, err := Usage(t.Context(), dir)
	check(t, err)
	if inodes != 7 { // ., d, d/a with d/b, w, l, p, sparse
		t.Errorf("inodes = %d", inodes)
	}
	var want int64
	for _, path := range []string{".", "d", "d/a", "w", "l", "p", "sparse"} {
		var st unix.Stat_t
		check(t, unix.Lstat(dir+"/"+path, &st))
		want += st.Blocks * 512
	}
	if size != want || size < 10000 || size > 1<<20 {
		t.Errorf("size = %d, want %d", size, want)
	}
	if _, _, err := Usage(t.Context(), dir+"/none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Usage of nothing: %v", err)
	}
}
