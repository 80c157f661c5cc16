// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

var someMeta = Meta{
	Mode: 0o640, UID: 7, GID: 8, Mtime: unix.Timespec{Sec: 1234567890, Nsec: 123456789},
	Xattrs: map[string]Value{"trusted.k": NewValue([]byte("v")), "trusted.overlay.opaque": NewValue([]byte("y"))},
}

func meta(mode uint32) Meta {
	m := someMeta
	m.Mode = mode
	return m
}

func newWriter(t *testing.T) (*Writer, string) {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	w, err := NewWriter(dir)
	check(t, err)
	return w, dir
}

func TestWriter(t *testing.T) {
	w, dir := newWriter(t)
	check(t, w.Mkdir(root, meta(0o2751)))
	check(t, w.Mkdir("d", meta(0o1777)))
	check(t, w.Mkdir("d/e", meta(0o000)))
	check(t, w.WriteFile("d/e/f", meta(0o6755), strings.NewReader("content")))
	check(t, w.Symlink("d/l", "/etc/passwd", someMeta))
	check(t, w.Link("d/e/f", "f2"))
	check(t, w.Link("d/l", "l2"))
	check(t, w.Whiteout("d/w"))
	check(t, w.Opaque("d"))
	check(t, w.Close())

	attrs := `trusted.k="v" trusted.overlay.overlay.opaque="y"`
	want := map[string]fact{
		".":     {Format: unix.S_IFDIR, Mode: 0o2751, Xattrs: attrs},
		"d":     {Format: unix.S_IFDIR, Mode: 0o1777, Xattrs: attrs[:14] + `trusted.overlay.opaque="y" ` + attrs[14:]},
		"d/e":   {Format: unix.S_IFDIR, Mode: 0, Xattrs: attrs},
		"d/e/f": {Format: unix.S_IFREG, Mode: 0o6755, Content: "content", Xattrs: attrs},
		"d/l":   {Format: unix.S_IFLNK, Mode: 0o777, Content: "/etc/passwd", Xattrs: attrs},
		"d/w":   {Format: unix.S_IFCHR},
	}
	for path, f := range want {
		f.UID, f.GID, f.Mtime, f.Links = 7, 8, someMeta.Mtime, path
		want[path] = f
	}
	want["f2"], want["l2"] = want["d/e/f"], want["d/l"]
	got := readTree(t, dir)
	w0 := want["d/w"]
	w0.UID, w0.GID, w0.Mtime, w0.Xattrs = 0, 0, got["d/w"].Mtime, ""
	want["d/w"] = w0
	d := want["d"]
	d.Xattrs = `trusted.k="v" trusted.overlay.opaque="y" trusted.overlay.overlay.opaque="y"`
	want["d"] = d
	sameFacts(t, "written", got, want)
}

func TestWriterRefuses(t *testing.T) {
	w, dir := newWriter(t)
	check(t, w.Mkdir("d", someMeta))
	check(t, w.WriteFile("f", someMeta, strings.NewReader("")))
	check(t, w.Symlink("out", "/tmp", someMeta))
	check(t, w.Symlink("self", "d", someMeta))
	check(t, os.Mkdir(dir+"/foreign", 0o755))
	for _, path := range []string{
		"", "..", "../x", "/x", "d/../x", "d//x", "d/.", "x\x00", // not clean
		"none/x", "f/x", "out/x", "self/x", "foreign/x", "d/none/x", // no parent that was written
	} {
		for what, err := range map[string]error{
			"file": w.WriteFile(path, someMeta, strings.NewReader("")), "directory": w.Mkdir(path, someMeta),
			"symlink": w.Symlink(path, "t", someMeta), "link": w.Link("f", path), "whiteout": w.Whiteout(path),
			"opaque": w.Opaque(path),
		} {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%s %q: %v", what, path, err)
			}
		}
	}
	for what, err := range map[string]error{
		"file": w.WriteFile("d", someMeta, nil), "directory": w.Mkdir("d", someMeta), "whiteout": w.Whiteout("f"),
		"symlink": w.Symlink("f", "t", someMeta), "link": w.Link("f", "d"), "root": w.WriteFile(root, someMeta, nil),
	} {
		if !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s over something: %v", what, err)
		}
	}
	for what, err := range map[string]error{
		"opaque file": w.Opaque("f"), "opaque link": w.Opaque("self"), "opaque foreign": w.Opaque("foreign"),
	} {
		if !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, from := range []string{"out/passwd", "none", "../x"} {
		if err := w.Link(from, "x"); err == nil {
			t.Errorf("link from %q", from)
		}
	}
	check(t, w.Close())
	if err := w.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
}

