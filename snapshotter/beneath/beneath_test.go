// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package beneath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func opened(t *testing.T) (dir string, d Dir) {
	t.Helper()
	return openedAt(t, t.TempDir())
}

func openedAt(t *testing.T, dir string) (string, Dir) {
	t.Helper()
	file, err := os.Open(dir)
	must(t, err)
	t.Cleanup(func() { must(t, file.Close()) })
	return dir, At(file)
}

// gone checks that nothing is at a path.
func gone(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%q is still there: %v", path, err)
	}
}

// chattr sets inode flags on files, which are taken away at the end of the test.
func chattr(t *testing.T, flags int, paths ...string) {
	t.Helper()
	set := func(path string, flags int) error {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer release(fd)
		now, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
		if err != nil {
			return err
		}
		return unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(now)&^(immutable|appendOnly)|flags)
	}
	for _, path := range paths {
		switch err := set(path, flags); {
		case errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EOPNOTSUPP):
			t.Skip("this file system has no inode flags (chattr)")
		case errors.Is(err, unix.EPERM):
			t.Skip("setting inode flags needs CAP_LINUX_IMMUTABLE")
		default:
			must(t, err)
		}
		t.Cleanup(func() {
			if err := set(path, 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
		})
	}
}

const immutable, appendOnly = 0x10, 0x20

// TestNoLinks: nothing is deleted or moved through a link, whatever part of the path it is.
func TestNoLinks(t *testing.T) {
	dir, d := opened(t)
	victim := filepath.Join(t.TempDir(), "victim")
	must(t, os.MkdirAll(filepath.Join(victim, "etc"), 0o700))
	must(t, os.WriteFile(filepath.Join(victim, "etc/shadow"), []byte("x"), 0o600))
	must(t, os.Symlink(victim, filepath.Join(dir, "trash")))
	must(t, os.MkdirAll(filepath.Join(dir, "inside/etc"), 0o700))
	must(t, os.Symlink("inside", filepath.Join(dir, "near")))
	must(t, os.WriteFile(filepath.Join(dir, "inside/etc/file"), nil, 0o600))
	for _, via := range []string{"trash", "near"} {
		for what, err := range map[string]error{
			"RemoveAll": d.RemoveAll(via + "/etc"),
			"Remove":    d.Remove(via + "/etc/shadow"),
			"Rename":    d.Rename("inside/etc", via+"/other"),
			"from":      d.Rename(via+"/etc", "other"),
		} {
			if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, via)) || !strings.Contains(err.Error(), "symbolic link") {
				t.Errorf("%s through %s: %v", what, via, err)
			}
		}
	}
	if err := d.RemoveAll("../" + filepath.Base(victim)); err == nil {
		t.Error("left the directory")
	}
	must(t, d.RemoveAll("trash")) // the link itself
	for _, path := range []string{victim + "/etc/shadow", dir + "/inside/etc/file"} {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
	gone(t, dir+"/trash")
	must(t, d.RemoveAll("nothing/here"))
	if err := d.Remove("nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removing nothing: %v", err)
	}
}

// TestRemoveAll deletes all kinds of files, odd names, and links without following them.
func TestRemoveAll(t *testing.T) {
	dir, d := opened(t)
	outside := t.TempDir()
	must(t, os.WriteFile(outside+"/kept", nil, 0o600))
	odd := filepath.Join(dir, "x", "\xff\n \x1b'", strings.Repeat("n", 255))
	must(t, os.MkdirAll(odd, 0o700))
	must(t, os.Symlink(outside, odd+"/link"))
	must(t, unix.Mkfifo(odd+"/fifo", 0o600))
	must(t, os.Chmod(odd, 0))
	for i := range 500 { // more names than are read at once
		must(t, os.WriteFile(fmt.Sprintf("%s/x/%0100d", dir, i), nil, 0))
	}
	must(t, d.RemoveAll("x"))
	gone(t, dir+"/x")
	if _, err := os.Lstat(outside + "/kept"); err != nil {
		t.Error(err)
	}
}

