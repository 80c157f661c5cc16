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

// Symbolic links lead nowhere, wherever they stand in a path and whatever they point to.
func TestHostileSymlinks(t *testing.T) {
	needRoot(t)
	outside := t.TempDir()
	files("secret", "fsecret", "d/secret", "fsecret").build(t, outside)
	up := strings.Repeat("../", 40) + outside[1:]
	for name, target := range map[string]string{
		"absolute": outside, "relative": up, "of /proc": fmt.Sprintf("/proc/%d/root%s", os.Getpid(), outside), "inside": "real",
		"parent": "..", "itself": "l",
	} {
		t.Run(name, func(t *testing.T) {
			l := files("l", "l"+target, "d/l", "l"+target, "real/secret", "f", "real/d/secret", "f", "f", "l"+target+"/secret")
			stack := buildStack(t, files("l/x", "f", "d/x", "f"), l)
			v := openView(t, stack[1])
			for _, path := range []string{
				"l/secret", "l/d/secret", "d/l/secret", "d/l/d/secret", "l/real/secret", "l/l/secret",
			} {
				if e, err := v.Lookup(path); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("Lookup(%q) = %+v, %v", path, e, err)
				}
				if f, err := v.OpenFile(path); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("OpenFile(%q) = %v, %v", path, f, err)
				}
			}
			for _, path := range []string{"l", "f", "d/l"} {
				if e, err := v.Lookup(path); err != nil || e.Kind != Symlink {
					t.Errorf("Lookup(%q) = %+v, %v", path, e, err)
				}
				if f, err := v.OpenFile(path); !errors.Is(err, fs.ErrInvalid) {
					t.Errorf("OpenFile(%q) = %v, %v", path, f, err)
				}
				if names, err := v.ReadDir(path); !errors.Is(err, unix.ENOTDIR) {
					t.Errorf("ReadDir(%q) = %q, %v", path, names, err)
				}
			}
			if got := summary(t, openView(t, stack...)); strings.Contains(got, "secret=secret") {
				t.Errorf("shown: %s", got)
			}
		})
	}
}

// A directory that is replaced by a symbolic link while its view is open is not entered through that, wherever it leads.
func TestHostileSwap(t *testing.T) {
	needRoot(t)
	outside := t.TempDir()
	files("d/f", "fsecret", "d/e/g", "fsecret").build(t, outside)
	for _, target := range []string{outside + "/d", "was"} {
		stack := buildStack(t, files("d/f", "f1", "d/e/g", "f2"))
		v := openView(t, stack...)
		e, err := v.Lookup("d/e/g")
		check(t, err)
		swap(t, stack[0], target)
		for what, err := range map[string]error{
			"Lookup":    second(v.Lookup("d/f")),
			"OpenEntry": second(v.OpenEntry(e)),
			"ReadDir":   second(v.ReadDir("d/e")),
		} {
			if err == nil {
				t.Errorf("%s went through a symbolic link to %s", what, target)
			}
		}
	}
}

func TestHostileSwapOfWritten(t *testing.T) {
	outside := t.TempDir()
	for _, target := range []string{outside + "/d", "was"} {
		w, dir := newWriter(t)
		files("d/e/g", "f").build(t, outside)
		check(t, w.Mkdir("d", someMeta))
		check(t, w.Mkdir("d/e", someMeta))
		swap(t, dir, target)
		if err := w.WriteFile("d/e/new", someMeta, strings.NewReader("")); err == nil {
			t.Errorf("written through a symbolic link to %s", target)
		}
		if err := w.Close(); err == nil {
			t.Errorf("times were set through a symbolic link to %s", target)
		}
		if _, err := os.Lstat(dir + "/d/e/new"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("through %s: %v", target, err)
		}
	}
}

// swap puts a symbolic link in the place of the directory d.
func swap(t *testing.T, dir, target string) {
	t.Helper()
	check(t, os.Rename(dir+"/d", dir+"/was"))
	check(t, os.Symlink(target, dir+"/d"))
}

func second[T any](_ T, err error) error { return err }

