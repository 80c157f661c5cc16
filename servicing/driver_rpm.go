// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// rpmDirs are where rpm keeps its database, in one of several forms: all files there are one unit.
var rpmDirs = []string{"var/lib/rpm", "usr/lib/sysimage/rpm"}

func claimsRPM(_ *planner, name string) bool {
	return slices.ContainsFunc(rpmDirs, func(dir string) bool { return name != dir && sides.Within(name, dir) })
}

// settleRPM decides on the database of rpm as a whole: the one side's that changed it. Where both did, the storage is held:
// the files of packages would not be what the database says.
func settleRPM(_ context.Context, p *planner) error {
	for _, dir := range rpmDirs {
		if err := p.settleRPMDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) settleRPMDir(dir string) error {
	said, err := sides.ReadDir(p.Said, dir)
	if err != nil || len(said) == 0 && !p.hidden[dir] {
		return err
	}
	all, err := p.below(dir)
	if err != nil {
		return err
	}
	byBase, byUser := false, false
	for _, t := range all {
		same, err := sides.Compare(t)
		if err != nil {
			return err
		}
		byBase = byBase || !same.ON
		byUser = byUser || !same.OU && !scratchOfRPM(t)
	}
	switch {
	case !byBase:
		return nil
	case byUser:
		reason := "the package database was changed on both sides and cannot be merged"
		p.hold(report.HoldPackageDatabase, dir, fmt.Sprintf("/%s: %s: undo the user's installations, or install again on the new base", dir, reason))
		return p.showUnit(all, sides.User, decision{verdict: report.Hold, rule: "D11", driver: "rpm", reason: reason})
	default:
		return p.showUnit(all, sides.New, decision{verdict: report.Take, rule: "D11", driver: "rpm", reason: "the package database, which the user did not change"})
	}
}

// scratchOfRPM tells whether a file says nothing about packages: what a look at the database leaves.
func scratchOfRPM(t sides.Three) bool {
	name := path.Base(t.Path)
	empty := !t.U.Is(tree.Regular) || t.U.Size == 0
	return name == ".rpm.lock" || strings.HasPrefix(name, "__db.") || strings.HasSuffix(name, "-shm") || strings.HasSuffix(name, "-wal") && empty && t.O.Absent()
}

// below returns what any side has below a directory and is no directory.
func (p *planner) below(dir string) ([]sides.Three, error) {
	names := make(map[string]bool)
	for _, view := range p.Sides() {
		list, err := sides.ReadDir(view, dir)
		if err != nil {
			return nil, err
		}
		for _, name := range list {
			names[name] = true
		}
	}
	var out []sides.Three
	for name := range sorted(names) {
		t, err := p.look(path.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if t.O.File() || t.N.File() || t.U.File() {
			out = append(out, t)
		}
		if t.O.Dir() || t.N.Dir() || t.U.Dir() {
			inside, err := p.below(t.Path)
			if err != nil {
				return nil, err
			}
			out = append(out, inside...)
		}
	}
	return out, nil
}

// showUnit shows one side's of files that are one unit.
func (p *planner) showUnit(all []sides.Three, side int, d decision) error {
	for _, t := range all {
		d.result = sides.Nothing()
		if n := [3]sides.Node{t.O, t.N, t.U}[side]; n.File() {
			d.result = sides.Shows(n)
		}
		shown, err := p.result(t.Path)
		if err != nil {
			return err
		}
		if shown.Dir() || d.result.Absent() && shown.Absent() || sides.SameBacking(shown, d.result.Node) {
			continue
		}
		if err := p.replace(t, d); err != nil {
			return err
		}
		p.show(t.Path, d.result) // also where neither base has it
	}
	return nil
}
