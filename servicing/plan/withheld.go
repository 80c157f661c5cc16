// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"maps"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// withheld is what only a pin, or a package that waits, keeps.
type withheld struct {
	views *sides.Views
	pins  *Pins
	all   []report.Withheld
}

// add notes a path that is kept as it is though it is not the user's.
func (h *withheld) add(t sides.Three) error {
	content, err := sides.Describe(t.U)
	if err != nil {
		return err
	}
	w := report.Withheld{Path: report.Printable(t.Path), PathBytes: report.RawBytes(t.Path), Content: content}
	if !t.U.Absent() {
		w.Mode, w.UID, w.GID = t.O.Mode, t.O.UID, t.O.GID
	}
	h.all = append(h.all, w)
	return nil
}

// carry returns what is withheld after this plan, in order: also what was before and is not looked at.
func (h *withheld) carry() []report.Withheld {
	out := h.all
	for _, name := range slices.Sorted(maps.Keys(h.views.Before)) {
		if h.pins.excludes(name) {
			out = append(out, h.views.Before[name])
		}
	}
	return out
}
