// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"maps"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// withhold notes a path that is kept as it is though it is not the user's.
func (p *planner) withhold(t sides.Three) error {
	content, err := sides.Describe(t.U)
	if err != nil {
		return err
	}
	w := report.Withheld{Path: report.Printable(t.Path), PathBytes: report.RawBytes(t.Path), Content: content}
	if !t.U.Absent() {
		w.Mode, w.UID, w.GID = t.O.Mode, t.O.UID, t.O.GID
	}
	p.withheld = append(p.withheld, w)
	return nil
}

// carryWithheld returns what is withheld after this plan, in order: also what was before and is not looked at.
func (p *planner) carryWithheld() []report.Withheld {
	out := p.withheld
	for _, name := range slices.Sorted(maps.Keys(p.Before)) {
		if p.pins.excludes(name) {
			out = append(out, p.Before[name])
		}
	}
	return out
}