// Nothing of what a container can mount or leave in its files makes a walk leave the directory: a mount point is an error.
func TestHostileMountPoint(t *testing.T) {
	stack := buildStack(t, files("d/f", "f", "a", "f"))
	check(t, unix.Mount("tmpfs", stack[0]+"/d", "tmpfs", 0, ""))
	t.Cleanup(func() { check(t, unix.Unmount(stack[0]+"/d", 0)) })
	v := openView(t, stack...)
	if _, err := v.ReadDir("d"); !errors.Is(err, unix.EXDEV) {
		t.Errorf("ReadDir of a mount point: %v", err)
	}
	if err := Seal(t.Context(), stack[0]); !errors.Is(err, unix.EXDEV) {
		t.Errorf("Seal over a mount point: %v", err)
	}
}

// FIFOs, sockets and devices are told of and copied, and nothing ever waits for them.
func TestHostileSpecialFiles(t *testing.T) {
	stack := buildStack(t, files("p", "p", "d/s", "s", "d/c", "c", "d/b", "b"))
	v := openView(t, stack...)
	dir := t.TempDir()
	copyAll(t, v, dir)
	check(t, Seal(t.Context(), dir))
	dst := t.TempDir()
	check(t, Merge(t.Context(), dir, stack[0], []Stack{stack}, dst))
	for _, b := range []string{dir, dst} {
		diffs, err := Compare(t.Context(), stack, Stack{b})
		if err != nil || len(diffs) > 0 {
			t.Errorf("Compare: %v, %v", diffs, err)
		}
	}
}

// deepDir makes nested directories, with a file in the innermost, each with a sibling that a walk comes to later.
func deepDir(t *testing.T, dir, name string, depth int) string {
	t.Helper()
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	check(t, err)
	for range depth {
		check(t, unix.Mkdirat(at, name, 0o755))
		check(t, unix.Symlinkat("x", at, "~"))
		next, err := unix.Openat(at, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		check(t, errors.Join(err, unix.Close(at)))
		at = next
	}
	fd, err := unix.Openat(at, "f", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	check(t, errors.Join(err, unix.Close(fd), unix.Close(at)))
	return strings.Repeat(name+"/", depth) + "f"
}

// Trees far deeper than PATH_MAX are looked up, read, copied, sealed, merged and compared, with few open files.
func TestHostileDepth(t *testing.T) {
	for name, depth := range map[string]int{"d": 1000, strings.Repeat("d", 255): 200} {
		t.Run(fmt.Sprint(depth), func(t *testing.T) {
			limitFiles(t, 100)
			all := makeDirs(t, tmpfs(t), 5)
			stack, dirs := all[:3], all[3:]
			var path string
			for _, dir := range stack {
				path = deepDir(t, dir, name, depth)
			}
			v := openView(t, stack...)
			if e, err := v.Lookup(path); err != nil || e.Kind != Regular || e.Path != path {
				t.Errorf("Lookup: %v", err)
			}
			_, err := v.ReadFile(path, 1)
			check(t, err)
			check(t, Seal(t.Context(), stack[0]))
			_, inodes, err := Usage(t.Context(), stack[0])
			if err != nil || inodes != int64(2*depth+2) {
				t.Errorf("Usage: %d, %v", inodes, err)
			}
			copyAll(t, v, dirs[0])
			check(t, Merge(t.Context(), stack[0], stack[1], []Stack{stack[2:]}, dirs[1]))
			for _, b := range []Stack{{dirs[0]}, {dirs[1], stack[2]}} {
				diffs, err := Compare(t.Context(), stack, b)
				if err != nil || len(diffs) > 0 {
					t.Errorf("Compare: %d differences, %v", len(diffs), err)
				}
			}
		})
	}
}

// limitFiles limits the number of open files of this process during a test.
func limitFiles(t *testing.T, n uint64) {
	t.Helper()
	var old unix.Rlimit
	check(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	check(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: old.Max}))
	t.Cleanup(func() { check(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old)) })
}

func TestHostileTooDeep(t *testing.T) {
	dir := tmpfs(t)
	deepDir(t, dir, "d", maxDepth+1)
	if err := Seal(t.Context(), dir); !errors.Is(err, ErrTooDeep) {
		t.Errorf("Seal: %v", err)
	}
}

