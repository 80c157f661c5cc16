// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"errors"
	"runtime"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Names of extended attributes. What follows ownTrusted belongs to overlayfs, unless the escape follows: then it is
// data of the user (an overlay within the overlay), shown with the escape taken away. What follows ownUser belongs to
// overlays that were mounted with userxattr; a View does not honour it.
const (
	ownTrusted = "trusted.overlay."
	ownUser    = "user.overlay."
	escape     = "overlay."

	attrOpaque   = ownTrusted + "opaque"
	attrWhiteout = ownTrusted + "whiteout"
	attrRedirect = ownTrusted + "redirect"
	attrMetacopy = ownTrusted + "metacopy"

	attrProtected = ownTrusted + "protattr" // see Flags

	attrCapability = "security.capability"
	attrDefaultACL = "system.posix_acl_default"
	attrAccessACL  = "system.posix_acl_access"
)

// shownName translates the stored name of an extended attribute to the one that an overlay mount shows; ok is false for
// overlayfs's own, which are not shown.
func shownName(stored string) (shown string, ok bool) {
	own, found := strings.CutPrefix(stored, ownTrusted)
	if !found {
		return stored, true
	}
	data, escaped := strings.CutPrefix(own, escape)
	return ownTrusted + data, escaped
}

// storedName is the inverse of shownName.
func storedName(shown string) string {
	if data, found := strings.CutPrefix(shown, ownTrusted); found {
		return ownTrusted + escape + data
	}
	return shown
}

// The system calls that take a directory and a name came with Linux 6.13; before, and where they are filtered, the same
// is done through /proc, which costs about four times as much. golang.org/x/sys does not wrap them.
const (
	sysSetxattrat    = 463
	sysGetxattrat    = 464
	sysListxattrat   = 465
	sysRemovexattrat = 466
)

// xattrArgs is struct xattr_args of the kernel.
type xattrArgs struct {
	value uint64
	size  uint32
	flags uint32
}

// bufferSize is large enough for most lists and values of extended attributes; maxXattr is the most that the kernel
// gives.
const (
	bufferSize = 1 << 10
	maxXattr   = 64 << 10
)

// buffers holds the buffers for what needs more than bufferSize: nothing that is kept may keep one of them alive.
var buffers = sync.Pool{New: func() any { return new([maxXattr]byte) }}

// listXattrs returns the stored names of the extended attributes of a file, which is not followed if it is a symbolic
// link. A file system without extended attributes has none. The error is E2BIG for a list longer than the kernel gives:
// some file systems hold such lists, and no program can read them.
func listXattrs(dir int, name string) (names []string, err error) {
	err = growing(func(buf []byte) (int, error) {
		n, err := xattrCall(sysListxattrat, dir, name, unsafe.Pointer(unsafe.SliceData(buf)), uintptr(len(buf)), 0)
		if errors.Is(err, unix.ENOSYS) {
			return unix.Llistxattr(procName(dir, name), buf)
		}
		return n, err
	}, func(list []byte) error {
		if len(list) > 0 {
			names = strings.Split(strings.TrimSuffix(string(list), "\x00"), "\x00")
		}
		return nil
	})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	return names, err
}

// withXattr calls fn with the value of an extended attribute by its stored name. The value is valid until fn returns.
// The error is ENODATA when there is no such attribute.
func withXattr(dir int, name, attr string, fn func(value []byte) error) error {
	return growing(func(buf []byte) (int, error) {
		n, err := attrCall(sysGetxattrat, dir, name, attr, buf)
		if errors.Is(err, unix.ENOSYS) {
			return unix.Lgetxattr(procName(dir, name), attr, buf)
		}
		return n, err
	}, fn)
}

// getXattr returns the value of an extended attribute by its stored name, nil when there is none. It needs no list of
// the attributes, and so works where that is too long.
func getXattr(dir int, name, attr string) (value []byte, err error) {
	err = withXattr(dir, name, attr, func(v []byte) error {
		value = append([]byte{}, v...)
		return nil
	})
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	return value, err
}

// setXattr sets an extended attribute by its stored name.
func setXattr(dir int, name, attr string, value []byte) error {
	_, err := attrCall(sysSetxattrat, dir, name, attr, value)
	if errors.Is(err, unix.ENOSYS) {
		return unix.Lsetxattr(procName(dir, name), attr, value, 0)
	}
	return err
}

// removeXattr removes an extended attribute by its stored name; the error is ENODATA when there is none.
func removeXattr(dir int, name, attr string) error {
	cattr, err := unix.BytePtrFromString(attr)
	if err != nil {
		return err
	}
	_, err = xattrCall(sysRemovexattrat, dir, name, unsafe.Pointer(cattr), 0, 0)
	if errors.Is(err, unix.ENOSYS) {
		return unix.Lremovexattr(procName(dir, name), attr)
	}
	return err
}

// attrCall calls setxattrat or getxattrat.
func attrCall(trap uintptr, dir int, name, attr string, value []byte) (int, error) {
	cattr, err := unix.BytePtrFromString(attr)
	if err != nil {
		return 0, err
	}
	// The kernel sees the value through a number in args: the pin keeps the value from moving in the meantime.
	var pin runtime.Pinner
	defer pin.Unpin()
	args := xattrArgs{size: uint32(len(value))}
	if len(value) > 0 {
		pin.Pin(&value[0])
		args.value = uint64(uintptr(unsafe.Pointer(&value[0])))
	}
	return attrCallArgs(trap, dir, name, cattr, &args)
}

func attrCallArgs(trap uintptr, dir int, name string, attr *byte, args *xattrArgs) (int, error) {
	cname, err := unix.BytePtrFromString(name)
	if err != nil {
		return 0, err
	}
	n, _, errno := unix.Syscall6(trap, uintptr(dir), uintptr(unsafe.Pointer(cname)), unix.AT_SYMLINK_NOFOLLOW,
		uintptr(unsafe.Pointer(attr)), uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// xattrCall calls listxattrat or removexattrat.
func xattrCall(trap uintptr, dir int, name string, a unsafe.Pointer, b, c uintptr) (int, error) {
	cname, err := unix.BytePtrFromString(name)
	if err != nil {
		return 0, err
	}
	n, _, errno := unix.Syscall6(trap, uintptr(dir), uintptr(unsafe.Pointer(cname)), unix.AT_SYMLINK_NOFOLLOW,
		uintptr(a), b, c)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// growing calls read with a small buffer, and when that is too small with the largest that can be needed. What was read
// is given to fn; it is valid until fn returns.
func growing(read func([]byte) (int, error), fn func([]byte) error) error {
	buf := make([]byte, bufferSize)
	n, err := read(buf)
	if errors.Is(err, unix.ERANGE) {
		large := buffers.Get().(*[maxXattr]byte) //nolint:errcheck,forcetypeassert // the pool makes nothing else
		defer buffers.Put(large)
		buf = large[:]
		n, err = read(buf)
	}
	if err != nil {
		return err
	}
	return fn(buf[:n:n])
}

// procName is a path to a name in a directory, for the system calls that take only paths. A symbolic link at the name
// is not followed by those which begin with an l.
func procName(dir int, name string) string { return procPath(dir) + "/" + name }
