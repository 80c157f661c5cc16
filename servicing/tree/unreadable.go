// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Unreadable is a reason why a path cannot be read although nothing is damaged. Any container can bring about each of
// them.
type Unreadable uint8

// The reasons.
const (
	// LongList: the list of its extended attributes is longer than the kernel gives to any program (64 KiB).
	LongList Unreadable = iota + 1
	// Leased: a process holds a lease on the file (fcntl F_SETLEASE), which opening it would have to wait for.
	Leased
	// Changing: it was renamed, replaced or removed while it was looked at.
	Changing
)

// String names the reason in words that follow a path.
func (u Unreadable) String() string {
	switch u {
	case LongList:
		return "has more extended attributes than the kernel can list"
	case Leased:
		return "is in use by a lease"
	case Changing:
		return "was changing while it was looked at"
	default:
		return "cannot be read"
	}
}

// UnreadableError reports a path that cannot be read. All other paths can.
type UnreadableError struct {
	Path string // relative to the root of the tree
	Why  Unreadable
}

// Error names the path, quoted because names are bytes, and the reason.
func (e *UnreadableError) Error() string { return fmt.Sprintf("%s %s", Shown(e.Path), e.Why) }

// unreadable returns the error for a path, whose reason the kernel's error may be, or else the given error.
func unreadable(path string, err error) error {
	switch {
	case errors.Is(err, unix.E2BIG):
		return &UnreadableError{path, LongList}
	case errors.Is(err, unix.EWOULDBLOCK):
		return &UnreadableError{path, Leased}
	case vanished(err):
		return &UnreadableError{path, Changing}
	default:
		return err
	}
}

// vanished reports whether an error of the kernel says that something is no longer where it was found.
func vanished(err error) bool {
	return slices.ContainsFunc([]unix.Errno{unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.ESTALE},
		func(gone unix.Errno) bool { return errors.Is(err, gone) })
}

// maxTries bounds how often something that changes is looked at again.
const maxTries = 8

// again calls look, and calls it again where the tree changed in the meantime and the view tolerates that. The path is
// the one that is looked at.
func (v *View) again(path string, look func() error) error {
	for try := 1; ; try++ {
		err := look()
		if !vanished(err) {
			return err
		}
		v.forget()
		if !v.tolerance.Changes || try == maxTries {
			return unreadable(path, err)
		}
	}
}
