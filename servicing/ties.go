// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// withholdKept notes the files of packages that wait which are as they were shipped: they are not the user's.
func (p *planner) withholdKept(choices []unit.Choice) error {
	for i := range choices {
		c := &choices[i]
		if c.Kept == nil {
			continue
		}
		var names []string
		for _, side := range []int{sides.User, sides.New} {
			list, err := p.packages.List(c, side)
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
