// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Settle changes the decision on a conflict to what the policy says. Where the policy says nothing it stays: the
// default may be finer than an action tells.
func (r *result) Settle(c policy.Concern, t sides.Three, d Decision) Decision {
	action, given := r.policy[c]
	if !given {
		return d
	}
	d.Quiet = false
	d.Reason += fmt.Sprintf("; the policy for %s is %s", c, action)
	switch action {
	case policy.ActionKeep:
		d.Verdict, d.Beside, d.Aside, d.Result = report.Keep, false, false, sides.Shows(sides.Merged(t, t.U))
	case policy.ActionTake:
		d.Verdict, d.Beside, d.Aside, d.Result = report.Take, false, true, sides.Shows(sides.Merged(t, t.N))
	case policy.ActionBeside:
		d.Verdict, d.Beside, d.Aside, d.Result = report.Keep, false, false, sides.Shows(sides.Merged(t, t.U))
		if t.U.Is(tree.Regular) && (t.N.Is(tree.Regular) || t.N.Is(tree.Symlink)) {
			d.Verdict, d.Beside = report.Beside, true
		}
	case policy.ActionHold:
		r.holdConflict(c, t, d.Reason)
		d.Verdict = report.Hold
	}
	return d
}

// holdConflict holds the storage because of a conflict.
func (r *result) holdConflict(c policy.Concern, t sides.Three, reason string) {
	r.Hold(report.HoldConflict, t.Path, fmt.Sprintf("/%s: a conflict (%s): %s", t.Path, c, reason))
}

// settleMeta changes metadata that both sides changed to what the policy says.
func (r *result) settleMeta(t sides.Three, d Decision) Decision {
	action, given := r.policy[policy.ConcernMetadata]
	n := d.Result.Node
	if !given || n.Absent() || !sides.MetaConflict(t) || !sides.SameMeta(n.Kind, n.Meta, sides.MergeMeta(t, n)) {
		return d
	}
	switch action {
	case policy.ActionTake:
		swapped := sides.Three{Path: t.Path, Was: t.Was, O: t.O, N: t.U, U: t.N}
		d.Result.Meta = sides.MergeMeta(swapped, n)
		d.Reason += fmt.Sprintf("; mode, owner or attributes are the base's: the policy for %s is %s",
			policy.ConcernMetadata, action)
		d.Quiet = false
	case policy.ActionHold:
		r.holdConflict(policy.ConcernMetadata, t, "mode, owner or attributes changed on both sides")
		d.Verdict, d.Quiet = report.Hold, false
	}
	return d
}

// Hold records that the storage must be held because of a path.
func (r *result) Hold(code report.HoldCode, path, message string) {
	r.HoldFor(report.Reason{Code: code, Path: path, Message: message})
}

// HoldFor records a reason why the storage must be held, once.
func (r *result) HoldFor(why report.Reason) {
	why = why.Complete()
	if !slices.Contains(r.holds, why) {
		r.holds = append(r.holds, why)
	}
}
