// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// realFlags returns the flags of an inode, as far as they are known here.
func realFlags(t failer, path string) Flags {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	check(t, err)
	defer release(fd)
	flags, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	check(t, err)
	return Flags(flags) & (protecting | hints)
}

// chattr sets the flags of an inode, and skips the test where there are none. They are taken away when the test ends.
func chattr(t *testing.T, path string, flags Flags) {
	t.Helper()
	dir, name := filepath.Split(path)
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	check(t, err)
	set := func(flags Flags) error {
		_, err := changeFlags(fd, name, func(now Flags) Flags { return now&^(protecting|hints) | flags })
		return err
	}
	switch err := set(flags); {
	case noFlags(err):
		t.Skip("this file system has no inode flags (chattr)")
	case errors.Is(err, unix.EPERM):
		t.Skip("setting inode flags needs CAP_LINUX_IMMUTABLE")
	default:
		check(t, err)
	}
	t.Cleanup(func() {
		if err := set(0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		release(fd)
	})
}

// hidden takes the flags from a node when the test ends, so that it can be deleted.
func hidden(t *testing.T, dirs ...string) {
	t.Helper()
	t.Cleanup(func() {
		for _, dir := range dirs {
			check(t, HideFlags(testContext(), dir))
		}
	})
}

func flagsOf(t *testing.T, v *View) map[string]Flags {
	t.Helper()
	got := map[string]Flags{}
	check(t, v.Tree(testContext(), func(e Entry) error {
		if e.Flags != 0 {
			got[e.Path] = e.Flags
		}
		return nil
	}))
	return got
}

func sameFlags(t *testing.T, what string, got, want map[string]Flags) {
	t.Helper()
	for path := range want {
		if got[path] != want[path] {
			t.Errorf("%s: %s has the flags %q, want %q", what, path, got[path], want[path])
		}
	}
	for path := range got {
		if want[path] == 0 {
			t.Errorf("%s: %s has the flags %q, want none", what, path, got[path])
		}
	}
}

func TestFlagsText(t *testing.T) {
	for note, want := range map[string]Flags{"i": Immutable, "a": AppendOnly, "ai": Immutable | AppendOnly} {
		if got, known := readNote([]byte(note)); got != want || !known || string(got.note()) != note {
			t.Errorf("%q is read as %q, %v", note, got, known)
		}
	}
	for _, note := range []string{"", "x", "ix", "/etc"} {
		if got, known := readNote([]byte(note)); known {
			t.Errorf("%q is read as %q", note, got)
		}
	}
	if got := (Sync | Immutable | AppendOnly | NoDump | NoAccess).String(); got != "SiadA" {
		t.Errorf("the flags are %q", got)
	}
}

// TestFlagsNoted: what a container does with chattr is told, survives sealing, and shows in a mount of the node as a lower
// directory once that is asked for; a container may take it away again.
func TestFlagsNoted(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	lower, upper, next := dir+"/lower", dir+"/upper", dir+"/next"
	for _, d := range []string{lower, upper, next, dir + "/work", dir + "/work2", dir + "/mnt"} {
		check(t, os.Mkdir(d, 0o755))
	}
	files("d/f", "f1", "e/f", "f2", "hint", "f").build(t, lower)
	mnt := dir + "/mnt"
	mounted := func(lower, upper, work string, use func()) {
		check(t, unix.Mount("overlay", mnt, "overlay", 0, "index=off,lowerdir="+lower+",upperdir="+upper+",workdir="+work))
		defer func() { check(t, unix.Unmount(mnt, 0)) }()
		use()
	}
	want := map[string]Flags{"d": Immutable, "d/f": AppendOnly, "e/f": Immutable | AppendOnly | NoDump, "hint": NoAccess}
	mounted(lower, upper, dir+"/work", func() {
		for _, path := range []string{"d/f", "d", "e/f", "hint"} {
			set(t, mnt+"/"+path, want[path])
		}
	})
	if realFlags(t, upper+"/d")&protecting != 0 {
		t.Fatal("this kernel sets the flags on the inode of the upper directory: the test tests nothing")
	}
	for range 2 {
		flagged, err := SealFlagged(testContext(), upper)
		check(t, err)
		if !flagged {
			t.Error("nothing is said of flags")
		}
		sameFlags(t, "sealed", flagsOf(t, openView(t, upper)), want)
	}
	hidden(t, upper)
	for range 2 {
		check(t, ShowFlags(testContext(), upper))
		sameFlags(t, "shown", flagsOf(t, openView(t, upper)), want)
		if flagged, err := SealFlagged(testContext(), upper); err != nil || !flagged {
			t.Errorf("sealing once more: %v, %v", flagged, err)
		}
	}
	mounted(upper+":"+lower, next, dir+"/work2", func() {
		for path, flags := range want {
			if got := realFlags(t, mnt+"/"+path); got != flags {
				t.Errorf("mounted: %s has the flags %q, want %q", path, got, flags)
			}
		}
		if err := os.Remove(mnt + "/d/f"); !errors.Is(err, unix.EPERM) {
			t.Errorf("what is in an immutable directory can be removed: %v", err)
		}
		set(t, mnt+"/d", 0)
		set(t, mnt+"/d/f", 0)
		check(t, os.Remove(mnt+"/d/f"))
	})
	check(t, Seal(testContext(), next))
	sameFlags(t, "taken away", flagsOf(t, openView(t, next, upper, lower)), map[string]Flags{"e/f": want["e/f"], "hint": NoAccess})
	for range 2 {
		check(t, HideFlags(testContext(), upper))
		for path := range want {
			if realFlags(t, upper+"/"+path)&protecting != 0 {
				t.Errorf("hidden: %s has flags on its inode", path)
			}
		}
	}
	sameFlags(t, "hidden", flagsOf(t, openView(t, upper)), want)
}

// set sets the flags of a file of a mount.
func set(t *testing.T, path string, flags Flags) {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	check(t, err)
	defer release(fd)
	now, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	if noFlags(err) {
		t.Skip("this file system has no inode flags (chattr)")
	}
	check(t, err)
	check(t, unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(now&^uint32(protecting|hints)|uint32(flags))))
}

