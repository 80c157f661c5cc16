// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

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
	drivers  []driver
}

// threeWay decides where neither the new base nor the user has a directory, and the user has something.
func (r *rules) threeWay(t sides.Three) (decision, error) {
	same, err := sides.Compare(t)
	if err != nil {
		return decision{}, err
	}
	shipped, err := r.packages.Shipped(t)
	if err != nil {
		return decision{}, err
	}
	switch {
	case same.ON && same.OU:
		return sameEverywhere(t), nil
	case same.NU:
		return decision{verdict: report.Take, rule: "A3", reason: "the same on both sides", result: sides.Shows(sides.Merged(t, t.U))}, nil
	case same.OU, shipped:
		return r.unchanged(t, same.OU), nil
	case same.ON:
		return decision{verdict: report.Keep, rule: "A2", reason: "changed by the user only", result: sides.Shows(sides.Merged(t, t.U))}, nil
	case !t.N.Absent() && t.Own.SameVersion():
		return decision{
			verdict: report.Keep, rule: "A2", reason: "changed by the user, who has the base's version of the package",
			result: sides.Shows(sides.Merged(t, t.U)),
		}, nil
	case t.N.Absent():
		return r.result.Settle(policy.ConcernDeletedByBase, t, r.removedByBase(t)), nil
	default:
		return r.conflict(t)
	}
}

// sameEverywhere decides where at most the metadata was changed.
func sameEverywhere(t sides.Three) decision {
	d := decision{verdict: report.Take, rule: "A1", reason: "not changed by the user", result: sides.Shows(sides.Merged(t, t.U))}
	if t.O.Absent() || !sides.SameMeta(t.U.Kind, t.O.Meta, t.U.Meta) {
		d.verdict, d.rule, d.reason = report.Keep, "A2", "only mode, owner or attributes changed by the user"
	}
	d.quiet = d.verdict == report.Take && sides.SameMeta(t.U.Kind, t.N.Meta, t.O.Meta)
	return d
}

// unchanged decides on a content that the user did not change, but the new base did.
func (r *rules) unchanged(t sides.Three, sameAsOld bool) decision {
	switch {
	case t.N.Absent() && sameAsOld:
		return decision{verdict: report.Take, rule: "R6", reason: "removed from the base, not changed by the user", result: sides.Nothing()}
	case t.N.Absent():
		return decision{verdict: report.Take, rule: "D4", reason: "of a version of its package that is not in the result", result: sides.Nothing()}
	case !sameAsOld:
		return decision{
			verdict: report.Take, rule: "A6", reason: "the user's is as a lower version of its package ships it",
			result: sides.Shows(sides.Merged(t, t.N)),
		}
	case sides.SameMeta(t.U.Kind, t.O.Meta, t.U.Meta):
		return decision{verdict: report.Take, rule: "A1", reason: "not changed by the user", result: sides.Shows(sides.Merged(t, t.N))}
	default:
		return decision{
			verdict: report.Take, rule: "A7", reason: "only mode, owner or attributes changed by the user: these are kept",
			result: sides.Shows(sides.Merged(t, t.N)),
		}
	}
}

// removedByBase decides on what the user changed and the new base does not have any more.
func (r *rules) removedByBase(t sides.Three) decision {
	if t.Own.Removed() && !sides.ConfigPaths.Has(t.Path) {
		return decision{
			verdict: report.Take, rule: "B3",
			reason: "of a package that the base does not have any more; the user's version is set aside", aside: true,
			result: sides.Nothing(),
		}
	}
	return decision{verdict: report.Keep, rule: "B3", reason: "removed from the base, changed by the user", result: sides.Shows(t.U)}
}

// conflict decides where both sides changed the content: by a driver if one can, else the user's stays.
func (r *rules) conflict(t sides.Three) (decision, error) {
	for _, d := range r.drivers {
		one, ok := d.(resolver)
		if !ok || !d.Takes(t.Path) {
			continue
		}
		decided, ok, err := one.Resolve(t)
		if err != nil {
			return decision{}, fmt.Errorf("driver %s: %w", d.Name(), err)
		}
		if ok {
			decided.driver = d.Name()
			return decided, nil
		}
	}
	return r.keepUsers(t)
}

// keepUsers keeps the user's version of what both sides changed and puts the new base's beside it, where that is of use:
// not among data, and not for a program or library, whose directories are read by what does not know about it.
func (r *rules) keepUsers(t sides.Three) (decision, error) {
	d := decision{verdict: report.Keep, rule: "A5", reason: "changed on both sides", result: sides.Shows(sides.Merged(t, t.U))}
	binary, err := sides.IsBinary(t.N)
	if err != nil {
		return decision{}, err
	}
	concern := policy.ConcernText
	if binary {
		concern = policy.ConcernBinary
	}
	switch {
	case t.O.Dir(), t.U.Is(tree.Symlink):
		concern, d.rule, d.reason = policy.ConcernTypeByUser, "C3", "replaced by the user by a "+t.U.Kind.String()
	case binary && t.Own.Owned():
		concern, d.rule, d.reason = policy.ConcernPackageFile, "A6", "replaced by the user: the base's version is hidden"
	case sides.DataPaths.Has(t.Path):
		concern, d.rule, d.reason = policy.ConcernData, "R11", "data: the user's stays"
	case t.U.Is(tree.Regular) && (t.N.Is(tree.Regular) || t.N.Is(tree.Symlink)):
		d.verdict, d.beside = report.Beside, true
	}
	return r.result.Settle(concern, t, d), nil
}

// hidesDirectory keeps what the user put in place of a directory.
func (r *rules) hidesDirectory(t sides.Three) decision {
	return decision{
		verdict: report.Keep, rule: "C4",
		reason: "the user replaced a directory by a " + t.U.Kind.String() + ", which hides what the base has there",
		result: sides.Shows(t.U),
	}
}

// changedBelow tells whether the new base changed something in a directory. It looks only when a policy asks.
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

// keepPinned keeps the user's version of a file whose package is the user's.
func (r *rules) keepPinned(t sides.Three) decision {
	return decision{
		verdict: report.Keep, rule: "D4", driver: r.packages.ManagerOf(t.Own[sides.User], t.Own[sides.Old]), reason: "of a package whose version is the user's",
		result: sides.Shows(t.U), quiet: t.N.Absent(),
	}
}
