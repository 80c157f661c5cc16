// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// directory decides on a directory of the storage.
func (w *walk) directory(c tree.Change, t sides.Three) error {
	switch {
	case t.N.Dir():
		return w.directoryOverDirectory(c, t)
	case t.N.Absent() && t.O.Dir():
		to, err := w.renames.renamedTo(t)
		if err != nil {
			return err
		}
		if to != "" {
			return w.beginRename(c, t, to)
		}
		t.U, t.O = w.result.counted(t.Path, sides.Shows(t.U)).Node, t.O.WithoutAttributes()
		w.orphans = append(w.orphans, t)
		return nil
	case t.N.Absent():
		return w.result.Decide(t, Decision{
			Verdict: report.Keep, Rule: "A2", Reason: "the user's own", Result: sides.Shows(t.U), Quiet: true,
		})
	case t.O.Dir():
		return w.leaveDirectory(c, t)
	default:
		return w.directoryOverNewFile(t)
	}
}

// directoryOverDirectory merges the metadata; what is in it is merged by what is shown, unless the user's hides it.
func (w *walk) directoryOverDirectory(c tree.Change, t sides.Three) error {
	d := Decision{
		Verdict: report.Take, Rule: "R2", Reason: "mode, owner or attributes changed by the base",
		Result: sides.Shows(sides.Merged(t, t.U)),
	}
	if !t.O.Dir() || !sides.SameMeta(tree.Directory, t.O.Meta, t.U.Meta) {
		d.Verdict, d.Reason = report.Keep, "mode, owner or attributes set by the user"
	}
	d.Quiet = sides.SameMeta(tree.Directory, t.N.Meta, t.U.Meta)
	if err := w.result.Decide(t, d); err != nil {
		return err
	}
	if !c.Opaque && !c.Covered {
		return nil
	}
	_, err := w.arrivals(t)
	return err
}

// directoryOverNewFile keeps a directory that the user made where the new base has something else: it brought it, or
// changed the file which the user replaced.
func (w *walk) directoryOverNewFile(t sides.Three) error {
	same, err := sides.SameContent(t.O, t.N)
	if err != nil {
		return err
	}
	d := Decision{Verdict: report.Keep, Rule: "C3", Reason: "a directory of the user's", Result: sides.Shows(t.U)}
	if !same && t.N.Is(tree.Regular) && !sides.DataPaths.Has(t.Path) {
		d.Verdict, d.Beside = report.Beside, true
	}
	if !same {
		d = w.result.Settle(policy.ConcernTypeByUser, t, d)
	}
	if d.Verdict == report.Take {
		return w.beginDetour(t)
	}
	return w.result.Decide(t, d)
}

// directoryOverFile decides where the user has something else than a directory and the new base has a directory.
func (w *walk) directoryOverFile(t sides.Three) error {
	same, err := sides.Compare(t)
	if err != nil {
		return err
	}
	switch {
	case t.O.Dir():
		d := w.rules.hidesDirectory(t)
		if changed, err := w.rules.changedBelow(t); err != nil {
			return err
		} else if changed {
			d = w.result.Settle(policy.ConcernTypeByUser, t, d)
		}
		if err := w.result.Decide(t, d); err != nil || d.Verdict != report.Take {
			return err
		}
	case same.OU:
		if err := w.result.Decide(t, Decision{
			Verdict: report.Take, Rule: "C7", Reason: "a directory in the base now", Result: sides.Shows(t.N),
		}); err != nil {
			return err
		}
	default:
		if err := w.result.Decide(t, w.result.Settle(policy.ConcernTypeByBase, t, Decision{
			Verdict: report.Take, Rule: "C7", Reason: "a directory in the base now; the user's file is set aside",
			Aside:  true,
			Result: sides.Shows(t.N),
		})); err != nil {
			return err
		}
	}
	return w.takeBelow(t)
}

// deleted decides on what the storage hides.
func (w *walk) deleted(t sides.Three) error {
	switch {
	case t.N.Absent():
		return nil
	case t.O.Absent():
		return w.take(t, Decision{Verdict: report.Take, Rule: "R6", Reason: "new in the base"})
	case t.Own.Returns():
		return w.take(t, Decision{
			Verdict: report.Take, Rule: "D4", Reason: "of a version of its package that replaces the user's",
		})
	case t.O.Dir() && t.N.Dir():
		_, err := w.arrivals(t)
		return err
	case t.N.Dir():
		return w.take(t, Decision{
			Verdict: report.Take, Rule: "R6", Reason: "a directory in the base now, with what is new in it",
		})
	default:
		return w.staysDeleted(t)
	}
}

