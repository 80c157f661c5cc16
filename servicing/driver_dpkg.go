// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/dpkg"
)

// claimsPackages claims the database of dpkg: the status, and what the info directory has about packages.
func claimsPackages(p *planner, name string) bool {
	return !p.packages.abandoned && (name == statusPath || p.packages.infoChoice(name) != nil)
}

// mergePackages makes packages units: the database and the files of each are one side's.
func mergePackages(_ context.Context, p *planner) error {
	k := p.packages
	if err := p.holdInterrupted(); err != nil {
		return err
	}
	if k.unreadable && k.changed {
		p.hold("package-database", statusPath, "the package database cannot be read: "+statusPath)
	}
	if len(k.choices) == 0 || k.abandoned {
		return nil
	}
	if err := p.mergeStatus(); err != nil {
		return err
	}
	if err := p.mergeInfo(); err != nil {
		return err
	}
	for i := range k.choices {
		c := &k.choices[i]
		if !differs(c) {
			continue
		}
		if err := p.pinFiles(c); err != nil {
			return err
		}
		if err := p.hideFiles(c); err != nil {
			return err
		}
	}
	if !k.changed {
		return nil // whatever is wrong, this update has no part in it
	}
	p.holdBroken()
	return p.holdDamaged()
}

// mergeStatus merges the status file.
func (p *planner) mergeStatus() error {
	t, err := p.look(statusPath)
	if err != nil {
		return err
	}
	same, err := compare(t)
	if err != nil {
		return err
	}
	if same.on || same.ou || t.u.absent() {
		return p.decideClaimed(t)
	}
	if t.n.absent() {
		p.hold("package-database", t.path, "the new base has no package database, the storage's was changed")
		return p.apply(t, decision{
			verdict: Hold, rule: "D6", driver: "dpkg", reason: "the new base has no package database", result: shows(t.u),
		})
	}
	content := dpkg.Status(p.packages.choices, p.packages.bases[sideNew], p.packages.bases[sideUser])
	return p.apply(t, decision{verdict: Merge, rule: "D1", driver: "dpkg", reason: "merged by package", result: makes(t, content)})
}

