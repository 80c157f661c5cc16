// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package shared

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// SettlePackages makes the files of each package those of its side: what the user's version has is kept, and what
// only the new base's version has is hidden.
func SettlePackages(p plan.Plan, driver string, choices []unit.Choice) error {
	for i := range choices {
		c := &choices[i]
		if !c.Differs() {
			continue
		}
		if err := keepFiles(p, c); err != nil {
			return err
		}
		if err := hideFiles(p, driver, c); err != nil {
			return err
		}
	}
	return withholdKept(p, choices)
}

// keepFiles keeps the files of the user's version, and its directories that the new base does not have, where the
// storage does not have them itself. It has all files of a package that is not in the old base.
func keepFiles(p plan.Plan, c *unit.Choice) error {
	if !c.Old.Installed() && !c.Old.Residual() {
		return nil
	}
	var list []string
	var err error
	if c.User.Installed() {
		list, err = p.Packages().List(c, sides.User)
	} else if c.User.Residual() {
		list = c.User.Left
	}
	if err != nil {
		return err
	}
	for _, name := range list {
		if _, decided := p.At(name); decided {
			continue
		}
		t, err := p.Look(name)
		if err != nil {
			return err
		}
		goes := t.U.Dir() && t.N.Absent() // with what is in it, if that goes
		if !goes && (!t.U.File() || sides.SameBacking(t.U, t.N)) {
			continue
		}
		if err := p.DecideAlways(t, p.KeepPackaged(t)); err != nil {
			return err
		}
	}
	return nil
}

// hideFiles hides what the new base's version of a package has and the user's does not.
func hideFiles(p plan.Plan, driver string, c *unit.Choice) error {
	if !c.New.Installed() {
		return nil
	}
	list, err := p.Packages().List(c, sides.New)
	if err != nil {
		return err
	}
	var dirs []string
	for _, name := range list {
		t, err := p.Look(name)
		if err != nil {
			return err
		}
		if t.N.Dir() && t.U.Absent() {
			dirs = append(dirs, name)
		}
		if !t.N.File() || !t.U.Absent() || !onlyOf(c, t) {
			continue
		}
		d := plan.Decision{
			Verdict: report.Keep, Rule: "D5", Driver: driver,
			Reason: "not in the user's version of its package: " + c.Reason,
			Result: sides.Nothing(),
		}
		if err := p.Decide(t, d); err != nil {
			return err
		}
	}
	slices.SortFunc(dirs, func(a, b string) int { return strings.Compare(b, a) }) // children first
	for _, dir := range dirs {
		if err := hideEmpty(p, dir); err != nil {
			return err
		}
	}
	return nil
}

// onlyOf reports whether no package whose version is the new base's has a path as well.
func onlyOf(c *unit.Choice, t sides.Three) bool {
	other := t.Own[sides.New]
	return other == nil || other == c || other.Differs()
}

// hideEmpty hides a directory of the new base in which everything is hidden.
func hideEmpty(p plan.Plan, dir string) error {
	names, err := sides.ReadDir(p.Views().New, dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if o, decided := p.At(path.Join(dir, name)); !decided || !o.Absent() {
			return nil
		}
	}
	if len(names) > 0 {
		p.Hide(dir)
	}
	return nil
}

// HoldBroken holds a storage in which relations between packages would no longer hold; problems are the new ones, and
// refused says why what they need cannot stay.
func HoldBroken(p plan.Plan, problems []unit.Problem, choices []unit.Choice, refused unit.Refused) {
	for _, problem := range problems {
		why := refused.Why(problem)
		if why != "" {
			why = "; it cannot stay as it is: " + why
		}
		p.HoldFor(report.Reason{
			Code: report.HoldDependency, Package: problem.Package.Name, Version: problem.Package.Version,
			Message: fmt.Sprintf("%s %s: %s: %s", problem.Package.Name, problem.Package.Version, problem.Field,
				problem.Text) +
				versionsOf(problem, choices) + why,
		})
	}
}

// versionsOf says which versions the result would have of the packages in a relation.
func versionsOf(problem unit.Problem, choices []unit.Choice) string {
	var out strings.Builder
	for _, name := range problem.Names {
		found := false
		for _, c := range choices {
			if c.Effective.Installed() && c.Effective.Name == name {
				fmt.Fprintf(&out, "; %s would be %s", name, c.Effective.Version)
				found = true
			}
		}
		if !found {
			fmt.Fprintf(&out, "; %s would not be there", name)
		}
	}
	return out.String()
}

// withholdKept notes the files of packages that wait which are as they were shipped: they are not the user's.
func withholdKept(p plan.Plan, choices []unit.Choice) error {
	for i := range choices {
		c := &choices[i]
		if c.Kept == nil {
			continue
		}
		var names []string
		for _, side := range []int{sides.User, sides.New} {
			list, err := p.Packages().List(c, side)
			if err != nil {
				return err
			}
			names = append(names, list...)
		}
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			if err := withholdUnchanged(p, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// withholdUnchanged notes that a path is not as in the new base although the user did not change it.
func withholdUnchanged(p plan.Plan, name string) error {
	t, err := p.Views().Three(name)
	if err != nil || t.U.Dir() || p.Settled(t) || sides.SameBacking(t.U, t.N) {
		return err
	}
	same, err := sides.SameContent(t.O, t.U)
	if err != nil || !same {
		return err
	}
	return p.Withhold(t)
}
