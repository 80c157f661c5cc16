// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"maps"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// keepPackages keeps packages at the user's version as the policy for dependencies says. It returns why that did not help.
func keepPackages(ties policy.Action, choices []unit.Choice, r unit.Relations) unit.Refused {
	switch ties {
	case policy.ActionKeepSource:
		return unit.KeepTied(choices, r)
	case policy.ActionKeep:
		unit.KeepNeeded(choices, r)
	}
	return nil
}

// marks returns what marks the packages that an earlier servicing kept.
func marks(list []report.Waiting) map[unit.Mark]bool {
	out := make(map[unit.Mark]bool)
	for _, w := range list {
		out[w.Mark()] = true
	}
	return out
}

// waiting returns the packages that wait, by source and name.
func (k *packages) waiting() []report.Waiting {
	var out []report.Waiting
	for _, driver := range slices.Sorted(maps.Keys(k.managers)) {
		for _, source := range sourcesKept(k.managers[driver].decided()) {
			do := k.managers[driver].upgrade(toUpgrade(source))
			for _, c := range source {
				out = append(out, waitingFor(c, versionOrder(driver), do))
			}
		}
	}
	return out
}

func waitingFor(c *unit.Choice, compare unit.Compare, do string) report.Waiting {
	w := report.Waiting{
		Package: c.User.Name, Arch: c.User.Arch, Source: c.Kept.Source, Kept: c.User.Version, Base: c.New.InstalledVersion(),
		For: c.Kept.For, With: c.Kept.With, Do: do,
	}
	if w.Base != "" {
		order, err := compare(w.Kept, w.Base)
		w.Fix = err != nil || order < 0
	}
	return w
}

// sourcesKept returns the packages that are kept, those of one source together, in order.
func sourcesKept(choices []unit.Choice) [][]*unit.Choice {
	by := make(map[string][]*unit.Choice)
	for i := range choices {
		if c := &choices[i]; c.Kept != nil {
			by[c.Kept.Source] = append(by[c.Kept.Source], c)
		}
	}
	var out [][]*unit.Choice
	for _, source := range slices.Sorted(maps.Keys(by)) {
		out = append(out, by[source])
	}
	return out
}

// toUpgrade returns the names of packages that are kept and of those that they are kept for.
func toUpgrade(kept []*unit.Choice) []string {
	names := make(map[string]bool)
	for _, c := range kept {
		names[c.User.Name] = true
		for _, d := range c.Kept.For {
			names[d.Package] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// withholdKept notes the files of packages that wait which are as they were shipped: they are not the user's.
func (p *planner) withholdKept(choices []unit.Choice) error {
	for i := range choices {
		c := &choices[i]
		if c.Kept == nil {
			continue
		}
		var names []string
		for _, side := range []int{sides.User, sides.New} {
			list, err := p.packages.list(c, side)
			if err != nil {
				return err
			}
			names = append(names, list...)
		}
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			if err := p.withholdUnchanged(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// withholdUnchanged notes that a path is not as in the new base although the user did not change it.
func (p *planner) withholdUnchanged(name string) error {
	t, err := p.Three(name)
	if err != nil || t.U.Dir() || p.pins.decided(t) || sides.SameBacking(t.U, t.N) {
		return err
	}
	same, err := sides.SameContent(t.O, t.U)
	if err != nil || !same {
		return err
	}
	return p.withhold(t)
}
