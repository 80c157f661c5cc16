// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"maps"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// The bits that let a program run as its owner or its group.
const (
	setUID  = 0o4000
	setGID  = 0o2000
	bothIDs = setUID | setGID
)

// withoutGain takes from an outcome what would let a program do more than either side lets it: setuid and setgid bits and
// capabilities are the user's, for the same owner, or go with the content that the new base gives them to. Attributes are
// merged one by one, so without this a program that a user wrote could become that of root.
func withoutGain(t three, o outcome) (outcome, error) {
	if !o.privileged() {
		return o, nil
	}
	base := false
	if !o.made {
		var err error
		if base, err = sameContent(o.node, t.n); err != nil {
			return o, err
		}
	}
	if base {
		return o.limited(t.u, t.n), nil
	}
	return o.limited(t.u), nil
}

// privileged tells whether an outcome is a file that lets a program do more than who starts it. What the bits mean for a
// directory is harmless.
func (o outcome) privileged() bool {
	_, capable := o.Xattrs[capabilityXattr]
	return o.is(tree.Regular) && (o.Mode&bothIDs != 0 || capable)
}

// limited returns the outcome with those privileges that one of some files has as well.
func (o outcome) limited(by ...node) outcome {
	var bits uint32
	capable := false
	for _, n := range by {
		if !n.is(tree.Regular) {
			continue
		}
		if n.UID == o.UID || n.UID == 0 { // root's is more than anybody's
			bits |= n.Mode & setUID
		}
		if n.GID == o.GID || n.GID == 0 {
			bits |= n.Mode & setGID
		}
		value, has := n.Xattrs[capabilityXattr]
		capable = capable || has && value.Equal(o.Xattrs[capabilityXattr])
	}
	o.Mode &^= bothIDs &^ bits
	if !capable {
		o.Xattrs = maps.Clone(o.Xattrs)
		delete(o.Xattrs, capabilityXattr)
	}
	return o
}

// gains tells whether an outcome has a privilege that a file does not have.
func (o outcome) gains(over node) bool {
	return o.privileged() && !sameMeta(o.Kind, o.limited(over).Meta, o.Meta)
}

// notAsRoot takes the setuid and setgid bits that would count for root now, because a user gave root's id to an account of the
// new base, and did not before.
func notAsRoot(before, after tree.Meta) tree.Meta {
	if after.UID == 0 && before.UID != 0 {
		after.Mode &^= setUID
	}
	if after.GID == 0 && before.GID != 0 {
		after.Mode &^= setGID
	}
	return after
}

// unprivileged returns a file as it may stand beside its path: what nobody put there gives nobody anything.
func (o outcome) unprivileged() outcome {
	if o.privileged() {
		return o.limited()
	}
	return o
}
