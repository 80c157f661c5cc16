// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"fmt"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Settle changes the decision on a conflict to what the policy says. Where the policy says nothing it stays: the
// default may be finer than an action tells.
func (r *result) Settle(c policy.Concern, t sides.Three, d decision) decision {
	action, given := r.policy[c]
	if !given {
		return d
	}
	d.quiet = false
	d.reason += fmt.Sprintf("; the policy for %s is %s", c, action)
	switch action {
	case policy.ActionKeep:
		d.verdict, d.beside, d.aside, d.result = report.Keep, false, false, sides.Shows(sides.Merged(t, t.U))
	case policy.ActionTake:
		d.verdict, d.beside, d.aside, d.result = report.Take, false, true, sides.Shows(sides.Merged(t, t.N))
	case policy.ActionBeside:
		d.verdict, d.beside, d.aside, d.result = report.Keep, false, false, sides.Shows(sides.Merged(t, t.U))
		if t.U.Is(tree.Regular) && (t.N.Is(tree.Regular) || t.N.Is(tree.Symlink)) {
			d.verdict, d.beside = report.Beside, true
		}
	case policy.ActionHold:
		r.holdConflict(c, t, d.reason)
		d.verdict = report.Hold
	}
	return d
}

// holdConflict holds the storage because of a conflict.
func (r *result) holdConflict(c policy.Concern, t sides.Three, reason string) {
	r.Hold(report.HoldConflict, t.Path, fmt.Sprintf("/%s: a conflict (%s): %s", t.Path, c, reason))
}

// settleMeta changes metadata that both sides changed to what the policy says.
func (r *result) settleMeta(t sides.Three, d decision) decision {
	action, given := r.policy[policy.ConcernMetadata]
	n := d.result.Node
	if !given || n.Absent() || !sides.MetaConflict(t) || !sides.SameMeta(n.Kind, n.Meta, sides.MergeMeta(t, n)) {
		return d
	}
	switch action {
	case policy.ActionTake:
		swapped := sides.Three{Path: t.Path, Was: t.Was, O: t.O, N: t.U, U: t.N}
		d.result.Meta = sides.MergeMeta(swapped, n)
		d.reason += "; mode, owner or attributes are the base's: the policy for " + string(policy.ConcernMetadata) + " is " + string(action)
		d.quiet = false
	case policy.ActionHold:
		r.holdConflict(policy.ConcernMetadata, t, "mode, owner or attributes changed on both sides")
		d.verdict, d.quiet = report.Hold, false
	}
	return d
}
