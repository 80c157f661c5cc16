// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package sides

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

// WithoutGain takes from an outcome what would let a program do more than either side lets it: setuid and setgid bits
// and capabilities are the user's, for the same owner, or go with the content that the new base gives them to.
// Attributes are merged one by one, so without this a program that a user wrote could become that of root.
func WithoutGain(t Three, o Outcome) (Outcome, error) {
	if !o.privileged() {
		return o, nil
	}
	base := false
	if !o.Made {
		var err error
		if base, err = SameContent(o.Node, t.N); err != nil {
			return o, err
		}
	}
	if base {
		return o.limited(t.U, t.N), nil
	}
	return o.limited(t.U), nil
}

// privileged reports whether an outcome is a file that lets a program do more than who starts it. What the bits mean
// for a directory is harmless.
func (o Outcome) privileged() bool {
	_, capable := o.Xattrs[CapabilityXattr]
	return o.Is(tree.Regular) && (o.Mode&bothIDs != 0 || capable)
}

// limited returns the outcome with those privileges that one of some files has as well.
func (o Outcome) limited(by ...Node) Outcome {
	var bits uint32
	capable := false
	for _, n := range by {
		if !n.Is(tree.Regular) {
			continue
		}
		if n.UID == o.UID || n.UID == 0 { // root's is more than anybody's
			bits |= n.Mode & setUID
		}
		if n.GID == o.GID || n.GID == 0 {
			bits |= n.Mode & setGID
		}
		value, has := n.Xattrs[CapabilityXattr]
		capable = capable || has && value.Equal(o.Xattrs[CapabilityXattr])
	}
	o.Mode &^= bothIDs &^ bits
	if !capable {
		o.Xattrs = maps.Clone(o.Xattrs)
		delete(o.Xattrs, CapabilityXattr)
	}
	return o
}

// Gains reports whether an outcome has a privilege that a file does not have.
func (o Outcome) Gains(over Node) bool {
	return o.privileged() && !SameMeta(o.Kind, o.limited(over).Meta, o.Meta)
}

// NotAsRoot takes the setuid and setgid bits that would count for root now, because a user gave root's id to an
// account of the new base, and did not before.
func NotAsRoot(before, after tree.Meta) tree.Meta {
	if after.UID == 0 && before.UID != 0 {
		after.Mode &^= setUID
	}
	if after.GID == 0 && before.GID != 0 {
		after.Mode &^= setGID
	}
	return after
}

// Unprivileged returns a file as it may stand beside its path: what nobody put there gives nobody anything.
func (o Outcome) Unprivileged() Outcome {
	if o.privileged() {
		return o.limited()
	}
	return o
}
