// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// rules decide on one path by the contents of its three sides, and by the drivers.
type rules struct {
	views    *sides.Views
	policy   policy.Policy
	packages *pkg.Packages
	result   *result
	drivers  []Driver
}

// threeWay decides where neither the new base nor the user has a directory, and the user has something.
func (r *rules) threeWay(t sides.Three) (Decision, error) {
	same, err := sides.Compare(t)
	if err != nil {
		return Decision{}, err
	}
	shipped, err := r.packages.Shipped(t)
	if err != nil {
		return Decision{}, err
	}
	switch {
	case same.ON && same.OU:
		return sameEverywhere(t), nil
	case same.NU:
		return Decision{
			Verdict: report.Take, Rule: "A3", Reason: "the same on both sides",
			Result: sides.Shows(sides.Merged(t, t.U)),
		}, nil
	case same.OU, shipped:
		return r.unchanged(t, same.OU), nil
	case same.ON:
		return Decision{
			Verdict: report.Keep, Rule: "A2", Reason: "changed by the user only",
			Result: sides.Shows(sides.Merged(t, t.U)),
		}, nil
	case !t.N.Absent() && t.Own.SameVersion():
		return Decision{
			Verdict: report.Keep, Rule: "A2", Reason: "changed by the user, who has the base's version of the package",
			Result: sides.Shows(sides.Merged(t, t.U)),
		}, nil
	case t.N.Absent():
		return r.result.Settle(policy.ConcernDeletedByBase, t, r.removedByBase(t)), nil
	default:
		return r.conflict(t)
	}
}

// sameEverywhere decides where at most the metadata was changed.
func sameEverywhere(t sides.Three) Decision {
	d := Decision{
		Verdict: report.Take, Rule: "A1", Reason: "not changed by the user", Result: sides.Shows(sides.Merged(t, t.U)),
	}
	if t.O.Absent() || !sides.SameMeta(t.U.Kind, t.O.Meta, t.U.Meta) {
		d.Verdict, d.Rule, d.Reason = report.Keep, "A2", "only mode, owner or attributes changed by the user"
	}
	d.Quiet = d.Verdict == report.Take && sides.SameMeta(t.U.Kind, t.N.Meta, t.O.Meta)
	return d
}

// unchanged decides on a content that the user did not change, but the new base did.
func (r *rules) unchanged(t sides.Three, sameAsOld bool) Decision {
	switch {
	case t.N.Absent() && sameAsOld:
		return Decision{
			Verdict: report.Take, Rule: "R6", Reason: "removed from the base, not changed by the user",
			Result: sides.Nothing(),
		}
	case t.N.Absent():
		return Decision{
			Verdict: report.Take, Rule: "D4", Reason: "of a version of its package that is not in the result",
			Result: sides.Nothing(),
		}
	case !sameAsOld:
		return Decision{
			Verdict: report.Take, Rule: "A6", Reason: "the user's is as a lower version of its package ships it",
			Result: sides.Shows(sides.Merged(t, t.N)),
		}
	case sides.SameMeta(t.U.Kind, t.O.Meta, t.U.Meta):
		return Decision{
			Verdict: report.Take, Rule: "A1", Reason: "not changed by the user",
			Result: sides.Shows(sides.Merged(t, t.N)),
		}
	default:
		return Decision{
			Verdict: report.Take, Rule: "A7",
			Reason: "only mode, owner or attributes changed by the user: these are kept",
			Result: sides.Shows(sides.Merged(t, t.N)),
		}
	}
}

// removedByBase decides on what the user changed and the new base does not have any longer.
func (r *rules) removedByBase(t sides.Three) Decision {
	if t.Own.Removed() && !sides.ConfigPaths.Has(t.Path) {
		return Decision{
			Verdict: report.Take, Rule: "B3",
			Reason: "of a package that the base does not have any more; the user's version is set aside", Aside: true,
			Result: sides.Nothing(),
		}
	}
	return Decision{
		Verdict: report.Keep, Rule: "B3", Reason: "removed from the base, changed by the user",
		Result: sides.Shows(t.U),
	}
}

// conflict decides where both sides changed the content: by a driver if one can, else the user's stays.
func (r *rules) conflict(t sides.Three) (Decision, error) {
	for _, d := range r.drivers {
		one, ok := d.(Resolver)
		if !ok || !d.Takes(t.Path) {
			continue
		}
		decided, ok, err := one.Resolve(t)
		if err != nil {
			return Decision{}, fmt.Errorf("driver %s: %w", d.Name(), err)
		}
		if ok {
			decided.Driver = d.Name()
			return decided, nil
		}
	}
	return r.keepUsers(t)
}

// keepUsers keeps the user's version of what both sides changed and puts the new base's beside, where that is of use:
// not among data, and not for a program or library of a package.
func (r *rules) keepUsers(t sides.Three) (Decision, error) {
	d := Decision{
		Verdict: report.Keep, Rule: "A5", Reason: "changed on both sides", Result: sides.Shows(sides.Merged(t, t.U)),
	}
	binary, err := sides.IsBinary(t.N)
	if err != nil {
		return Decision{}, err
	}
	concern := policy.ConcernText
	if binary {
		concern = policy.ConcernBinary
	}
	switch {
	case t.O.Dir(), t.U.Is(tree.Symlink):
		concern, d.Rule, d.Reason = policy.ConcernTypeByUser, "C3", "replaced by the user by a "+t.U.Kind.String()
	case binary && t.Own.Owned():
		concern, d.Rule, d.Reason = policy.ConcernPackageFile, "A6",
			"replaced by the user: the base's version is hidden"
	case sides.DataPaths.Has(t.Path):
		concern, d.Rule, d.Reason = policy.ConcernData, "R11", "data: the user's stays"
	case t.U.Is(tree.Regular) && (t.N.Is(tree.Regular) || t.N.Is(tree.Symlink)):
		d.Verdict, d.Beside = report.Beside, true
	}
	return r.result.Settle(concern, t, d), nil
}

// hidesDirectory keeps what the user put in place of a directory.
func (r *rules) hidesDirectory(t sides.Three) Decision {
	return Decision{
		Verdict: report.Keep, Rule: "C4",
		Reason: "the user replaced a directory by a " + t.U.Kind.String() + ", which hides what the base has there",
		Result: sides.Shows(t.U),
	}
}

// changedBelow reports whether the new base changed something in a directory. It looks only when a policy asks.
func (r *rules) changedBelow(dir sides.Three) (bool, error) {
	if _, given := r.policy[policy.ConcernTypeByUser]; !given {
		return false, nil
	}
	names := make(map[string]bool)
	for _, side := range []sides.Node{dir.O, dir.N} {
		list, err := sides.ReadDir(side.View, side.Path)
		if err != nil {
			return false, err
		}
		for _, name := range list {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		t, err := r.views.Moved(path.Join(dir.Was, name), path.Join(dir.Path, name))
		if err != nil {
			return false, err
		}
		if t.O.Dir() && t.N.Dir() {
			if changed, err := r.changedBelow(t); err != nil || changed {
				return changed, err
			}
			continue
		}
		if same, err := sides.SameContent(t.O, t.N); err != nil || !same {
			return true, err
		}
	}
	return false, nil
}

// keepPackaged keeps the user's version of a file whose package is the user's.
func (r *rules) keepPackaged(t sides.Three) Decision {
	return Decision{
		Verdict: report.Keep, Rule: "D4", Driver: r.packages.ManagerOf(t.Own[sides.User], t.Own[sides.Old]),
		Reason: "of a package whose version is the user's",
		Result: sides.Shows(t.U), Quiet: t.N.Absent(),
	}
}