// staysDeleted records that something the user deleted stays deleted. It is told when the new base changed it.
func (w *walk) staysDeleted(t sides.Three) error {
	same, err := sides.SameContent(t.O, t.N)
	if err != nil {
		return err
	}
	d := Decision{Verdict: report.Keep, Rule: "B1", Reason: "deleted by the user", Result: sides.Nothing(), Quiet: same}
	if c := t.Own[sides.New]; c.Differs() && !c.User.Installed() {
		d.Quiet = true // the package was removed: that is told once
		return w.result.Decide(t, d)
	}
	if !same {
		d = w.result.Settle(policy.ConcernDeletedByUser, t, d)
	}
	if d.Verdict == report.Take {
		return w.take(t, d)
	}
	return w.result.Decide(t, d)
}

// take shows what the new base has, with everything below it.
func (w *walk) take(t sides.Three, d Decision) error {
	d.Result = sides.Shows(t.N)
	if err := w.result.Decide(t, d); err != nil {
		return err
	}
	return w.takeBelow(t)
}

// takeBelow shows what the new base has below a directory that nothing of the storage can be below of.
func (w *walk) takeBelow(t sides.Three) error {
	if !t.N.Dir() {
		return nil
	}
	names, err := w.views.New.ReadDir(t.Path)
	if err != nil {
		return err
	}
	for _, name := range names {
		child, err := w.paths.child(t, name)
		if err != nil {
			return err
		}
		w.result.show(child.Path, sides.Shows(child.N))
		if err := w.takeBelow(child); err != nil {
			return err
		}
	}
	return nil
}

// arrivals decides on what the new base has in a directory that the user deleted or made again: what the old base had
// stays deleted, what is new arrives. It reports whether something arrives.
func (w *walk) arrivals(dir sides.Three) (bool, error) {
	names, err := w.views.New.ReadDir(dir.Path)
	if err != nil {
		return false, err
	}
	arrived := false
	for _, name := range names {
		t, err := w.paths.childOrOwn(dir, name)
		if err != nil {
			return false, err
		}
		one, err := w.arrival(t)
		if err != nil {
			return false, err
		}
		arrived = arrived || one
	}
	if arrived && !dir.U.Dir() {
		err = w.result.Decide(dir, Decision{
			Verdict: report.Take, Rule: "B4", Reason: "deleted by the user; the base has new files in it",
			Result: sides.Shows(dir.N),
		})
	}
	return arrived, err
}

func (w *walk) arrival(t sides.Three) (bool, error) {
	switch {
	case !t.U.Absent():
		return false, nil // the walk comes to it
	case t.O.Absent(), t.Own.Returns():
		return true, w.take(t, Decision{
			Verdict: report.Take, Rule: "B4", Reason: "new in the base, below a directory that the user deleted",
		})
	case t.O.Dir() && t.N.Dir():
		return w.arrivals(t)
	case t.N.Dir():
		return true, w.take(t, Decision{
			Verdict: report.Take, Rule: "B4", Reason: "a directory in the base now, with what is new in it",
		})
	default:
		return false, w.staysDeleted(t)
	}
}

// settleOrphans decides on the directories that the new base does not have any longer: they go with the last that is in
// them. One that stays must be in the delta storage if there are whiteouts in it: they are invisible only where
// directories merge.
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
			if err := w.result.Decide(t, Decision{
				Verdict: report.Take, Rule: "R6", Reason: "removed from the base, nothing of the user's is in it",
				Result: sides.Nothing(),
			}); err != nil {
				return err
			}
			continue
		}
		inside[path.Dir(t.Path)] = append(inside[path.Dir(t.Path)], t.Path)
		d := Decision{
			Verdict: report.Keep, Rule: "R6", Reason: "removed from the base, but files of the user's are in it",
			Result: sides.Shows(t.U),
		}
		d.Result.Force = w.hidden[t.Was]
		if err := w.result.Decide(t, d); err != nil {
			return err
		}
	}
	return nil
}

// somethingLeft reports whether a directory will have something in it; wanted is what was decided to be there.
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
