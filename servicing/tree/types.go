// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrTooLarge is wrapped by the error of View.ReadFile when a file is larger than the limit that was given.
var ErrTooLarge = errors.New("file is larger than the limit")

// Stack names the directories of an overlay, the topmost first. It may be empty: then it shows nothing but an empty
// root.
type Stack []string

// Kind is the type of a file.
type Kind uint8

// The kinds of files. The zero Kind is none of them.
const (
	Regular Kind = iota + 1
	Directory
	Symlink
	CharDevice
	BlockDevice
	FIFO
	Socket
)

var kindNames = [...]string{
	Regular: "regular file", Directory: "directory", Symlink: "symbolic link", CharDevice: "character device",
	BlockDevice: "block device", FIFO: "FIFO", Socket: "socket",
}

// String names the kind in words, as used in reports.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Meta is what a file is apart from its content.
type Meta struct {
	// Mode holds the permission bits with setuid, setgid and sticky (07777). The mode of a symbolic link is not
	// settable and is 0777.
	Mode     uint32
	UID, GID uint32
	Mtime    unix.Timespec
	// Xattrs holds all extended attributes, as an overlay mount shows them: user., security. (capabilities among them),
	// system.posix_acl_*, and trusted. without overlayfs's own. It is nil when there are none.
	Xattrs map[string]Value
	// Unread is set when the extended attributes could not be read, in views that tolerate it. Nothing is written with
	// such metadata.
	Unread *UnreadableError
	// Flags are 0 for what is neither a regular file nor a directory.
	Flags Flags
}

// Entry is one path as a stack shows it.
type Entry struct {
	Path string
	Kind Kind
	Meta
	Size  int64  // in bytes; of regular files and symbolic links, else 0
	Link  string // the target of a symbolic link
	Rdev  uint64 // of devices
	Layer int    // index in the stack of the directory it comes from; for a merged directory, the topmost that has it
	// Dev, Ino and Nlink are those of the backing file: entries with the same (Dev, Ino) are hard links to one another.
	Dev, Ino uint64
	Nlink    uint64
}

// Change is what a stack says about one path, without anything below the stack being known.
type Change struct {
	Entry // for a deletion only Path and Layer are set
	// Deleted: a whiteout, which hides what stands below the stack.
	Deleted bool
	// Opaque: a directory that hides what stands below the stack, because one of the directories that make it up is
	// marked so, or because it stands over a whiteout or a non-directory inside the stack.
	Opaque bool
	// Covered: it is in an opaque directory, or further below one. Nothing that stands below the stack shows there, so
	// a deletion or opaque mark says nothing more, and an unmarked directory does not merge with anything either.
	Covered bool
}

// RefusedError reports an extended attribute of overlayfs that gives a file a meaning which this package does not carry
// over (redirect, metacopy and unknown ones), or one that cannot be removed from a file because flags protect that.
type RefusedError struct {
	Path  string // relative to the directory that was read
	Xattr string
	Flags Flags  // that keep the attribute from being removed
	File  string // the absolute path of the file on the host; only with Flags
}

// Error tells the path, quoted because names are bytes, and the attribute.
func (e *RefusedError) Error() string {
	if e.Flags != 0 {
		return fmt.Sprintf("%s has the inode flags %q, which were set on the host and not by the container, so that "+
			"%s cannot be removed "+
			"from it; run chattr -%s %q and try again", Shown(e.Path), e.Flags, e.Xattr, e.Flags, e.File)
	}
	return fmt.Sprintf("%s carries %s", Shown(e.Path), e.Xattr)
}

// Difference is one way in which two stacks differ.
type Difference struct {
	Path string
	What string // "only in the first", "mode 644 != 600", "xattr user.x", "content", "hard links", ...
}

// String tells the difference on one line.
func (d Difference) String() string { return fmt.Sprintf("%q: %s", d.Path, d.What) }
