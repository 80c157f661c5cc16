// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// longList gives a file more extended attributes than the kernel lists.
func longList(t *testing.T, path string) {
	t.Helper()
	for i := range 700 {
		check(t, unix.Setxattr(path, fmt.Sprintf("trusted.%0100d", i), nil, 0))
	}
	if _, err := unix.Listxattr(path, make([]byte, maxXattr)); !errors.Is(err, unix.E2BIG) {
		t.Fatalf("the list can be read: %v", err)
	}
}

// A list of attributes that nobody can read stops neither the measuring of a tree nor a look at it. What has to know
// the attributes names the path.
func TestLongList(t *testing.T) {
	needRoot(t)
	dir := tmpfs(t)
	makeDirs(t, dir, 2)
	files("d/f", "f1", "d/empty", "f", "e/g", "f2").build(t, dir+"/0")
	longList(t, dir+"/0/d/empty")
	longList(t, dir+"/0/e")
	if _, inodes, err := Usage(t.Context(), dir+"/0"); err != nil || inodes != 6 {
		t.Errorf("Usage: %d inodes, %v", inodes, err)
	}
	v := openView(t, dir+"/0")
	var seen []string
	check(t, v.Survey(t.Context(), func(c Change) error { seen = append(seen, c.Path); return nil }, func(err error) { t.Error(err) }))
	if got := strings.Join(seen, " "); got != ". d d/empty d/f e e/g" {
		t.Errorf("Survey: %s", got)
	}
	if c, ok, err := v.At("e/g"); !ok || err != nil || c.Kind != Regular {
		t.Errorf("At below: %v, %v", c, err)
	}
	isLong := func(what string, err error, path string) {
		t.Helper()
		unread, ok := errors.AsType[*UnreadableError](err)
		if !ok || unread.Why != LongList || unread.Path != path {
			t.Errorf("%s: %v", what, err)
		}
	}
	isLong("Lookup", second(v.Lookup("d/empty")), "d/empty")
	isLong("Walk", v.Walk(t.Context(), func(Change) error { return nil }), "d/empty")
	isLong("Seal", Seal(t.Context(), dir+"/0"), "d/empty")
	isLong("Compare", second(Compare(t.Context(), Stack{dir + "/0"}, Stack{dir + "/0"})), "d/empty")

	tolerant, err := Tolerance{LongLists: true}.Open(Stack{dir + "/0"})
	check(t, err)
	defer tolerant.Close()
	e, err := tolerant.Lookup("d/empty")
	if err != nil || e.Unread == nil || e.Unread.Path != "d/empty" || e.Xattrs != nil {
		t.Errorf("tolerant: %+v, %v", e, err)
	}
	w, err := NewWriter(dir + "/1")
	check(t, err)
	isLong("Copy", w.CopyAs(tolerant, e, "copy"), "d/empty")
	check(t, w.Close())
}

// A value that is not held in memory arrives where it is written, under each view and from each layer, and another one
// in its place is not taken for it.
func TestLargeValues(t *testing.T) {
	needRoot(t)
	dir := tmpfs(t)
	makeDirs(t, dir, 3)
	files("d/e/f", "f1", "l", "lx").build(t, dir+"/0")
	files("d/e/f", "f2").build(t, dir+"/1")
	large := strings.Repeat
	for path, attrs := range map[string][2]string{
		"/0/d/e/f": {large("a", maxHeld), large("b", maxHeld+1)},
		"/1/d/e/f": {large("c", 5000), large("d", maxXattr)},
		"/0/d":     {large("e", 70), large("f", 2000)},
		"/0":       {large("g", 70), large("h", 3000)},
	} {
		check(t, unix.Setxattr(dir+path, "trusted.one", []byte(attrs[0]), 0))
		check(t, unix.Setxattr(dir+path, "trusted.overlay.overlay.two", []byte(attrs[1]), 0))
	}
	for _, stack := range []Stack{{dir + "/0", dir + "/1"}, {dir + "/1", dir + "/0"}} {
		to := t.TempDir()
		check(t, unix.Mount("tmpfs", to, "tmpfs", 0, ""))
		t.Cleanup(func() { check(t, unix.Unmount(to, unix.MNT_DETACH)) })
		copyAll(t, openView(t, stack...), to)
		if diffs, err := Compare(t.Context(), stack, Stack{to}); err != nil || len(diffs) > 0 {
			t.Errorf("%v: %v, %v", stack, diffs, err)
		}
		if got, err := unix.Getxattr(to+"/d/e/f", "trusted.overlay.overlay.two", make([]byte, maxXattr)); err != nil || got <= maxHeld {
			t.Errorf("%d bytes, %v", got, err)
		}
	}
	v := openView(t, dir+"/1")
	e, err := v.Lookup("d/e/f")
	check(t, err)
	if _, held := e.Xattrs["trusted.overlay.two"].Held(); held || e.Xattrs["trusted.overlay.two"].Memory() > 32 {
		t.Error("a large value is held in memory")
	}
	check(t, unix.Setxattr(dir+"/1/d/e/f", "trusted.overlay.overlay.two", []byte(large("x", maxXattr)), 0))
	w, err := NewWriter(dir + "/2")
	check(t, err)
	if err := w.CopyAs(v, e, "f"); err == nil || !strings.Contains(err.Error(), "has changed") {
		t.Errorf("written though it changed: %v", err)
	}
	check(t, w.Close())
}