// Names are bytes, up to 255 of them.
func TestHostileNames(t *testing.T) {
	l := make(layer)
	for _, name := range []string{
		"\n", "\xff\xfe\xfd", "a\nb", "...", "-rf", " ", "\\", "\"", "%s%n", "\x01\x7f", "*", "\u202egpj", "~", ".wh.x",
		strings.Repeat("\xff", 255), strings.Repeat("é", 127),
	} {
		l[name+"/"+name] = item{What: "f" + name}
	}
	stack := buildStack(t, l, files("...", "d"))
	v := openView(t, stack...)
	mount, release := mountOverlay(t, stack, t.TempDir())
	defer release()
	sameFacts(t, "against the kernel", readView(t, v), readTree(t, mount))
	dir := t.TempDir()
	copyAll(t, v, dir)
	sameFacts(t, "copied", readTree(t, dir), readTree(t, mount))
}

func TestHostileWidth(t *testing.T) {
	stack := makeDirs(t, tmpfs(t), 2)
	const width = 20000
	for i := range width {
		check(t, unix.Mknod(fmt.Sprintf("%s/%06d", stack[i%2], i), unix.S_IFREG|0o644, 0))
	}
	v := openView(t, stack...)
	names, err := v.ReadDir(root)
	if err != nil || len(names) != width || names[7] != "000007" || names[width-1] != fmt.Sprintf("%06d", width-1) {
		t.Errorf("%d names, %v", len(names), err)
	}
}

// Large lists and values of extended attributes.
func TestHostileXattrs(t *testing.T) {
	dir := tmpfs(t) // other file systems hold less
	makeDirs(t, dir, 2)
	check(t, os.WriteFile(dir+"/0/f", nil, 0o644))
	check(t, unix.Setxattr(dir+"/0/f", "trusted.large", make([]byte, 64<<10), 0))
	for i := range 200 {
		check(t, unix.Setxattr(dir+"/0/f", fmt.Sprintf("trusted.%0240d", i), []byte{byte(i)}, 0))
	}
	v := openView(t, dir+"/0")
	e, err := v.Lookup("f")
	if err != nil || len(e.Xattrs) != 201 || e.Xattrs["trusted.large"].Size() != 64<<10 {
		t.Fatalf("%d attributes, %v", len(e.Xattrs), err)
	}
	copyAll(t, v, dir+"/1")
	diffs, err := Compare(t.Context(), Stack{dir + "/0"}, Stack{dir + "/1"})
	if err != nil || len(diffs) > 0 {
		t.Errorf("Compare: %v, %v", diffs, err)
	}
}

// Several goroutines may use a view.
func TestViewConcurrently(t *testing.T) {
	l := make(layer)
	for i := range 200 {
		l[fmt.Sprintf("%d/%d/f", i%7, i)] = item{What: fmt.Sprint("f", i)}
	}
	v := openView(t, buildStack(t, l, l)...)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for path, want := range l {
				if got, err := v.ReadFile(path, 10); err != nil || "f"+string(got) != want.What {
					t.Errorf("ReadFile(%q) = %q, %v", path, got, err)
				}
			}
		})
	}
	group.Wait()
}

// What vanishes while usage is measured is not an error: an open node may be measured.
func TestUsageWhileChanging(t *testing.T) {
	dir := buildStack(t, files("stays/f", "f"))[0]
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			err := errors.Join(os.MkdirAll(dir+"/d/e", 0o755), os.WriteFile(dir+"/d/e/f", nil, 0o644), os.RemoveAll(dir+"/d"))
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	defer group.Wait()
	defer close(stop)
	for range 1000 {
		if _, inodes, err := Usage(t.Context(), dir); err != nil || inodes < 3 {
			t.Fatalf("Usage: %d, %v", inodes, err)
		}
	}
}

// The permissions of what a symbolic link leads to are not set, on kernels with fchmodat2 and on those without.
func TestHostileMode(t *testing.T) {
	dir := t.TempDir()
	files("d/file", "fx", "link", "ld/file").build(t, dir)
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer release(fd)
	for name, set := range map[string]func(int, string, uint32) error{"now": setMode, "before": setModePath} {
		if err := set(fd, "link", 0o4777); !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s: the mode of a link: %v", name, err)
		}
		if err := set(fd, "d", 0o711); err != nil {
			t.Errorf("%s: the mode of a directory: %v", name, err)
		}
	}
	for path, want := range map[string]os.FileMode{"d/file": 0o644, "d": 0o711 | os.ModeDir} {
		if info, err := os.Stat(dir + "/" + path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}
