// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"maps"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// withhold notes a path that is kept as it is though it is not the user's.
func (p *planner) withhold(t three) error {
	content, err := describe(t.u)
	if err != nil {
		return err
	}
	w := report.Withheld{Path: report.Printable(t.path), PathBytes: report.RawBytes(t.path), Content: content}
	if !t.u.absent() {
		w.Mode, w.UID, w.GID = t.o.Mode, t.o.UID, t.o.GID
	}
	p.withheld = append(p.withheld, w)
	return nil
}

// carryWithheld returns what is withheld after this plan, in order: also what was before and is not looked at.
func (p *planner) carryWithheld() []report.Withheld {
	out := p.withheld
	for _, name := range slices.Sorted(maps.Keys(p.before)) {
		if p.pins.excludes(name) {
			out = append(out, p.before[name])
		}
	}
	return out
}

// asBefore replaces what the old base has at a path by what an earlier one had, if a servicing has withheld that and the user has
// not changed it since.
func (v *views) asBefore(t *three) error {
	w, ok := v.before[t.was]
	if !ok {
		return nil
	}
	content, err := describe(t.u)
	if err != nil || content != w.Content {
		return err
	}
	if t.u.absent() {
		t.o = node{}
		return nil
	}
	meta := tree.Meta{Mtime: t.u.Mtime}
	if t.o.is(t.u.Kind) {
		meta = t.o.Meta
	}
	meta.Mode, meta.UID, meta.GID = w.Mode, w.UID, w.GID
	t.o = t.u
	t.o.Meta = meta
	return nil
}