// TestRemoveDeep deletes directories that are nested deeper than there are descriptors, with something in each.
func TestRemoveDeep(t *testing.T) {
	place := t.TempDir()
	if err := unix.Mount("tmpfs", place, "tmpfs", 0, ""); err == nil { // it is faster
		t.Cleanup(func() { must(t, unix.Unmount(place, 0)) })
	}
	dir, d := openedAt(t, place)
	must(t, os.Mkdir(dir+"/x", 0o700))
	at, err := unix.Open(dir+"/x", unix.O_PATH|unix.O_CLOEXEC, 0)
	must(t, err)
	name := strings.Repeat("d", 200)
	for i := range 5000 {
		must(t, unix.Mkdirat(at, name, 0o700))
		if i%100 == 0 {
			must(t, unix.Mkdirat(at, "molt-deep-0", 0o700)) // a name that is used when directories are moved
		}
		next, err := unix.Openat(at, name, unix.O_PATH|unix.O_CLOEXEC, 0)
		must(t, err)
		must(t, unix.Close(at))
		at = next
	}
	must(t, unix.Close(at))
	must(t, d.RemoveAll("x"))
	gone(t, dir+"/x")
}

// TestRemoveFlagged deletes what chattr keeps others from deleting: files, and what is in directories.
func TestRemoveFlagged(t *testing.T) {
	dir, d := opened(t)
	must(t, os.MkdirAll(dir+"/x/d/e", 0o700))
	for _, name := range []string{"d/i", "d/e/a", "plain"} {
		must(t, os.WriteFile(filepath.Join(dir, "x", name), nil, 0o600))
	}
	must(t, os.Symlink("nowhere", dir+"/x/d/link"))
	chattr(t, appendOnly, dir+"/x/d/e/a", dir+"/x/d/e")
	chattr(t, immutable, dir+"/x/d/i", dir+"/x/d", dir+"/x")
	must(t, d.RemoveAll("x"))
	gone(t, dir+"/x")
}

// TestStuck: what cannot be deleted is told with what to do, and the rest is deleted.
func TestStuck(t *testing.T) {
	dir, d := opened(t)
	must(t, os.MkdirAll(dir+"/x/d", 0o700))
	kept := []string{"x/d/a file", "x/d/\x1b"}
	for i := range 6 {
		kept = append(kept, fmt.Sprintf("x/more%d", i))
	}
	for _, name := range append(slices.Clone(kept), "x/d/free", "x/free") {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	for _, name := range kept {
		chattr(t, immutable, filepath.Join(dir, name))
	}
	var err error
	withoutCapability(t, unix.CAP_LINUX_IMMUTABLE, func() { err = d.RemoveAll("x") })
	stuck, ok := errors.AsType[*StuckError](err)
	if !ok || len(stuck.Files)+stuck.More != len(kept) || len(stuck.Files) != maxStuck || !errors.Is(err, unix.EPERM) {
		t.Fatalf("got %v", err)
	}
	for _, name := range kept {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	gone(t, dir+"/x/free")
	gone(t, dir+"/x/d/free")
	for _, s := range stuck.Files {
		if s.Command != fmt.Sprintf("chattr -i -a %s %s", quoted(filepath.Dir(s.Path)), quoted(s.Path)) {
			t.Errorf("%+v", s)
		}
	}
	must(t, d.RemoveAll("x"))
	gone(t, dir+"/x")
}

// withoutCapability calls fn on a thread without a capability.
func withoutCapability(t *testing.T, capability int, fn func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		err := unix.Capget(&header, &data[0])
		data[capability/32].Effective &^= 1 << (capability % 32)
		if err == nil {
			err = unix.Capset(&header, &data[0])
		}
		if err == nil {
			fn()
		}
		done <- err
	}()
	must(t, <-done)
}

// TestMounted: what is mounted in a directory is neither entered nor deleted.
func TestMounted(t *testing.T) {
	dir, d := opened(t)
	at := dir + "/x/m"
	must(t, os.MkdirAll(at, 0o700))
	if err := unix.Mount("tmpfs", at, "tmpfs", 0, ""); errors.Is(err, unix.EPERM) {
		t.Skip("mounting needs root")
	} else {
		must(t, err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(at, unix.MNT_DETACH)) })
	must(t, os.WriteFile(at+"/kept", nil, 0o600))
	err := d.RemoveAll("x")
	stuck, ok := errors.AsType[*StuckError](err)
	if !ok || len(stuck.Files) != 1 || stuck.Files[0].Command != "umount "+at {
		t.Fatalf("got %v", err)
	}
	if _, err := os.Lstat(at + "/kept"); err != nil {
		t.Error(err)
	}
}

func TestQuoted(t *testing.T) {
	for path, want := range map[string]string{
		"/a/b-c_1.d": "/a/b-c_1.d", "/a b": "$'/a b'", "/it's": `$'/it\x27s'`, "/\x1b\n": `$'/\x1b\x0a'`, "/\xff": `$'/\xff'`, `/\x`: `$'/\x5cx'`,
	} {
		if got := quoted(path); got != want {
			t.Errorf("%q is quoted as %s, want %s", path, got, want)
		}
	}
}
