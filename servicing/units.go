// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// settleUnits makes the files of each package those of its side: what the user's version has is kept, and what only the new
// base's version has is hidden.
func (p *planner) settleUnits(driver string, choices []unit.Choice) error {
	for i := range choices {
		c := &choices[i]
		if !c.Differs() {
			continue
		}
		if err := p.pinFiles(c); err != nil {
			return err
		}
		if err := p.hideFiles(driver, c); err != nil {
			return err
		}
	}
	return p.withholdKept(choices)
}

// keepPinned keeps the user's version of a file whose package is the user's.
func (p *planner) keepPinned(t sides.Three) decision {
	return decision{
		verdict: report.Keep, rule: "D4", driver: p.packages.ManagerOf(t.Own[sides.User], t.Own[sides.Old]), reason: "of a package whose version is the user's",
		result: sides.Shows(t.U), quiet: t.N.Absent(),
	}
}

// pinFiles keeps the files of the user's version, and its directories that the new base does not have, where the storage does not
// have them itself. It has all files of a package that is not in the old base.
func (p *planner) pinFiles(c *unit.Choice) error {
	if !c.Old.Installed() && !c.Old.Residual() {
		return nil
	}
	var list []string
	var err error
	if c.User.Installed() {
		list, err = p.packages.List(c, sides.User)
	} else if c.User.Residual() {
		list = c.User.Left
	}
	if err != nil {
		return err
	}
	for _, name := range list {
		if _, decided := p.want[name]; decided {
			continue
		}
		t, err := p.look(name)
		if err != nil {
			return err
		}
		goes := t.U.Dir() && t.N.Absent() // with what is in it, if that goes
		if !goes && (!t.U.File() || sides.SameBacking(t.U, t.N)) {
			continue
		}
		if err := p.apply(t, p.keepPinned(t)); err != nil {
			return err
		}
		p.show(name, sides.Shows(t.U))
	}
	return nil
}

// hideFiles hides what the new base's version of a package has and the user's does not.
func (p *planner) hideFiles(driver string, c *unit.Choice) error {
	if !c.New.Installed() {
		return nil
	}
	list, err := p.packages.List(c, sides.New)
	if err != nil {
		return err
	}
	var dirs []string
	for _, name := range list {
		t, err := p.look(name)
		if err != nil {
			return err
		}
		if t.N.Dir() && t.U.Absent() {
			dirs = append(dirs, name)
		}
		if !t.N.File() || !t.U.Absent() || !p.onlyOf(c, t) {
			continue
		}
		d := decision{
			verdict: report.Keep, rule: "D5", driver: driver, reason: "not in the user's version of its package: " + c.Reason,
			result: sides.Nothing(),
		}
		if err := p.apply(t, d); err != nil {
			return err
		}
	}
	slices.SortFunc(dirs, func(a, b string) int { return strings.Compare(b, a) }) // children first
	for _, dir := range dirs {
		if err := p.hideEmpty(dir); err != nil {
			return err
		}
	}
	return nil
}

// onlyOf tells that no package whose version is the new base's has a path as well.
func (p *planner) onlyOf(c *unit.Choice, t sides.Three) bool {
	other := t.Own[sides.New]
	return other == nil || other == c || other.Differs()
}

// hideEmpty hides a directory of the new base in which everything is hidden.
func (p *planner) hideEmpty(dir string) error {
	names, err := sides.ReadDir(p.New, dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if o, decided := p.want[path.Join(dir, name)]; !decided || !o.Absent() {
			return nil
		}
	}
	if len(names) > 0 {
		p.show(dir, sides.Nothing())
	}
	return nil
}

// holdBroken holds a storage in which relations between packages would no longer hold; problems are the new ones, and refused says
// why what they need cannot stay.
func (p *planner) holdBroken(problems []unit.Problem, choices []unit.Choice, refused unit.Refused) {
	for _, problem := range problems {
		why := refused.Why(problem)
		if why != "" {
			why = "; it cannot stay as it is: " + why
		}
		p.holdFor(report.Reason{
			Code: report.HoldDependency, Package: problem.Package.Name, Version: problem.Package.Version,
			Message: fmt.Sprintf("%s %s: %s: %s", problem.Package.Name, problem.Package.Version, problem.Field, problem.Text) +
				versionsOf(problem, choices) + why,
		})
	}
}

// versionsOf tells which versions the result would have of the packages in a relation.
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
