// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// settleOrphans decides on the directories that the new base does not have any more: they go with the last that is in them.
// One that stays must be in the delta storage if there are whiteouts in it: they are invisible only where directories merge.
func (w *walk) settleOrphans() error {
	inside := make(map[string][]string)
	for name, o := range w.result.want {
		if !o.Absent() {
			inside[path.Dir(name)] = append(inside[path.Dir(name)], name)
		}
	}
	slices.SortFunc(w.orphans, func(a, b sides.Three) int { return strings.Compare(b.Path, a.Path) }) // children first
	for _, t := range w.orphans {
		if o, decided := w.result.want[t.Path]; decided && o.Dir() { // of a package that stays
			o.Force = w.hidden[t.Was]
			w.result.show(t.Path, o)
			continue
		}
		left, err := w.somethingLeft(t.Path, inside[t.Path])
		if err != nil {
			return err
		}
		if !left {
			if err := w.result.Decide(t, decision{
				verdict: report.Take, rule: "R6", reason: "removed from the base, nothing of the user's is in it", result: sides.Nothing(),
			}); err != nil {
				return err
			}
			continue
		}
		inside[path.Dir(t.Path)] = append(inside[path.Dir(t.Path)], t.Path)
		d := decision{verdict: report.Keep, rule: "R6", reason: "removed from the base, but files of the user's are in it", result: sides.Shows(t.U)}
		d.result.Force = w.hidden[t.Was]
		if err := w.result.Decide(t, d); err != nil {
			return err
		}
	}
	return nil
}

// somethingLeft tells whether a directory will have something in it; wanted is what was decided to be there.
func (w *walk) somethingLeft(dir string, wanted []string) (bool, error) {
	if len(wanted) > 0 {
		return true, nil
	}
	names, err := sides.ReadDir(w.views.Plain, dir)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(names, func(name string) bool {
		_, decided := w.result.want[path.Join(dir, name)]
		return !decided // decided to be nothing, or else it were among the wanted
	}), nil
}