func TestWriterErrors(t *testing.T) {
	dir := t.TempDir()
	check(t, os.WriteFile(dir+"/f", nil, 0o644))
	if _, err := NewWriter(dir); !errors.Is(err, unix.ENOTEMPTY) {
		t.Errorf("not empty: %v", err)
	}
	if _, err := NewWriter(dir + "/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	w, dir := newWriter(t)
	broken := errors.New("broken")
	if err := w.WriteFile("f", someMeta, brokenReader{broken}); !errors.Is(err, broken) {
		t.Errorf("broken content: %v", err)
	}
	bad := meta(0o644)
	bad.Xattrs = map[string]Value{"nonsense": {}}
	if err := w.WriteFile("g", bad, strings.NewReader("")); !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("bad attribute: %v", err)
	}
	for _, path := range []string{"d", "d/e", "d/e/x", "g"} {
		if path != "g" {
			check(t, w.Mkdir(path, someMeta))
		}
	}
	check(t, os.RemoveAll(dir+"/d"))
	err := w.Close()
	for _, path := range []string{`"/d"`, `"/d/e"`, `"/d/e/x"`} { // all of them are reported
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(fmt.Sprint(err), path+":") {
			t.Errorf("Close: %v lacks %s", err, path)
		}
	}
}

type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) { return 0, r.err }

// A default ACL is for what will be made in a directory later, not for what is written now.
func TestWriterDefaultACL(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(t.TempDir(), "w")
	check(t, os.Mkdir(dir, 0o755))
	check(t, unix.Setxattr(dir, attrDefaultACL, []byte(acl(9)), 0)) // an administrator's, to be inherited by all
	w, err := NewWriter(dir)
	check(t, err)
	m := Meta{Mode: 0o755, Xattrs: map[string]Value{attrDefaultACL: NewValue([]byte(acl(8)))}}
	check(t, w.WriteFile("f", Meta{Mode: 0o644}, strings.NewReader("")))
	check(t, w.Mkdir("d", m))
	check(t, w.Mkdir("d/e", Meta{Mode: 0o755}))
	check(t, w.WriteFile("d/f", Meta{Mode: 0o644}, strings.NewReader("")))
	check(t, w.Close())
	for path, want := range map[string]string{
		".": "", "f": "", "d/e": "", "d/f": "", "d": fmt.Sprintf("%s=%q", attrDefaultACL, acl(8)),
	} {
		if got := realXattrs(t, dir+"/"+path); got != want {
			t.Errorf("%s has %s, want %s", path, got, want)
		}
	}
}

// copyAll copies all that a view shows.
func copyAll(t failer, v *View, dir string) {
	t.Helper()
	w, err := NewWriter(dir)
	check(t, err)
	check(t, v.Tree(testContext(), func(e Entry) error { return w.Copy(v, e) }))
	check(t, w.Close())
}

// Property: a copy of a view is what the view showed.
func TestCopyIsTheOriginal(t *testing.T) {
	inTemp(t, func(t *rapid.T, dir string) {
		v, err := Open(genStack(t, dir, 1, 3))
		check(t, err)
		defer v.Close()
		copyDir := dir + "/copy"
		check(t, os.Mkdir(copyDir, 0o755))
		copyAll(t, v, copyDir)

		c, err := Open(Stack{copyDir})
		check(t, err)
		defer c.Close()
		sameFacts(t, "copied", readView(t, c), readView(t, v))
	})
}

// The metadata that was asked for is what is written; names of one file stay together only as far as it is the same.
func TestCopyChangedMeta(t *testing.T) {
	v := openView(t, buildStack(t, files("a", "fx", "b", "ha", "c", "ha", "d", "ha", "l", "lx", "m", "hl"))...)
	w, dir := newWriter(t)
	for _, path := range []string{"a", "b", "c", "d", "l", "m"} {
		e, err := v.Lookup(path)
		check(t, err)
		if path == "b" || path == "d" {
			e.Meta = someMeta
		}
		check(t, w.Copy(v, e))
	}
	e, err := v.Lookup("a")
	check(t, err)
	check(t, w.CopyAs(v, e, "elsewhere"))
	check(t, w.Close())
	got := readTree(t, dir)
	for path, want := range map[string]string{
		"a": "a", "b": "b", "c": "a", "d": "b", "l": "l", "m": "l", "elsewhere": "a",
	} {
		if got[path].Links != want {
			t.Errorf("%s is %s, want %s", path, got[path].Links, want)
		}
	}
	if got["b"].UID != 7 || got["b"].Mtime != someMeta.Mtime || got["b"].Content != "x" || got["a"].UID != 0 {
		t.Errorf("a: %v\nb: %v", got["a"], got["b"])
	}
}

// Copying to another file system, where neither links nor blocks can be shared.
func TestCopyToTmpfs(t *testing.T) {
	stack := buildStack(t, layer{
		"d/f": {What: "fcontent", Mode: 0o4755, UID: 3, Mtime: 1e18 + 1, Xattrs: map[string]string{
			"security.capability": capability(), "trusted.k": "v", "user.k": "",
		}},
		"d/g": {What: "hd/f"}, "l": {What: "lx", Mtime: 1e18 + 2, UID: 4}, "p": {What: "p", Mode: 0o600}, "s": {What: "s"},
		"b": {What: "b", Mode: 0o660}, "c": {What: "c"}, "odd\n\xff": {What: "f"},
		strings.Repeat("n", 255): {What: "f255"},
	})
	dir := tmpfs(t)
	v := openView(t, stack...)
	copyAll(t, v, dir)
	sameFacts(t, "copied", readTree(t, dir), readView(t, v))
}

