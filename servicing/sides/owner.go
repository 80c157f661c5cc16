// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package sides

import (
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// Owner says which package has a path in its list, on each side; nil for none.
type Owner [3]*unit.Choice

// UsersVersion reports whether a path belongs to a package whose version is the user's, and so is the user's as well.
func (o Owner) UsersVersion(p string) bool {
	c := o[User]
	if c == nil && o[Old] != nil && o[Old].User.Residual() {
		c = o[Old] // its configuration files are left
	}
	if !c.Differs() {
		return false
	}
	if c.User.Residual() {
		return slices.Contains(c.User.Left, p)
	}
	return c.User.Installed()
}

// Returns reports whether a path that the user does not have is one that the user's version of its package does not
// have, while that of the new base counts and has it.
func (o Owner) Returns() bool {
	c := o[New]
	return c.Replaces() && o[User] == nil
}

// Removed reports whether a path belongs to a package that is not in the result because the new base does not have it.
func (o Owner) Removed() bool {
	c := o[Old]
	if o[User] != nil {
		c = o[User]
	}
	return c != nil && c.Side == unit.Base && !c.New.Installed() && o[New] == nil
}

// SameVersion reports whether a path belongs to a package that the user brought to the same version as the new base.
func (o Owner) SameVersion() bool {
	c := o[User]
	return c.Replaces() && c == o[New] && c.User.Version == c.New.Version
}

// Owned reports whether a path belongs to a package in one of the bases.
func (o Owner) Owned() bool { return o[Old] != nil || o[New] != nil }

// Name returns the name of the package that has a path: in the new base, else in the old one, else for the user.
func (o Owner) Name() string {
	for _, side := range []int{New, Old, User} {
		if o[side] != nil {
			return o[side].Key
		}
	}
	return ""
}

// On returns the package as one side has it.
func On(c *unit.Choice, side int) *unit.Package { return [3]*unit.Package{c.Old, c.New, c.User}[side] }

// The sides in arrays.
const (
	Old = iota
	New
	User
)
