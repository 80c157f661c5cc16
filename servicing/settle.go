// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"fmt"
	"maps"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// settle changes the decision on a conflict to what the policy says. Where the policy says nothing it stays: the
// default may be finer than an action tells.
func (p *planner) settle(c policy.Concern, t three, d decision) decision {
	action, given := p.options.Policy[c]
	if !given {
		return d
	}
	d.quiet = false
	d.reason += fmt.Sprintf("; the policy for %s is %s", c, action)
	switch action {
	case policy.ActionKeep:
		d.verdict, d.beside, d.aside, d.result = report.Keep, false, false, shows(merged(t, t.u))
	case policy.ActionTake:
		d.verdict, d.beside, d.aside, d.result = report.Take, false, true, shows(merged(t, t.n))
	case policy.ActionBeside:
		d.verdict, d.beside, d.aside, d.result = report.Keep, false, false, shows(merged(t, t.u))
		if t.u.is(tree.Regular) && (t.n.is(tree.Regular) || t.n.is(tree.Symlink)) {
			d.verdict, d.beside = report.Beside, true
		}
	case policy.ActionHold:
		p.holdConflict(c, t, d.reason)
		d.verdict = report.Hold
	}
	return d
}

// holdConflict holds the storage because of a conflict.
func (p *planner) holdConflict(c policy.Concern, t three, reason string) {
	p.hold(report.HoldConflict, t.path, fmt.Sprintf("/%s: a conflict (%s): %s", t.path, c, reason))
}

// settleMeta changes metadata that both sides changed to what the policy says.
func (p *planner) settleMeta(t three, d decision) decision {
	action, given := p.options.Policy[policy.ConcernMetadata]
	n := d.result.node
	if !given || n.absent() || !metaConflict(t) || !sameMeta(n.Kind, n.Meta, mergeMeta(t, n)) {
		return d
	}
	switch action {
	case policy.ActionTake:
		swapped := three{path: t.path, was: t.was, o: t.o, n: t.u, u: t.n}
		d.result.Meta = mergeMeta(swapped, n)
		d.reason += "; mode, owner or attributes are the base's: the policy for " + string(policy.ConcernMetadata) + " is " + string(action)
		d.quiet = false
	case policy.ActionHold:
		p.holdConflict(policy.ConcernMetadata, t, "mode, owner or attributes changed on both sides")
		d.verdict, d.quiet = report.Hold, false
	}
	return d
}

// metaConflict tells whether both sides changed mode, owner or an attribute, and not to the same.
func metaConflict(t three) bool {
	if !t.o.is(t.u.Kind) || !t.n.is(t.u.Kind) || t.u.absent() {
		return false
	}
	clash := func(on, ou, nu bool) bool { return !on && !ou && !nu }
	if clash(t.o.UID == t.n.UID, t.o.UID == t.u.UID, t.n.UID == t.u.UID) || clash(t.o.GID == t.n.GID, t.o.GID == t.u.GID, t.n.GID == t.u.GID) {
		return true
	}
	o, n, u := permissions(t.o), permissions(t.n), permissions(t.u)
	if t.u.Kind != tree.Symlink && clash(o == n, o == u, n == u) {
		return true
	}
	names := maps.Clone(t.u.Xattrs)
	if names == nil {
		names = make(map[string]tree.Value)
	}
	maps.Copy(names, t.n.Xattrs)
	maps.Copy(names, t.o.Xattrs)
	for name := range names {
		if name != labelXattr && name != aclXattr && clash(sameXattr(name, t.o, t.n), sameXattr(name, t.o, t.u), sameXattr(name, t.n, t.u)) {
			return true
		}
	}
	return false
}

func sameXattr(name string, a, b node) bool {
	x, inX := a.Xattrs[name]
	y, inY := b.Xattrs[name]
	return inX == inY && x.Equal(y)
}
