// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"time"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
)

// Explanation says where the content that a container sees at a path comes from, and what it hides. Fields may be
// added without a new version of reports.
type Explanation struct {
	Version   int    `json:"version"` // that of reports
	Path      string `json:"path"`
	PathBytes []byte `json:"path_bytes,omitempty"`
	Exists    bool   `json:"exists"` // the container sees something
	// Stack tells, topmost first, what each directory of the stack says about the path; those that say nothing are left
	// out.
	Stack []Sight `json:"stack"`
	// Package owns the path as the container's package database has it, BasePackage as that of the base has it.
	Package     *Fix `json:"package,omitempty"`
	BasePackage *Fix `json:"base_package,omitempty"`
	// Driver decides about the path in an update, before or instead of the rules for files; "" for those.
	Driver string `json:"driver,omitempty"`
	// Concern is what it would be called if the user and a new base both changed it and it could not be merged, Action
	// what the policy says to do then.
	Concern policy.Concern `json:"concern"`
	Action  policy.Action  `json:"action"`
	// Pin is the one that keeps the path the user's, or would if it were not expired.
	Pin        *policy.Pin `json:"pin,omitempty"`
	PinExpired bool        `json:"pin_expired,omitempty"`
	// Beside lists the versions of the path that are not in force.
	Beside   []BesideVersion `json:"beside,omitempty"`
	Excluded bool            `json:"excluded,omitempty"` // it is never looked at
	// Unread says why it cannot be told who decides about the path, in words that follow the path; then Driver, Concern
	// and Action are empty.
	Unread string `json:"unread,omitempty"`
}

// Sight is what one directory of a stack says about a path.
type Sight struct {
	From    string `json:"from"`    // the name of the directory
	Storage bool   `json:"storage"` // it is of the storage, not of the base
	Shown   bool   `json:"shown"`   // the container sees it; for a directory, its metadata
	Merged  bool   `json:"merged"`  // a directory whose content the container sees, but not its metadata
	What    string `json:"what"`    // the kind of the file, "whiteout", or "opaque directory"
	// At is the directory that hides the path, where it is not the path itself about which something is said.
	At string `json:"at,omitempty"`

	Content Content   `json:"content,omitempty"`
	Mode    string    `json:"mode,omitempty"` // octal
	UID     uint32    `json:"uid"`
	GID     uint32    `json:"gid"`
	Size    int64     `json:"size"`
	Time    time.Time `json:"time,omitzero"`    // of modification
	Xattrs  []string  `json:"xattrs,omitempty"` // their names
	Unread  string    `json:"unread,omitempty"` // why something of the above is missing, in words that follow the path
	Flags   string    `json:"flags,omitempty"`  // of the inode, as chattr takes them: "i" is immutable, "a" append-only
}
