// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// Waiting is a package of the new base that waits: the user's version of it stays, because other packages of the user need that
// version. It does not count as the user's choice: a later servicing that is given it, see [Input], brings the new version as soon
// as nothing needs the old one.
type Waiting struct {
	Package string `json:"package"`
	Arch    string `json:"arch,omitempty"`
	Source  string `json:"source"` // what the package is built from
	Kept    string `json:"kept"`   // the version that stays
	Base    string `json:"base"`   // the new base's version; "" where the new base does not have the package
	// Fix: the new base's version is higher than the one that stays.
	Fix bool `json:"fix"`
	// For lists the packages that need the version that stays; it is empty for one that stays together with another one.
	For  []unit.Dependent `json:"for,omitempty"`
	With string           `json:"with,omitempty"` // the package that it stays together with
	Do   string           `json:"do"`             // the command that brings the new version, inside the container
}

// Why says what the version that stays is needed for.
func (w Waiting) Why() string {
	if len(w.For) == 0 {
		return "it stays together with " + w.With
	}
	var out []string
	for _, d := range w.For {
		out = append(out, fmt.Sprintf("%s %s needs %s", d.Package, d.Version, d.Needs))
	}
	return strings.Join(out, "; ")
}

// FixesWaiting returns the packages of the new base that wait and are newer than what stays.
func (r *Report) FixesWaiting() []Waiting {
	return slices.DeleteFunc(slices.Clone(r.Waiting), func(w Waiting) bool { return !w.Fix })
}

// keepPackages keeps packages at the user's version as the policy for dependencies says. It returns why that did not help.
func keepPackages(ties Action, choices []unit.Choice, r unit.Relations) unit.Refused {
	switch ties {
	case ActionKeepSource:
		return unit.KeepTied(choices, r)
	case ActionKeep:
		unit.KeepNeeded(choices, r)
	}
	return nil
}

// marks returns what marks the packages that an earlier servicing kept.
func marks(list []Waiting) map[unit.Mark]bool {
	out := make(map[unit.Mark]bool)
	for _, w := range list {
		out[w.mark()] = true
	}
	return out
}

func (w Waiting) mark() unit.Mark { return unit.Mark{Name: w.Package, Arch: w.Arch, Version: w.Kept} }

// waiting returns the packages that wait, by source and name.
func (k *packages) waiting() []Waiting {
	var out []Waiting
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

func waitingFor(c *unit.Choice, compare unit.Compare, do string) Waiting {
	w := Waiting{
		Package: c.User.Name, Arch: c.User.Arch, Source: c.Kept.Source, Kept: c.User.Version, Base: version(c.New),
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
		for _, side := range []int{sideUser, sideNew} {
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
	t, err := p.three(name)
	if err != nil || t.u.dir() || p.pins.decided(t) || sameBacking(t.u, t.n) {
		return err
	}
	same, err := sameContent(t.o, t.u)
	if err != nil || !same {
		return err
	}
	return p.withhold(t)
}
