// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Flags are the inode flags of a regular file or directory that an overlay mount shows and that a copy keeps (see
// chattr).
//
// A container that makes a file immutable or append-only sets no flag on the inode in the upper directory: overlayfs
// notes it there in an extended attribute, heeds the note in an upper directory, and ignores it in a lower one, where
// it shows the flags of the inode. Both count here. A node is written with the note alone, so that it can be merged
// and, should it ever be opened again, changed; [ShowFlags] sets the flags of the inodes before the node is mounted as
// a lower directory. When overlayfs copies such a file up, it notes the flags again.
type Flags uint32

// The flags, by their numbers for FS_IOC_SETFLAGS.
const (
	Sync       Flags = 0x08
	Immutable  Flags = 0x10
	AppendOnly Flags = 0x20
	NoDump     Flags = 0x40
	NoAccess   Flags = 0x80 // the time of access is not kept

	// protecting flags keep a file from being changed, linked and deleted, by root, too.
	protecting = Immutable | AppendOnly
	// hints change nothing about what can be done with a file.
	hints = Sync | NoDump | NoAccess
)

var flagLetters = [...]struct {
	flag   Flags
	letter string
}{{Sync, "S"}, {Immutable, "i"}, {AppendOnly, "a"}, {NoDump, "d"}, {NoAccess, "A"}}

// String returns the flags as chattr takes them, for example "ia", and "" for none.
func (f Flags) String() string {
	var b strings.Builder
	for _, l := range flagLetters {
		if f&l.flag != 0 {
			b.WriteString(l.letter)
		}
	}
	return b.String()
}

// note returns what overlayfs writes into attrProtected.
func (f Flags) note() []byte {
	var note []byte
	if f&AppendOnly != 0 {
		note = append(note, 'a')
	}
	if f&Immutable != 0 {
		note = append(note, 'i')
	}
	return note
}

// readNote reads what overlayfs wrote. As the kernel does, it stops at what it does not know; known is false then.
func readNote(note []byte) (f Flags, known bool) {
	for _, letter := range note {
		switch letter {
		case 'a':
			f |= AppendOnly
		case 'i':
			f |= Immutable
		default:
			return f, false
		}
	}
	return f, len(note) > 0
}

// flags returns the flags that an overlay mount shows if this is in the upper directory, or in a lower one with its
// flags shown.
func (p *part) flags() (Flags, error) {
	if !canHaveFlags(p.st.Mode) {
		return 0, nil
	}
	set, err := inodeFlags(p.dir, p.name)
	if err != nil {
		return 0, fmt.Errorf("inode flags: %w", err)
	}
	noted, _, err := p.noted()
	return set | noted, err
}

// noted returns the flags that overlayfs has noted; known is false if the note says something else as well.
func (p *part) noted() (f Flags, known bool, err error) {
	has, err := p.has(attrProtected)
	if err != nil || !has {
		return 0, true, err
	}
	note, err := getXattr(p.dir, p.name, attrProtected)
	if err != nil {
		return 0, true, fmt.Errorf("extended attribute %s: %w", attrProtected, err)
	}
	f, known = readNote(note)
	return f, known && canHaveFlags(p.st.Mode), nil
}

func canHaveFlags(mode uint32) bool {
	kind := kindOf(mode)
	return kind == Regular || kind == Directory
}

// fileAttr is struct file_attr of the kernel.
type fileAttr struct {
	xflags                                    uint64
	extsize, nextents, project, cowExtentSize uint32
}

// flagBits are the flags as file_getattr and statx give them; statx does not know all.
var flagBits = [...]struct {
	flag          Flags
	xflags, statx uint64
}{
	{Sync, 0x20, 0},
	{Immutable, 0x08, unix.STATX_ATTR_IMMUTABLE},
	{AppendOnly, 0x10, unix.STATX_ATTR_APPEND},
	{NoDump, 0x80, unix.STATX_ATTR_NODUMP},
	{NoAccess, 0x40, 0},
}

// inodeFlags returns the flags of the inode at a name in a directory. On kernels without file_getattr, Sync and
// NoAccess are not told: the file would have to be opened.
func inodeFlags(dir int, name string) (f Flags, err error) {
	attr, err := fileGetattr(dir, name)
	switch {
	case err == nil:
		for _, b := range flagBits {
			if attr.xflags&b.xflags != 0 {
				f |= b.flag
			}
		}
		return f, nil
	case noFlags(err):
		return 0, nil
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM): // filtered
		return statxFlags(dir, name)
	default:
		return 0, err
	}
}