// TestFlagsCopied: a copy has the flags of its original, and merging keeps them, with the hard links; the nodes of a merge do
// not share an inode with flags.
func TestFlagsCopied(t *testing.T) {
	needRoot(t)
	upper := files("u", "f1", "two", "f2", "two2", "htwo", "plain", "f3").with("d/x", "f", attrProtected, "a")
	upper["d"] = item{What: "d", Xattrs: map[string]string{attrProtected: "i"}}
	upper["two"] = item{What: "f2", Xattrs: map[string]string{attrProtected: "i"}}
	stack := buildStack(t, upper, files("l", "f1", "s", "lu", "p", "p"))
	for path, flags := range map[string]Flags{"u": Immutable, "plain": NoDump} {
		chattr(t, stack[0]+"/"+path, flags)
	}
	chattr(t, stack[1]+"/l", AppendOnly|Sync)
	want := map[string]Flags{
		"d": Immutable, "d/x": AppendOnly, "two": Immutable, "two2": Immutable, "u": Immutable, "plain": NoDump, "l": AppendOnly | Sync,
	}
	hidden(t, stack...)
	for _, shown := range []bool{false, true} {
		if shown {
			check(t, ShowFlags(testContext(), stack[0]))
		}
		into := t.TempDir()
		check(t, Merge(testContext(), stack[0], stack[1], nil, into))
		sameFlags(t, "merged", flagsOf(t, openView(t, into)), want)
		diffs, err := Compare(testContext(), Stack{into}, stack)
		check(t, err)
		if len(diffs) > 0 {
			t.Errorf("merged: %v", diffs)
		}
		for path := range want {
			if realFlags(t, into+"/"+path)&protecting != 0 {
				t.Errorf("%s has flags on its inode before they are shown", path)
			}
		}
		chattr(t, into+"/plain", 0)
		diffs, err = Compare(testContext(), Stack{into}, stack)
		check(t, err)
		if sameInode(t, into+"/plain", stack[0]+"/plain") == (len(diffs) == 1) {
			t.Errorf("another flag gives %v", diffs)
		}
		chattr(t, stack[0]+"/plain", NoDump)
	}
}

func sameInode(t *testing.T, a, b string) bool {
	t.Helper()
	one, err := os.Lstat(a)
	check(t, err)
	two, err := os.Lstat(b)
	check(t, err)
	return os.SameFile(one, two)
}

// TestFlagsOfHost: an attribute that has to be stripped from a file with flags on the inode is refused, with what to do;
// without such an attribute the flags are kept.
func TestFlagsOfHost(t *testing.T) {
	needRoot(t)
	dir := buildStack(t, files("d/f", "f1", "other", "f").with("d/o", "f2", ownTrusted+"origin", "x"))[0]
	chattr(t, dir+"/d/f", Immutable)
	flagged, err := SealFlagged(testContext(), dir)
	check(t, err)
	if !flagged {
		t.Error("nothing is said of the flag")
	}
	check(t, unix.Setxattr(dir+"/d/o", ownTrusted+"origin", []byte("x"), 0))
	chattr(t, dir+"/d/o", AppendOnly)
	_, err = SealFlagged(testContext(), dir)
	r, ok := errors.AsType[*RefusedError](err)
	if !ok || r.Path != "d/o" || r.Flags != AppendOnly || !strings.Contains(err.Error(), "chattr -a \""+dir+"/d/o\"") {
		t.Errorf("got %v", err)
	}
}

// TestFlagsWays: the ways to read flags agree.
func TestFlagsWays(t *testing.T) {
	dir := t.TempDir()
	check(t, os.Mkdir(dir+"/d", 0o755))
	check(t, os.WriteFile(dir+"/f", nil, 0o600))
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	check(t, err)
	defer release(fd)
	for _, name := range []string{"f", "d"} {
		for _, want := range []Flags{0, Immutable, AppendOnly | NoDump, Immutable | AppendOnly} {
			chattr(t, dir+"/"+name, want)
			got, err := inodeFlags(fd, name)
			check(t, err)
			statx, err := statxFlags(fd, name)
			check(t, err)
			if got != want || statx != want {
				t.Errorf("%s has %q and %q, want %q", name, got, statx, want)
			}
		}
	}
}
