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
	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// claimsPackages claims the database of dpkg: the status, and what the info directory has about packages.
func claimsPackages(p *planner, name string) bool {
	b := pkg.Find[*dpkgBooks](p.packages)
	return !b.abandoned && (name == statusPath || b.infoChoice(name) != nil)
}

// mergePackages makes packages units: the database and the files of each are one side's.
func mergePackages(_ context.Context, p *planner) error {
	b := pkg.Find[*dpkgBooks](p.packages)
	if err := p.holdInterrupted(); err != nil {
		return err
	}
	if _, err := p.packages.OwnerOf(sides.Three{}); err != nil { // reads all lists
		return err
	}
	if b.unreadable && b.changed {
		p.hold(report.HoldPackageDatabase, statusPath, "the package database cannot be read: /"+path.Dir(statusPath))
	}
	if len(b.choices) == 0 || b.abandoned {
		return nil
	}
	if err := p.mergeStatus(); err != nil {
		return err
	}
	if err := p.mergeInfo(); err != nil {
		return err
	}
	if err := p.settleUnits("dpkg", b.choices); err != nil {
		return err
	}
	if !b.changed {
		return nil // whatever is wrong, this update has no part in it
	}
	if slices.ContainsFunc(b.choices, func(c unit.Choice) bool { return c.Differs() }) {
		p.holdBroken(b.broken()(unit.Effective(b.choices)), b.choices, b.refused)
	}
	return p.holdDamaged()
}

// mergeStatus merges the status file.
func (p *planner) mergeStatus() error {
	t, err := p.look(statusPath)
	if err != nil {
		return err
	}
	same, err := sides.Compare(t)
	if err != nil {
		return err
	}
	if same.ON && !unit.ReplacesAny(pkg.Find[*dpkgBooks](p.packages).choices) || same.OU || t.U.Absent() {
		return p.decideClaimed(t)
	}
	if t.N.Absent() {
		p.hold(report.HoldPackageDatabase, t.Path, "the new base has no package database, the storage's was changed")
		return p.apply(t, decision{
			verdict: report.Hold, rule: "D6", driver: "dpkg", reason: "the new base has no package database", result: sides.Shows(t.U),
		})
	}
	b := pkg.Find[*dpkgBooks](p.packages)
	content := dpkg.Status(b.choices, b.bases[sides.New], b.bases[sides.User])
	return p.apply(t, decision{verdict: report.Merge, rule: "D1", driver: "dpkg", reason: "merged by package", result: sides.Makes(t, content)})
}

// mergeInfo makes what the info directory has about a package that of its side.
func (p *planner) mergeInfo() error {
	names := make(map[string]bool)
	for _, side := range p.Sides() {
		list, err := sides.ReadDir(side, infoDir)
		if err != nil {
			return err
		}
		for _, name := range list {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		full := path.Join(infoDir, name)
		c := pkg.Find[*dpkgBooks](p.packages).infoChoice(full)
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
func (p *planner) followPackage(name string, c *unit.Choice) error {
	t, err := p.Three(name)
	if err != nil {
		return err
	}
	shown, err := sides.Lookup(p.Plain, name)
	if err != nil {
		return err
	}
	d := decision{verdict: report.Take, rule: "D1", driver: "dpkg", reason: "follows its package", result: sides.Shows(t.N), quiet: true}
	if c.Differs() {
		d.verdict, d.result = report.Keep, sides.Shows(t.U)
	}
	if sides.SameBacking(shown, d.result.Node) {
		return nil
	}
	if err := p.apply(t, d); err != nil {
		return err
	}
	p.show(name, d.result) // also where neither base has it
	return nil
}

// holdDamaged holds a storage whose package database lacks packages that are there: their lists are, and dpkg removes those.
func (p *planner) holdDamaged() error {
	for _, c := range pkg.Find[*dpkgBooks](p.packages).choices {
		if !c.Differs() || c.User != nil || c.Old == nil {
			continue
		}
		for _, name := range dpkg.InfoNames(c.Old) {
			n, err := sides.Lookup(p.User, path.Join(infoDir, name+".list"))
			if err != nil {
				return err
			}
			if !n.Absent() {
				p.hold(report.HoldPackageDatabase, statusPath, "the package database is damaged: it does not have "+c.Key+", whose files are there")
			}
		}
	}
	return nil
}

// holdInterrupted holds a storage whose package manager was interrupted, whatever the update is about: nobody can tell which
// files are half written.
func (p *planner) holdInterrupted() error {
	b := pkg.Find[*dpkgBooks](p.packages)
	known := make(map[string]bool)
	for _, pkg := range b.bases[sides.Old].Unfinished() {
		known[pkg.Record] = true
	}
	for _, pkg := range b.bases[sides.User].Unfinished() {
		if known[pkg.Record] {
			continue
		}
		state, flag := dpkg.Condition(pkg)
		p.holdFor(report.Reason{
			Code: report.HoldInterrupted, Package: pkg.Name, Version: pkg.Version,
			Message: fmt.Sprintf("%s %s is %s (%s): finish with dpkg --configure --pending", pkg.Name, pkg.Version, state, flag),
		})
	}
	names, err := sides.ReadDir(p.User, updatesDir)
	if err != nil {
		return err
	}
	for _, name := range names {
		t, err := p.Three(path.Join(updatesDir, name))
		if err != nil {
			return err
		}
		journal := strings.Trim(name, "0123456789") == ""
		if same, err := sides.SameContent(t.O, t.U); err != nil || same || !journal {
			if err != nil {
				return err
			}
			continue
		}
		p.hold(report.HoldInterrupted, t.Path, "dpkg did not finish writing its database: /"+t.Path)
	}
	return nil
}