// fileGetattr calls file_getattr, which came with Linux 6.17 and gives all flags without opening the file.
// golang.org/x/sys does not wrap it.
func fileGetattr(dir int, name string) (fileAttr, error) {
	var attr fileAttr
	cname, err := unix.BytePtrFromString(name)
	if err != nil {
		return attr, err
	}
	_, _, errno := unix.Syscall6(unix.SYS_FILE_GETATTR, uintptr(dir), uintptr(unsafe.Pointer(cname)),
		uintptr(unsafe.Pointer(&attr)),
		unsafe.Sizeof(attr), unix.AT_SYMLINK_NOFOLLOW, 0)
	if errno != 0 {
		return attr, errno
	}
	return attr, nil
}

func statxFlags(dir int, name string) (f Flags, err error) {
	var st unix.Statx_t
	if err := unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW, 0, &st); err != nil {
		return 0, err
	}
	for _, b := range flagBits {
		if b.statx != 0 && st.Attributes&b.statx != 0 {
			f |= b.flag
		}
	}
	return f, nil
}

// noFlags reports whether an error says that a file system has no inode flags.
func noFlags(err error) bool {
	return slices.ContainsFunc([]error{unix.ENOTTY, unix.EOPNOTSUPP, unix.EINVAL, unix.ENOTSUP},
		func(e error) bool { return errors.Is(err, e) })
}

// setFlags writes flags for a file that was just made: those that protect it as a note, the others on the inode, where
// the file system has them.
func setFlags(dir int, name string, f Flags) error {
	if note := f.note(); note != nil {
		if err := setXattr(dir, name, attrProtected, note); err != nil {
			return fmt.Errorf("extended attribute %s: %w", attrProtected, err)
		}
	}
	if f&hints == 0 {
		return nil
	}
	_, err := changeFlags(dir, name, func(now Flags) Flags { return now | f&hints })
	if err != nil && !noFlags(err) {
		return fmt.Errorf("inode flags: %w", err)
	}
	return nil
}

// changeFlags changes the flags of the inode at a name in a directory, which is not followed. It reports whether they
// were others before. Flags that are not listed above stay.
func changeFlags(dir int, name string, change func(Flags) Flags) (changed bool, err error) {
	fd, err := openFlagged(dir, name)
	if err != nil {
		return false, err
	}
	defer release(fd)
	now, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	if err != nil {
		return false, err
	}
	next := uint32(change(Flags(now)))
	if next == now {
		return false, nil
	}
	if err := unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(next)); err != nil {
		if errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("%w: molt needs CAP_LINUX_IMMUTABLE", err)
		}
		return false, err
	}
	return true, nil
}

// openFlagged opens a regular file or directory such that its flags can be changed. Nothing else is opened.
func openFlagged(dir int, name string) (int, error) {
	path, err := openat2(dir, name, unix.O_PATH)
	if err != nil {
		return -1, err
	}
	defer release(path)
	var st unix.Stat_t
	if err := unix.Fstat(path, &st); err != nil {
		return -1, err
	}
	if !canHaveFlags(st.Mode) {
		return -1, unix.ENOTTY
	}
	return unix.Open(procPath(path), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}

// Unprotect takes the flags from the inode at a name in a directory, given by its descriptor, that keep it from being
// deleted, and for a directory what is in it. It reports whether there were any. Nothing is followed, and nothing but a
// regular file or a directory is opened.
func Unprotect(dir int, name string) (changed bool, err error) {
	changed, err = changeFlags(dir, name, func(now Flags) Flags { return now &^ protecting })
	if noFlags(err) {
		return false, nil
	}
	return changed, err
}

// ShowFlags sets on the inodes of a node the flags that overlayfs noted there, so that it shows them when the node is a
// lower directory. The node must be immutable from now on. Calling it again changes nothing, so one that was
// interrupted is finished by the next one. Nothing is synced.
func ShowFlags(ctx context.Context, dir string) error {
	return project(ctx, dir, func(now, noted Flags) Flags { return now | noted })
}

// HideFlags undoes ShowFlags: the node can be an upper directory again. The notes stay.
func HideFlags(ctx context.Context, dir string) error {
	return project(ctx, dir, func(now, noted Flags) Flags { return now &^ noted })
}

// project changes the flags of all inodes that have a note.
func project(ctx context.Context, dir string, change func(now, noted Flags) Flags) error {
	v, err := Open(Stack{dir})
	if err != nil {
		return fmt.Errorf("set inode flags: %w", err)
	}
	defer v.Close()
	err = v.walk(ctx, func(p *place) error {
		top := p.parts[0]
		noted, _, err := top.noted()
		if err == nil && noted != 0 && canHaveFlags(top.st.Mode) {
			_, err = changeFlags(top.dir, top.name, func(now Flags) Flags { return change(now, noted) })
		}
		if err != nil {
			return fmt.Errorf("%s: %w", Shown(p.path), err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("set inode flags: %w", err)
	}
	return nil
}