// Values compare by their bytes, held or not.
func TestValueEqual(t *testing.T) {
	from := &origin{}
	small, large := []byte("v"), []byte(strings.Repeat("v", 5000))
	for _, c := range []struct {
		a, b Value
		same bool
	}{
		{NewValue(small), newValue("user.a", small, from), true},
		{NewValue(large), newValue("user.a", large, from), true},
		{newValue(attrAccessACL, large, from).light(), newValue("user.a", large, from), true},
		{newValue("user.a", large[1:], from), newValue("user.a", large, from), false},
		{newValue("user.a", append([]byte("x"), large[1:]...), from), newValue("user.a", large, from), false},
		{NewValue(append([]byte("x"), large[1:]...)), newValue("user.a", large, from), false},
		{Value{}, NewValue(nil), true},
		{Value{}, NewValue(small), false},
	} {
		if c.a.Equal(c.b) != c.same || c.b.Equal(c.a) != c.same {
			t.Errorf("%d and %d bytes: equal is not %t", c.a.Size(), c.b.Size(), c.same)
		}
	}
}

// lease takes a write lease on a file, as any user may on own files, until the end of the test.
func lease(t *testing.T, path string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	check(t, err)
	t.Cleanup(func() { check(t, file.Close()) })
	if _, err := unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Fatalf("no lease: %v", err)
	}
}

// A file with a lease is named; opening it would wait for whoever holds it.
func TestLease(t *testing.T) {
	stack := buildStack(t, files("d/leased", "fsecret", "d/free", "fread"))
	v := openView(t, stack...)
	lease(t, stack[0]+"/d/leased")
	for what, err := range map[string]error{
		"OpenFile": second(v.OpenFile("d/leased")), "ReadFile": second(v.ReadFile("d/leased", 100)),
	} {
		unread, ok := errors.AsType[*UnreadableError](err)
		if !ok || unread.Why != Leased || unread.Path != "d/leased" {
			t.Errorf("%s: %v", what, err)
		}
	}
	if content, err := v.ReadFile("d/free", 100); err != nil || string(content) != "read" {
		t.Errorf("the other file: %q, %v", content, err)
	}
}

// churn changes a directory of files until the end of the test: it is renamed, replaced and removed, and so are the
// files.
func churn(t *testing.T, dir string) {
	t.Helper()
	stop := make(chan struct{})
	var group sync.WaitGroup
	t.Cleanup(func() { close(stop); group.Wait() })
	makeAll := func() error {
		return errors.Join(os.MkdirAll(dir+"/moving/deep", 0o755), os.WriteFile(dir+"/moving/deep/f", []byte("f"), 0o644),
			os.WriteFile(dir+"/moving/g", []byte("g"), 0o644), os.WriteFile(dir+"/.new", []byte("new"), 0o644),
			os.Rename(dir+"/.new", dir+"/replaced"), os.Rename(dir+"/moving", dir+"/moved"), os.RemoveAll(dir+"/moved"))
	}
	check(t, makeAll())
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := makeAll(); err != nil {
				t.Error(err)
				return
			}
		}
	})
}

// A view that tolerates changes shows what is there while everything moves; or names the path. One that does not never
// takes what it finds gone for what was never there.
func TestViewWhileChanging(t *testing.T) {
	stack := buildStack(t, files("stays/f", "fmine", "replaced", "fold"), files("stays/g", "fbelow"))
	churn(t, stack[0])
	v, err := Tolerance{Changes: true}.Open(stack)
	check(t, err)
	defer v.Close()
	tolerable := func(what string, err error) {
		t.Helper()
		unread, ok := errors.AsType[*UnreadableError](err)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !(ok && unread.Why == Changing && unread.Path != "") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for range 300 {
		seen := make(map[string]bool)
		check(t, v.Tree(t.Context(), func(e Entry) error { seen[e.Path] = true; return nil }))
		check(t, v.Survey(t.Context(), func(c Change) error { seen[c.Path] = true; return nil }, func(err error) { t.Error(err) }))
		if !seen["stays/f"] || !seen["stays/g"] || !seen["."] {
			t.Fatalf("a walk does not show what stays: %v", seen)
		}
		content, err := v.ReadFile("replaced", 10)
		if err != nil || string(content) != "new" && string(content) != "old" {
			t.Errorf("a file that is replaced: %q, %v", content, err)
		}
		_, _, err = v.At("moving/deep/f")
		tolerable("At", err)
		tolerable("Lookup", second(v.Lookup("moving/deep/f")))
		tolerable("ReadFile", second(v.ReadFile("moving/deep/f", 10)))
		if names, err := v.ReadDir("moving"); !errors.Is(err, unix.ENOTDIR) {
			tolerable(fmt.Sprint("ReadDir ", names), err)
		}
	}
}

// A directory that vanished behind the back of a view is an error: nothing may look as if it had never been there.
func TestViewNoticesChange(t *testing.T) {
	stack := buildStack(t, files("d/e/f", "f1"))
	v := openView(t, stack...)
	check(t, second(v.Lookup("d/e/f")))
	check(t, os.Rename(stack[0]+"/d", stack[0]+"/was"))
	_, err := v.Lookup("d/e/f")
	if unread, ok := errors.AsType[*UnreadableError](err); !ok || unread.Why != Changing || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Lookup: %v", err)
	}
}

// What was a file and is a directory by now is named by a view that tolerates changes, and is no file for any other.
func TestOpenFileOfDirectory(t *testing.T) {
	stack := buildStack(t, files("d/f", "f1"))
	_, err := openView(t, stack...).OpenFile("d")
	if unread, ok := errors.AsType[*UnreadableError](err); ok || !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("got %v, %v", err, unread)
	}
	v, err := Tolerance{Changes: true}.Open(stack)
	check(t, err)
	defer v.Close()
	_, err = v.OpenFile("d")
	if unread, ok := errors.AsType[*UnreadableError](err); !ok || unread.Why != Changing || unread.Path != "d" || !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}
