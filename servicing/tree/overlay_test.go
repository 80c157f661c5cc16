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
)

// failer is what *testing.T and *rapid.T have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func check(t failer, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// mountOverlay mounts a stack read-only without attaching it anywhere, and returns a path to it and a function to release
// it. empty is an empty directory: overlayfs wants two layers at least.
func mountOverlay(t failer, stack Stack, empty string) (string, func()) {
	t.Helper()
	fsfd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	check(t, err)
	defer release(fsfd)
	for _, dir := range append(slices.Clone(stack), empty) {
		check(t, unix.FsconfigSetString(fsfd, "lowerdir+", dir))
	}
	for _, option := range []string{
		"index=off", "metacopy=off", "redirect_dir=nofollow", "xino=off", "nfs_export=off", "uuid=null",
	} {
		key, value, _ := strings.Cut(option, "=")
		check(t, unix.FsconfigSetString(fsfd, key, value))
	}
	check(t, unix.FsconfigCreate(fsfd))
	mount, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY)
	check(t, err)
	return procPath(mount), func() { release(mount) }
}

// fact is what is seen of one file through the file system, found out with none of the code under test.
type fact struct {
	Format   uint32 // the type bits of the mode
	Mode     uint32
	UID, GID uint32
	Mtime    unix.Timespec
	Content  string // of a regular file, or the target of a symbolic link
	Rdev     uint64
	Xattrs   string
	Links    string // the first path that is the same file
}

func (f fact) String() string {
	return fmt.Sprintf("{%o %o %d:%d %d.%09d %q %d [%s] =%q}", f.Format, f.Mode, f.UID, f.GID, f.Mtime.Sec, f.Mtime.Nsec,
		f.Content, f.Rdev, f.Xattrs, f.Links)
}

// readTree reads a directory through the file system.
func readTree(t failer, dir string) map[string]fact {
	t.Helper()
	facts := make(map[string]fact)
	inodes := make(map[[2]uint64]string)
	var read func(path string)
	read = func(path string) {
		full := dir + "/" + path
		var st unix.Stat_t
		err := unix.Lstat(full, &st)
		if errors.Is(err, unix.ENOENT) {
			return // overlayfs lists the whiteouts of a directory that does not merge, but does not find them
		}
		check(t, err)
		facts[path] = factOf(t, full, path, &st, inodes)
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return
		}
		entries, err := os.ReadDir(full)
		check(t, err)
		for _, e := range entries {
			read(strings.TrimPrefix(path+"/"+e.Name(), "./"))
		}
	}
	read(".")
	return facts
}

func factOf(t failer, full, path string, st *unix.Stat_t, inodes map[[2]uint64]string) fact {
	t.Helper()
	f := fact{
		Format: st.Mode & unix.S_IFMT, Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid, Mtime: st.Mtim,
		Links: path, Xattrs: realXattrs(t, full),
	}
	switch f.Format {
	case unix.S_IFDIR:
		return f
	case unix.S_IFREG:
		content, err := os.ReadFile(full)
		check(t, err)
		f.Content = string(content)
	case unix.S_IFLNK:
		target, err := os.Readlink(full)
		check(t, err)
		f.Content = target
	case unix.S_IFCHR, unix.S_IFBLK:
		f.Rdev = st.Rdev
	}
	id := [2]uint64{st.Dev, st.Ino}
	if first, ok := inodes[id]; ok {
		f.Links = first
	} else {
		inodes[id] = path
	}
	return f
}

func realXattrs(t failer, full string) string {
	t.Helper()
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(full, buf)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return ""
	}
	check(t, err)
	names := strings.FieldsFunc(string(buf[:n]), func(r rune) bool { return r == 0 })
	slices.Sort(names)
	var list []string
	for _, name := range names {
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(full, name, value)
		check(t, err)
		list = append(list, fmt.Sprintf("%s=%q", name, value[:n]))
	}
	return strings.Join(list, " ")
}

