// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package pkg

import (
	"maps"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// Ties is what decides about packages that the user's packages need at another version than the new base's.
type Ties struct {
	action policy.Action
	Kept   map[unit.Mark]bool // the packages that an earlier servicing kept
}

// NewTies returns the ties of an update after one whose report lists packages that wait.
func NewTies(action policy.Action, waiting []report.Waiting) Ties {
	t := Ties{action: action, Kept: make(map[unit.Mark]bool)}
	for _, w := range waiting {
		t.Kept[w.Mark()] = true
	}
	return t
}

// Keep keeps packages at the user's version as the policy for dependencies says. It returns why that did not help.
func (t Ties) Keep(choices []unit.Choice, r unit.Relations) unit.Refused {
	switch t.action {
	case policy.ActionKeepSource:
		return unit.KeepTied(choices, r)
	case policy.ActionKeep:
		unit.KeepNeeded(choices, r)
	}
	return nil
}

// Waiting returns the packages that wait, by source and name.
func (k *Packages) Waiting() []report.Waiting {
	var out []report.Waiting
	for _, m := range k.managers {
		for _, source := range sourcesKept(m.Choices()) {
			do := m.Upgrade(toUpgrade(source))
			for _, c := range source {
				out = append(out, waitingFor(c, m.Compare, do))
			}
		}
	}
	return out
}

func waitingFor(c *unit.Choice, compare unit.Compare, do string) report.Waiting {
	w := report.Waiting{
		Package: c.User.Name, Arch: c.User.Arch, Source: c.Kept.Source, Kept: c.User.Version,
		Base: c.New.InstalledVersion(),
		For:  c.Kept.For, With: c.Kept.With, Do: do,
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
