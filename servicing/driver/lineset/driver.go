// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package lineset merges files in which each line is an entry of a set.
package lineset

import (
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/cacerts"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/diff3"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/lineset"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// lineSets are the files in which each line is an entry of a set, and how entries are told from one another.
var lineSets = []struct {
	paths sides.PathTable
	key   lineset.Key
}{
	{sides.PathTable{
		"etc/shells", "etc/securetty", "etc/ftpusers", "etc/cron.allow", "etc/cron.deny", "etc/at.allow", "etc/at.deny",
		"etc/hosts.allow", "etc/hosts.deny", "etc/ld.so.conf", "etc/ld.so.conf.d/*.conf",
	}, lineset.Whole},
	{sides.PathTable{"etc/modules", "etc/modules-load.d/*.conf"}, lineset.First},
	{sides.PathTable{cacerts.ConfigPath}, cacerts.Key},
}

// driverName is what the driver is called in reports.
const driverName = "line-set"

// What the driver does besides having a name.
var _ plan.Resolver = driver{}

// driver merges files in which each line is an entry of a set.
type driver struct{}

// New makes the driver of a plan.
func New(plan.Plan) plan.Driver { return driver{} }

// Name returns what the driver is called.
func (driver) Name() string { return driverName }

// Takes takes the paths of this driver.
func (driver) Takes(name string) bool { return lineSetKey(name) != nil }

// lineSetKey returns how the entries of a file are told from one another; nil when it is no line set.
func lineSetKey(p string) lineset.Key {
	for _, one := range lineSets {
		if one.paths.Has(p) {
			return one.key
		}
	}
	return nil
}

// Resolve merges sets. The merge by lines is preferred where it comes to the same set: it merges comments as well.
func (driver) Resolve(t sides.Three) (plan.Decision, bool, error) {
	contents, err := sides.ReadThree(t, diff3.MaxSize)
	if err != nil || contents == nil {
		return plan.Decision{}, false, err
	}
	key := lineSetKey(t.Path)
	content, ok := lineset.Merge(contents[sides.Old], contents[sides.New], contents[sides.User], key)
	if !ok {
		return plan.Decision{}, false, nil
	}
	if t.O.File() {
		byLines, err := diff3.Merge(contents[sides.Old], contents[sides.New], contents[sides.User])
		if err == nil && slices.Equal(entries(byLines, key), entries(content, key)) {
			content = byLines
		}
	}
	return plan.Decision{
		Verdict: report.Merge, Rule: "A4", Reason: "a set of lines: what both added, without what one removed",
		Result: sides.Makes(t, content),
	}, true, nil
}

// entries returns the entries of a line set, sorted; with those that are there twice.
func entries(content []byte, key lineset.Key) []string {
	var out []string
	for line := range strings.SplitSeq(string(content), "\n") {
		if k := key(line); k != "" {
			out = append(out, k+"\x00"+lineset.Whole(line))
		}
	}
	slices.Sort(out)
	return out
}
