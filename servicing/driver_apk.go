// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/apk"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

const apkRule = "D10"

// claimsApk claims the database of apk.
func claimsApk(p *planner, name string) bool {
	b := p.packages.apk
	return len(b.choices) > 0 && !b.abandoned && b.has(name)
}

func isApkWorld(name string) bool { return name == apkWorld }

// mergeApkWorld merges what both sides ask for.
func mergeApkWorld(_ *planner, t three) (decision, bool, error) {
	contents, err := readThree(t, maxDatabase)
	if err != nil || contents == nil {
		return decision{}, false, err
	}
	content := apk.MergeWorld(contents[sideOld], contents[sideNew], contents[sideUser])
	return decision{verdict: report.Merge, rule: apkRule, reason: "merged by name", result: makes(t, content)}, true, nil
}

// mergeApk makes Alpine's packages units: the records, the scripts and the files of each are one side's.
func mergeApk(_ context.Context, p *planner) error {
	b := p.packages.apk
	if b.unreadable && b.changed {
		p.hold(report.HoldPackageDatabase, path.Join(apkDirs[0], apkInstalled), "the package database cannot be read")
	}
	if err := p.holdApkInterrupted(); err != nil {
		return err
	}
	if len(b.choices) == 0 || b.abandoned {
		return nil
	}
	for _, one := range []struct {
		file  string
		merge func(base, user []byte) ([]byte, bool)
	}{
		{apkInstalled, func([]byte, []byte) ([]byte, bool) {
			return apk.Render(b.choices, b.bases[sideNew], b.bases[sideUser]), true
		}},
		{apkScripts, func(base, user []byte) ([]byte, bool) { return apk.MergeScripts(b.choices, base, user) }},
		{apkTriggers, func(base, user []byte) ([]byte, bool) { return apk.MergeTriggers(b.choices, base, user), true }},
	} {
		if err := p.mergeApkFile(one.file, one.merge); err != nil {
			return err
		}
	}
	if err := p.settleUnits("apk", b.choices); err != nil || !b.changed {
		return err // if it did not change: whatever is wrong, this update has no part in it
	}
	return p.holdApkBroken()
}

// mergeApkFile merges one file of the database, unless only one side changed it.
func (p *planner) mergeApkFile(file string, merge func(base, user []byte) ([]byte, bool)) error {
	b := p.packages.apk
	was := path.Join(b.dirs[sideUser], file)
	now := path.Join(b.dirs[sideNew], file)
	if b.dirs[sideNew] == "" {
		now = was
	}
	if b.dirs[sideUser] == "" {
		was = now
	}
	t, err := p.moved(was, now)
	if err != nil {
		return err
	}
	same, err := compare(t)
	if err != nil {
		return err
	}
	mixed := slices.ContainsFunc(b.choices, func(c unit.Choice) bool { return differs(&c) })
	if was == now && (same.on && !replacesAny(b.choices) || same.nu || same.ou && !mixed || t.u.absent()) {
		return p.decideClaimed(t)
	}
	contents, err := readThree(t, maxDatabase)
	if err != nil {
		return err
	}
	kept := decision{verdict: report.Hold, rule: apkRule, driver: "apk", reason: "cannot be merged", result: shows(t.u)}
	if contents == nil {
		if file == apkInstalled || !t.n.absent() {
			p.hold(report.HoldPackageDatabase, t.path, "/"+t.path+": the package database was changed, and the new base has none that can be merged with it")
		}
		return p.apply(t, kept)
	}
	content, ok := merge(contents[sideNew], contents[sideUser])
	if !ok {
		p.hold(report.HoldPackageDatabase, t.path, "/"+t.path+": not understood")
		return p.apply(t, kept)
	}
	return p.apply(t, decision{verdict: report.Merge, rule: apkRule, driver: "apk", reason: "merged by package", result: makes(t, content)})
}

// holdApkBroken holds a storage in which a dependency or what was asked for would not hold any more.
func (p *planner) holdApkBroken() error {
	b := p.packages.apk
	t, err := p.look(apkWorld)
	if err != nil {
		return err
	}
	world, err := p.resultContent(t)
	if err != nil {
		return err
	}
	p.holdBroken(b.broken(world)(unit.Effective(b.choices)), b.choices, b.refused)
	return nil
}

// resultContent returns the content that a regular file will have.
func (p *planner) resultContent(t three) ([]byte, error) {
	if o, decided := p.want[t.path]; decided && o.made {
		return o.content, nil
	}
	n, err := p.result(t.path)
	if err != nil {
		return nil, err
	}
	return read(n, maxDatabase)
}

// holdApkInterrupted holds a storage whose package manager was interrupted, or left a package broken, whatever the update is
// about: nobody can tell which files are half written.
func (p *planner) holdApkInterrupted() error {
	b := p.packages.apk
	known := make(map[string]bool)
	for _, pkg := range b.bases[sideOld].Packages {
		known[pkg.Record] = true
	}
	for _, pkg := range b.bases[sideUser].Packages {
		if why := apk.Broken(pkg); why != "" && !known[pkg.Record] {
			p.holdFor(report.Reason{
				Code: report.HoldInterrupted, Package: pkg.Name, Version: pkg.Version,
				Message: fmt.Sprintf("%s %s is broken (%s): finish with apk fix", pkg.Name, pkg.Version, why),
			})
		}
	}
	if b.dirs[sideUser] == "" {
		return nil
	}
	names, err := readDir(p.said, b.dirs[sideUser])
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == apkInstalled+".new" || strings.HasPrefix(name, apkInstalled+".tmp") {
			t := path.Join(b.dirs[sideUser], name)
			p.hold(report.HoldInterrupted, t, "apk did not finish writing its database: /"+t)
		}
	}
	return nil
}
