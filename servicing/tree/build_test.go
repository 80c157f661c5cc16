// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func testContext() context.Context { return context.Background() }

// item is one file of a layer in a test. The first letter of What tells the kind:
// "f" a regular file with the rest as content, "d" a directory, "l" a symbolic link to the rest, "w" a whiteout, "x" a
// whiteout of the second form, "p" a FIFO, "s" a socket, "c" and "b" devices, "h" a hard link to the path in the rest.
type item struct {
	What   string
	Mode   uint32 // 0 for 0644 or 0755
	UID    int
	Mtime  int64 // in nanoseconds
	Xattrs map[string]string
}

// layer maps paths to items. Parents that are not given are directories.
type layer map[string]item

func (l layer) String() string {
	var b strings.Builder
	for _, path := range slices.Sorted(maps.Keys(l)) {
		fmt.Fprintf(&b, "  %q: %+v\n", path, l[path])
	}
	return b.String()
}

// files makes a layer of items that only have a kind.
func files(pairs ...string) layer {
	l := make(layer)
	for i := 0; i < len(pairs); i += 2 {
		l[pairs[i]] = item{What: pairs[i+1]}
	}
	return l
}

// with adds an item with an extended attribute.
func (l layer) with(path, what, attr, value string) layer {
	l[path] = item{What: what, Xattrs: map[string]string{attr: value}}
	return l
}

// build makes the files of a layer in a directory, with none of the code under test.
func (l layer) build(t failer, dir string) {
	t.Helper()
	paths := slices.Sorted(maps.Keys(l))
	for _, path := range paths {
		if parent, _ := splitPath(path); parent != root {
			check(t, os.MkdirAll(dir+"/"+parent, 0o755))
		}
		l[path].make(t, dir, path)
	}
	for _, path := range slices.Backward(paths) { // from the inside out, because of the times of directories
		l[path].finish(t, dir+"/"+path)
	}
}

func (i item) make(t failer, dir, path string) {
	t.Helper()
	full := dir + "/" + path
	rest := i.What[1:]
	switch i.What[0] {
	case 'f':
		check(t, os.WriteFile(full, []byte(rest), 0o644))
	case 'd':
		check(t, os.MkdirAll(full, 0o755))
	case 'l':
		check(t, os.Symlink(rest, full))
	case 'w':
		check(t, unix.Mknod(full, unix.S_IFCHR, 0))
	case 'x':
		check(t, os.WriteFile(full, nil, 0o644))
		check(t, unix.Lsetxattr(full, "trusted.overlay.whiteout", nil, 0))
	case 'p':
		check(t, unix.Mknod(full, unix.S_IFIFO|0o644, 0))
	case 's':
		check(t, unix.Mknod(full, unix.S_IFSOCK|0o644, 0))
	case 'c':
		check(t, unix.Mknod(full, unix.S_IFCHR|0o644, int(unix.Mkdev(1, 3))))
	case 'b':
		check(t, unix.Mknod(full, unix.S_IFBLK|0o644, int(unix.Mkdev(259, 70000))))
	case 'h':
		check(t, os.Link(dir+"/"+rest, full))
	default:
		t.Fatalf("bad item %q", i.What)
	}
}

func (i item) finish(t failer, full string) {
	t.Helper()
	kind := i.What[0]
	if kind == 'w' || kind == 'h' {
		return
	}
	check(t, os.Lchown(full, i.UID, i.UID))
	if i.Mode != 0 && kind != 'l' {
		check(t, unix.Chmod(full, i.Mode))
	}
	for name, value := range i.Xattrs {
		check(t, unix.Lsetxattr(full, name, []byte(value), 0))
	}
	times := []unix.Timespec{unix.NsecToTimespec(i.Mtime), unix.NsecToTimespec(i.Mtime)}
	check(t, unix.UtimesNanoAt(unix.AT_FDCWD, full, times, unix.AT_SYMLINK_NOFOLLOW))
}

// acl is a POSIX ACL as the kernel stores it: rwx for the owner, r-x for one more user, the group and the mask, none for
// others.
func acl(uid uint32) string {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{0x01, 7, ^uint32(0)}, {0x02, 5, uid}, {0x04, 5, ^uint32(0)}, {0x10, 5, ^uint32(0)}, {0x20, 0, ^uint32(0)}} {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return string(b)
}

// capability is security.capability with cap_net_bind_service=ep.
func capability() string {
	b := binary.LittleEndian.AppendUint32(nil, 0x02000001)
	for _, word := range []uint32{1 << 10, 0, 0, 0} {
		b = binary.LittleEndian.AppendUint32(b, word)
	}
	return string(b)
}

// names is the alphabet of paths in random layers: few, so that layers meet, and odd ones.
var names = []string{"a", "b", "c\n d", "\xff\xfe"}

// genLayer draws a layer: its paths are nested up to three deep.
func genLayer(t *rapid.T, label string) layer {
	l := make(layer)
	var regular []string
	var fill func(dir string, depth int)
	fill = func(dir string, depth int) {
		for _, name := range names {
			path := joinPath(dir, name)
			kind := rapid.SampledFrom(strings.Split("------dddddffflwwxpscbh", "")).Draw(t, label+" "+path)
			if depth == 3 && kind == "d" {
				kind = "f"
			}
			if kind == "h" && len(regular) == 0 || kind == "-" {
				continue
			}
			i := genItem(t, kind, path, regular)
			l[path] = i
			switch kind {
			case "f", "l", "p":
				regular = append(regular, path)
			case "d":
				fill(path, depth+1)
			}
		}
	}
	fill(root, 1)
	return l
}

func genItem(t *rapid.T, kind, path string, regular []string) item {
	i := item{What: kind, Mtime: rapid.Int64Range(0, 2e18).Draw(t, "mtime"), UID: rapid.IntRange(0, 2).Draw(t, "uid")}
	i.Mode = rapid.SampledFrom([]uint32{0, 0o4755, 0o2700, 0o1777, 0o600}).Draw(t, "mode")
	i.Xattrs = make(map[string]string)
	choose := func(name string, values ...string) {
		if v := rapid.SampledFrom(append(values, "-", "-")).Draw(t, name); v != "-" {
			i.Xattrs[name] = v
		}
	}
	switch kind {
	case "f":
		i.What += rapid.SampledFrom([]string{"", "", "one", "two"}).Draw(t, "content")
		choose("user.k", "", "v")
		choose("security.capability", capability())
		choose("system.posix_acl_access", acl(7))
	case "d":
		choose("trusted.overlay.opaque", "y", "y", "x", "n", "yes")
		choose("system.posix_acl_default", acl(8))
	case "l":
		i.What += rapid.SampledFrom([]string{"a", "..", "/etc/passwd", "c\n d/a"}).Draw(t, "target")
	case "h":
		i.What += rapid.SampledFrom(regular).Draw(t, "link to")
		return i
	case "w":
		return i
	}
	choose("trusted.k", "v", "w")
	choose("trusted.overlay.overlay.opaque", "y")
	choose("trusted.overlay.origin", "")
	return i
}

// genStack draws and builds a stack of layers below a directory.
func genStack(t *rapid.T, dir string, least, most int) Stack {
	n := rapid.IntRange(least, most).Draw(t, "layers")
	stack := makeDirs(t, dir, n)
	for i, d := range stack {
		l := genLayer(t, fmt.Sprint("layer ", i))
		l.build(t, d)
		t.Logf("layer %d:\n%v", i, l)
	}
	return stack
}