// mergeInfo makes what the info directory has about a package that of its side.
func (p *planner) mergeInfo() error {
	names := make(map[string]bool)
	for _, side := range p.packages.sides() {
		list, err := readDir(side, infoDir)
		if err != nil {
			return err
		}
		for _, name := range list {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		full := path.Join(infoDir, name)
		c := p.packages.infoChoice(full)
		if c == nil {
			continue // decided on by the walk
		}
		if err := p.followPackage(full, c); err != nil {
			return err
		}
	}
	return nil
}

// followPackage makes a file about a package that of the package's side.
func (p *planner) followPackage(name string, c *dpkg.Choice) error {
	t, err := p.three(name)
	if err != nil {
		return err
	}
	shown, err := lookup(p.plain, name)
	if err != nil {
		return err
	}
	d := decision{verdict: Take, rule: "D1", driver: "dpkg", reason: "follows its package", result: shows(t.n), quiet: true}
	if differs(c) {
		d.verdict, d.result = Keep, shows(t.u)
	}
	if sameBacking(shown, d.result.node) {
		return nil
	}
	if err := p.apply(t, d); err != nil {
		return err
	}
	p.want[name] = d.result // also where neither base has it
	return nil
}

// keepPinned keeps the user's version of a file whose package is the user's.
func keepPinned(t three) decision {
	return decision{
		verdict: Keep, rule: "D4", driver: "dpkg", reason: "of a package whose version is the user's",
		result: shows(t.u), quiet: t.n.absent(),
	}
}

// pinFiles keeps the files of the user's version, where the storage does not have them itself. It has all files of a package
// that is not in the old base.
func (p *planner) pinFiles(c *dpkg.Choice) error {
	if !c.Old.Installed() && !c.Old.Residual() {
		return nil
	}
	var list []string
	var err error
	if c.User.Installed() {
		list, err = p.packages.list(c, sideUser)
	} else if c.User.Residual() {
		list = slices.Sorted(maps.Keys(c.User.Conffiles()))
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
		if !t.u.file() || sameBacking(t.u, t.n) {
			continue
		}
		if err := p.apply(t, keepPinned(t)); err != nil {
			return err
		}
		p.want[name] = shows(t.u)
	}
	return nil
}

// hideFiles hides what the new base's version of a package has and the user's does not.
func (p *planner) hideFiles(c *dpkg.Choice) error {
	if !c.New.Installed() {
		return nil
	}
	list, err := p.packages.list(c, sideNew)
	if err != nil {
		return err
	}
	var dirs []string
	for _, name := range list {
		t, err := p.look(name)
		if err != nil {
			return err
		}
		if t.n.dir() && t.u.absent() {
			dirs = append(dirs, name)
		}
		if !t.n.file() || !t.u.absent() || !p.onlyOf(c, t) {
			continue
		}
		d := decision{
			verdict: Keep, rule: "D5", driver: "dpkg", reason: "not in the user's version of its package: " + c.Reason,
			result: nothing(),
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
func (p *planner) onlyOf(c *dpkg.Choice, t three) bool {
	other := t.own[sideNew]
	return other == nil || other == c || differs(other)
}

// hideEmpty hides a directory of the new base in which everything is hidden.
func (p *planner) hideEmpty(dir string) error {
	names, err := readDir(p.new, dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if o, decided := p.want[path.Join(dir, name)]; !decided || !o.absent() {
			return nil
		}
	}
	if len(names) > 0 {
		p.want[dir] = nothing()
	}
	return nil
}

// holdBroken holds a storage in which relations between packages would not hold any more.
func (p *planner) holdBroken() {
	k := p.packages
	if !slices.ContainsFunc(k.choices, func(c dpkg.Choice) bool { return differs(&c) }) {
		return
	}
	var result []*dpkg.Package
	for _, c := range k.choices {
		if c.Effective != nil {
			result = append(result, c.Effective)
		}
	}
	for _, problem := range dpkg.NewProblems(result, k.bases[sideUser].Packages, k.bases[sideNew].Packages) {
		p.holds = append(p.holds, Reason{
			Code: "dependency", Package: problem.Package.Name, Version: problem.Package.Version,
			Message: fmt.Sprintf("%s %s: %s: %s", problem.Package.Name, problem.Package.Version, problem.Field, problem.Text) + p.versionsOf(problem),
		})
	}
}

// versionsOf tells which versions the result would have of the packages in a relation.
func (p *planner) versionsOf(problem dpkg.Problem) string {
	var out strings.Builder
	for _, name := range problem.Names() {
		found := false
		for _, c := range p.packages.choices {
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

// holdDamaged holds a storage whose package database lacks packages that are there: their lists are, and dpkg removes those.
func (p *planner) holdDamaged() error {
	for _, c := range p.packages.choices {
		if !differs(&c) || c.User != nil || c.Old == nil {
			continue
		}
		for _, name := range c.Old.InfoNames() {
			n, err := lookup(p.user, path.Join(infoDir, name+".list"))
			if err != nil {
				return err
			}
			if !n.absent() {
				p.hold("package-database", statusPath, "the package database is damaged: it does not have "+c.Key+", whose files are there")
			}
		}
	}
	return nil
}

// holdInterrupted holds a storage whose package manager was interrupted, whatever the update is about: nobody can tell which
// files are half written.
func (p *planner) holdInterrupted() error {
	k := p.packages
	known := make(map[string]bool)
	for _, pkg := range k.bases[sideOld].Unfinished() {
		known[pkg.Name+" "+pkg.Arch+" "+pkg.Version+" "+pkg.State+" "+pkg.Flag] = true
	}
	for _, pkg := range k.bases[sideUser].Unfinished() {
		if known[pkg.Name+" "+pkg.Arch+" "+pkg.Version+" "+pkg.State+" "+pkg.Flag] {
			continue
		}
		p.holds = append(p.holds, Reason{
			Code: "package-manager-interrupted", Package: pkg.Name, Version: pkg.Version,
			Message: fmt.Sprintf("%s %s is %s (%s): finish with dpkg --configure --pending", pkg.Name, pkg.Version, pkg.State, pkg.Flag),
		})
	}
	names, err := readDir(p.user, updatesDir)
	if err != nil {
		return err
	}
	for _, name := range names {
		t, err := p.three(path.Join(updatesDir, name))
		if err != nil {
			return err
		}
		journal := strings.Trim(name, "0123456789") == ""
		if same, err := sameContent(t.o, t.u); err != nil || same || !journal {
			if err != nil {
				return err
			}
			continue
		}
		p.hold("package-manager-interrupted", t.path, "dpkg did not finish writing its database: "+t.path)
	}
	return nil
}

// hold records a reason why the storage must be held.
func (p *planner) hold(code, path, message string) {
	r := Reason{Code: code, Path: printable(path), Message: printable(message)}
	if !slices.ContainsFunc(p.holds, func(other Reason) bool { return other == r }) {
		p.holds = append(p.holds, r)
	}
}