// Holes stay holes, also where blocks cannot be shared; data around them is the same.
func TestCopySparse(t *testing.T) {
	needRoot(t)
	src := t.TempDir()
	f, err := os.Create(src + "/sparse")
	check(t, err)
	for _, at := range []int64{4096, 1 << 20, 1<<30 + 100} {
		_, err := f.WriteAt(fmt.Appendf(nil, "data at %d", at), at)
		check(t, err)
	}
	check(t, f.Truncate(3<<30))
	check(t, f.Close())
	check(t, os.WriteFile(src+"/hole", nil, 0o644))
	check(t, os.Truncate(src+"/hole", 1<<40))

	v := openView(t, src)
	dir := t.TempDir()
	copyAll(t, v, dir)
	for name, most := range map[string]int64{"sparse": 1 << 20, "hole": 0} {
		var a, b unix.Stat_t
		check(t, unix.Stat(src+"/"+name, &a))
		check(t, unix.Stat(dir+"/"+name, &b))
		if a.Size != b.Size || b.Blocks*512 > most {
			t.Errorf("%s: size %d, blocks %d; the original: %d, %d", name, b.Size, b.Blocks, a.Size, a.Blocks)
		}
	}
	for _, at := range []int64{4096, 1 << 20, 1<<30 + 100} {
		want := fmt.Sprintf("data at %d", at)
		buf := make([]byte, len(want))
		g, err := os.Open(dir + "/sparse")
		check(t, err)
		_, err = g.ReadAt(buf, at)
		check(t, errors.Join(err, g.Close()))
		if string(buf) != want {
			t.Errorf("at %d: %q", at, buf)
		}
	}
}

// Blocks are shared where the file system can do that.
func TestCopyReflink(t *testing.T) {
	needRoot(t)
	mkfs, err := exec.LookPath("mkfs.xfs")
	if err != nil {
		t.Skip("no mkfs.xfs")
	}
	dir := t.TempDir()
	image, mnt := dir+"/image", dir+"/mnt"
	check(t, os.WriteFile(image, nil, 0o600))
	check(t, os.Truncate(image, 512<<20))
	out, err := exec.Command(mkfs, "-q", "-m", "reflink=1", image).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	check(t, os.Mkdir(mnt, 0o755))
	out, err = exec.Command("mount", "-o", "loop", image, mnt).CombinedOutput()
	if err != nil {
		t.Skipf("no loop mounts: %s", out)
	}
	t.Cleanup(func() { check(t, unix.Unmount(mnt, 0)) }) // after the views were closed
	check(t, os.Mkdir(mnt+"/src", 0o755))
	check(t, os.Mkdir(mnt+"/dst", 0o755))
	check(t, os.WriteFile(mnt+"/src/f", []byte(strings.Repeat("molt", 16<<20)), 0o644))
	unix.Sync()
	before := freeBlocks(t, mnt)
	copyAll(t, openView(t, mnt+"/src"), mnt+"/dst")
	unix.Sync()
	if used := (before - freeBlocks(t, mnt)) * 4096; used > 8<<20 {
		t.Errorf("the copy of 64 MiB takes %d bytes", used)
	}
	same, err := Compare(t.Context(), Stack{mnt + "/src"}, Stack{mnt + "/dst"})
	if err != nil || len(same) > 0 {
		t.Errorf("%v %v", same, err)
	}
}

func freeBlocks(t *testing.T, dir string) int64 {
	t.Helper()
	var st unix.Statfs_t
	check(t, unix.Statfs(dir, &st))
	return int64(st.Bfree) * st.Bsize / 4096
}

func TestSameContent(t *testing.T) {
	big := strings.Repeat("x", 200<<10)
	v := openView(t, buildStack(t, files(
		"a", "fone", "b", "fone", "c", "ftwo", "d", "flonger", "e", "f", "e2", "f", "big", "f"+big, "big2", "f"+big,
		"big3", "f"+big[1:]+"y", "l", "lone", "l2", "lone", "l3", "ltwo", "p", "p", "p2", "p", "s", "s", "dir", "d",
		"dir2/x", "f", "dev", "c", "dev2", "c", "blk", "b",
	))...)
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"a", "a", true}, {"a", "b", true}, {"a", "c", false}, {"a", "d", false}, {"e", "e2", true}, {"e", "a", false},
		{"big", "big2", true}, {"big", "big3", false}, {"l", "l2", true}, {"l", "l3", false}, {"l", "a", false},
		{"p", "p2", true}, {"p", "s", false}, {"dir", "dir2", true}, {"dev", "dev2", true}, {"dev", "blk", false},
	} {
		ea, errA := v.Lookup(c.a)
		eb, errB := v.Lookup(c.b)
		check(t, errors.Join(errA, errB))
		if got, err := SameContent(v, ea, v, eb); err != nil || got != c.want {
			t.Errorf("%s and %s: %v, %v", c.a, c.b, got, err)
		}
	}
}