// readView reads a view by Lookup, ReadDir and ReadFile.
func readView(t failer, v *View) map[string]fact {
	t.Helper()
	facts := make(map[string]fact)
	inodes := make(map[[2]uint64]string)
	var read func(path string)
	read = func(path string) {
		e, err := v.Lookup(path)
		check(t, err)
		facts[path] = entryFact(t, v, e, inodes)
		if e.Kind != Directory {
			return
		}
		names, err := v.ReadDir(path)
		check(t, err)
		for _, name := range names {
			read(joinPath(path, name))
		}
	}
	read(root)
	return facts
}

// readStack reads a stack as readView does.
func readStack(t failer, stack ...string) map[string]fact {
	t.Helper()
	v, err := Open(stack)
	check(t, err)
	defer v.Close()
	return readView(t, v)
}

// readEntries reads a view by Tree.
func readEntries(t failer, v *View) map[string]fact {
	t.Helper()
	facts := make(map[string]fact)
	inodes := make(map[[2]uint64]string)
	check(t, v.Tree(testContext(), func(e Entry) error {
		facts[e.Path] = entryFact(t, v, e, inodes)
		return nil
	}))
	return facts
}

var formats = map[Kind]uint32{
	Regular: unix.S_IFREG, Directory: unix.S_IFDIR, Symlink: unix.S_IFLNK, CharDevice: unix.S_IFCHR,
	BlockDevice: unix.S_IFBLK, FIFO: unix.S_IFIFO, Socket: unix.S_IFSOCK,
}

func entryFact(t failer, v *View, e Entry, inodes map[[2]uint64]string) fact {
	t.Helper()
	f := fact{
		Format: formats[e.Kind], Mode: e.Mode, UID: e.UID, GID: e.GID, Mtime: e.Mtime, Content: e.Link, Rdev: e.Rdev,
		Links: e.Path,
	}
	var list []string
	for name, value := range e.Xattrs {
		check(t, value.use(storedName(name), func(value []byte) error {
			list = append(list, fmt.Sprintf("%s=%q", name, value))
			return nil
		}))
	}
	slices.Sort(list)
	f.Xattrs = strings.Join(list, " ")
	if e.Kind == Directory {
		return f
	}
	if e.Kind == Regular {
		content, err := v.ReadFile(e.Path, 1<<20)
		check(t, err)
		f.Content = string(content)
	}
	id := [2]uint64{e.Dev, e.Ino}
	if first, ok := inodes[id]; ok {
		f.Links = first
	} else {
		inodes[id] = e.Path
	}
	return f
}

// sameFacts reports where two trees differ.
func sameFacts(t failer, what string, got, want map[string]fact) {
	t.Helper()
	for path, w := range want {
		if g, ok := got[path]; !ok {
			t.Errorf("%s: %q is missing, want %v", what, path, w)
		} else if g != w {
			t.Errorf("%s: %q:\n got %v\nwant %v", what, path, g, w)
		}
	}
	for path, g := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%s: %q is too much: %v", what, path, g)
		}
	}
}

// openView opens a stack for the time of a test.
func openView(t testing.TB, stack ...string) *View {
	t.Helper()
	v, err := Open(stack)
	check(t, err)
	t.Cleanup(func() { check(t, v.Close()) })
	return v
}

// tmpfs returns an empty directory that is a file system of its own, in memory, for the time of a test.
func tmpfs(t *testing.T) string {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	check(t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	t.Cleanup(func() { check(t, unix.Unmount(dir, 0)) })
	return dir
}

// makeDirs makes directories with the given names below a new one.
func makeDirs(t failer, below string, n int) Stack {
	t.Helper()
	var dirs Stack
	for i := range n {
		dir := filepath.Join(below, fmt.Sprint(i))
		check(t, os.Mkdir(dir, 0o755))
		dirs = append(dirs, dir)
	}
	return dirs
}
