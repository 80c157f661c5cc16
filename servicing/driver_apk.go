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
	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

const apkRule = "D10"

// claimsApk claims the database of apk.
func claimsApk(p *planner, name string) bool {
	b := pkg.Find[*apkBooks](p.packages)
	return len(b.choices) > 0 && !b.abandoned && b.has(name)
}

func isApkWorld(name string) bool { return name == apkWorld }

// mergeApkWorld merges what both sides ask for.
func mergeApkWorld(_ *planner, t sides.Three) (decision, bool, error) {
	contents, err := sides.ReadThree(t, pkg.MaxDatabase)
	if err != nil || contents == nil {
		return decision{}, false, err
	}
	content := apk.MergeWorld(contents[sides.Old], contents[sides.New], contents[sides.User])
	return decision{verdict: report.Merge, rule: apkRule, reason: "merged by name", result: sides.Makes(t, content)}, true, nil
}

// mergeApk makes Alpine's packages units: the records, the scripts and the files of each are one side's.
func mergeApk(_ context.Context, p *planner) error {
	b := pkg.Find[*apkBooks](p.packages)
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
			return apk.Render(b.choices, b.bases[sides.New], b.bases[sides.User]), true
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
	b := pkg.Find[*apkBooks](p.packages)
	was := path.Join(b.dirs[sides.User], file)
	now := path.Join(b.dirs[sides.New], file)
	if b.dirs[sides.New] == "" {
		now = was
	}
	if b.dirs[sides.User] == "" {
		was = now
	}
	t, err := p.Moved(was, now)
	if err != nil {
		return err
	}
	same, err := sides.Compare(t)
	if err != nil {
		return err
	}
	mixed := slices.ContainsFunc(b.choices, func(c unit.Choice) bool { return c.Differs() })
	if was == now && (same.ON && !unit.ReplacesAny(b.choices) || same.NU || same.OU && !mixed || t.U.Absent()) {
		return p.decideClaimed(t)
	}
	contents, err := sides.ReadThree(t, pkg.MaxDatabase)
	if err != nil {
		return err
	}
	kept := decision{verdict: report.Hold, rule: apkRule, driver: "apk", reason: "cannot be merged", result: sides.Shows(t.U)}
	if contents == nil {
		if file == apkInstalled || !t.N.Absent() {
			p.hold(report.HoldPackageDatabase, t.Path, "/"+t.Path+": the package database was changed, and the new base has none that can be merged with it")
		}
		return p.apply(t, kept)
	}
	content, ok := merge(contents[sides.New], contents[sides.User])
	if !ok {
		p.hold(report.HoldPackageDatabase, t.Path, "/"+t.Path+": not understood")
		return p.apply(t, kept)
	}
	return p.apply(t, decision{verdict: report.Merge, rule: apkRule, driver: "apk", reason: "merged by package", result: sides.Makes(t, content)})
}

// holdApkBroken holds a storage in which a dependency or what was asked for would not hold any more.
func (p *planner) holdApkBroken() error {
	b := pkg.Find[*apkBooks](p.packages)
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
func (p *planner) resultContent(t sides.Three) ([]byte, error) {
	if o, decided := p.want[t.Path]; decided && o.Made {
		return o.Content, nil
	}
	n, err := p.result(t.Path)
	if err != nil {
		return nil, err
	}
	return sides.Read(n, pkg.MaxDatabase)
}

// holdApkInterrupted holds a storage whose package manager was interrupted, or left a package broken, whatever the update is
// about: nobody can tell which files are half written.
func (p *planner) holdApkInterrupted() error {
	b := pkg.Find[*apkBooks](p.packages)
	known := make(map[string]bool)
	for _, pkg := range b.bases[sides.Old].Packages {
		known[pkg.Record] = true
	}
	for _, pkg := range b.bases[sides.User].Packages {
		if why := apk.Broken(pkg); why != "" && !known[pkg.Record] {
			p.holdFor(report.Reason{
				Code: report.HoldInterrupted, Package: pkg.Name, Version: pkg.Version,
				Message: fmt.Sprintf("%s %s is broken (%s): finish with apk fix", pkg.Name, pkg.Version, why),
			})
		}
	}
	if b.dirs[sides.User] == "" {
		return nil
	}
	names, err := sides.ReadDir(p.Said, b.dirs[sides.User])
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == apkInstalled+".new" || strings.HasPrefix(name, apkInstalled+".tmp") {
			t := path.Join(b.dirs[sides.User], name)
			p.hold(report.HoldInterrupted, t, "apk did not finish writing its database: /"+t)
		}
	}
	return nil
}
