// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

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
func (p *planner) directory(c tree.Change, t sides.Three) error {
	switch {
	case t.N.Dir():
		return p.directoryOverDirectory(c, t)
	case t.N.Absent() && t.O.Dir():
		to, err := p.renamedTo(t)
		if err != nil {
			return err
		}
		if to != "" {
			return p.beginRename(c, t, to)
		}
		t.U, t.O = p.counted(t.Path, sides.Shows(t.U)).Node, t.O.WithoutAttributes()
		p.orphans = append(p.orphans, t)
		return nil
	case t.N.Absent():
		return p.apply(t, decision{verdict: report.Keep, rule: "A2", reason: "the user's own", result: sides.Shows(t.U), quiet: true})
	case t.O.Dir():
		return p.leaveDirectory(c, t)
	default:
		return p.directoryOverNewFile(t)
	}
}

// directoryOverDirectory merges the metadata; what is in it is merged by what is shown, unless the user's hides it.
func (p *planner) directoryOverDirectory(c tree.Change, t sides.Three) error {
	d := decision{verdict: report.Take, rule: "R2", reason: "mode, owner or attributes changed by the base", result: sides.Shows(sides.Merged(t, t.U))}
	if !t.O.Dir() || !sides.SameMeta(tree.Directory, t.O.Meta, t.U.Meta) {
		d.verdict, d.reason = report.Keep, "mode, owner or attributes set by the user"
	}
	d.quiet = sides.SameMeta(tree.Directory, t.N.Meta, t.U.Meta)
	if err := p.apply(t, d); err != nil {
		return err
	}
	if !c.Opaque && !c.Covered {
		return nil
	}
	_, err := p.arrivals(t)
	return err
}

// directoryOverNewFile keeps a directory that the user made where the new base has something else: it brought it, or
// changed the file which the user replaced.
func (p *planner) directoryOverNewFile(t sides.Three) error {
	same, err := sides.SameContent(t.O, t.N)
	if err != nil {
		return err
	}
	d := decision{verdict: report.Keep, rule: "C3", reason: "a directory of the user's", result: sides.Shows(t.U)}
	if !same && t.N.Is(tree.Regular) && !sides.DataPaths.Has(t.Path) {
		d.verdict, d.beside = report.Beside, true
	}
	if !same {
		d = p.settle(policy.ConcernTypeByUser, t, d)
	}
	if d.verdict == report.Take {
		return p.beginDetour(t)
	}
	return p.apply(t, d)
}

// deleted decides on what the storage hides.
func (p *planner) deleted(t sides.Three) error {
	switch {
	case t.N.Absent():
		return nil
	case t.O.Absent():
		return p.take(t, decision{verdict: report.Take, rule: "R6", reason: "new in the base"})
	case t.Own.Returns():
		return p.take(t, decision{verdict: report.Take, rule: "D4", reason: "of a version of its package that replaces the user's"})
	case t.O.Dir() && t.N.Dir():
		_, err := p.arrivals(t)
		return err
	case t.N.Dir():
		return p.take(t, decision{verdict: report.Take, rule: "R6", reason: "a directory in the base now, with what is new in it"})
	default:
		return p.staysDeleted(t)
	}
}

// staysDeleted records that something the user deleted stays deleted. It is told when the new base changed it.
func (p *planner) staysDeleted(t sides.Three) error {
	same, err := sides.SameContent(t.O, t.N)
	if err != nil {
		return err
	}
	d := decision{verdict: report.Keep, rule: "B1", reason: "deleted by the user", result: sides.Nothing(), quiet: same}
	if c := t.Own[sides.New]; c.Differs() && !c.User.Installed() {
		d.quiet = true // the package was removed: that is told once
		return p.apply(t, d)
	}
	if !same {
		d = p.settle(policy.ConcernDeletedByUser, t, d)
	}
	if d.verdict == report.Take {
		return p.take(t, d)
	}
	return p.apply(t, d)
}

// take shows what the new base has, with everything below it.
func (p *planner) take(t sides.Three, d decision) error {
	d.result = sides.Shows(t.N)
	if err := p.apply(t, d); err != nil {
		return err
	}
	return p.takeBelow(t)
}

// takeBelow shows what the new base has below a directory that nothing of the storage can be below of.
func (p *planner) takeBelow(t sides.Three) error {
	if !t.N.Dir() {
		return nil
	}
	names, err := p.New.ReadDir(t.Path)
	if err != nil {
		return err
	}
	for _, name := range names {
		child, err := p.child(t, name)
		if err != nil {
			return err
		}
		p.show(child.Path, sides.Shows(child.N))
		if err := p.takeBelow(child); err != nil {
			return err
		}
	}
	return nil
}

// arrivals decides on what the new base has in a directory that the user deleted or made anew: what the old base had stays
// deleted, what is new arrives. It reports whether something arrives.
func (p *planner) arrivals(dir sides.Three) (bool, error) {
	names, err := p.New.ReadDir(dir.Path)
	if err != nil {
		return false, err
	}
	arrived := false
	for _, name := range names {
		t, err := p.childOrOwn(dir, name)
		if err != nil {
			return false, err
		}
		one, err := p.arrival(t)
		if err != nil {
			return false, err
		}
		arrived = arrived || one
	}
	if arrived && !dir.U.Dir() {
		err = p.apply(dir, decision{
			verdict: report.Take, rule: "B4", reason: "deleted by the user; the base has new files in it", result: sides.Shows(dir.N),
		})
	}
	return arrived, err
}

func (p *planner) arrival(t sides.Three) (bool, error) {
	switch {
	case !t.U.Absent():
		return false, nil // the walk comes to it
	case t.O.Absent(), t.Own.Returns():
		return true, p.take(t, decision{verdict: report.Take, rule: "B4", reason: "new in the base, below a directory that the user deleted"})
	case t.O.Dir() && t.N.Dir():
		return p.arrivals(t)
	case t.N.Dir():
		return true, p.take(t, decision{verdict: report.Take, rule: "B4", reason: "a directory in the base now, with what is new in it"})
	default:
		return false, p.staysDeleted(t)
	}
}

// settleOrphans decides on the directories that the new base does not have any more: they go with the last that is in them.
// One that stays must be in the delta storage if there are whiteouts in it: they are invisible only where directories merge.
func (p *planner) settleOrphans() error {
	inside := make(map[string][]string)
	for name, o := range p.want {
		if !o.Absent() {
			inside[path.Dir(name)] = append(inside[path.Dir(name)], name)
		}
	}
	slices.SortFunc(p.orphans, func(a, b sides.Three) int { return strings.Compare(b.Path, a.Path) }) // children first
	for _, t := range p.orphans {
		if o, decided := p.want[t.Path]; decided && o.Dir() { // of a package that stays
			o.Force = p.hidden[t.Was]
			p.show(t.Path, o)
			continue
		}
		left, err := p.somethingLeft(t.Path, inside[t.Path])
		if err != nil {
			return err
		}
		if !left {
			if err := p.apply(t, decision{
				verdict: report.Take, rule: "R6", reason: "removed from the base, nothing of the user's is in it", result: sides.Nothing(),
			}); err != nil {
				return err
			}
			continue
		}
		inside[path.Dir(t.Path)] = append(inside[path.Dir(t.Path)], t.Path)
		d := decision{verdict: report.Keep, rule: "R6", reason: "removed from the base, but files of the user's are in it", result: sides.Shows(t.U)}
		d.result.Force = p.hidden[t.Was]
		if err := p.apply(t, d); err != nil {
			return err
		}
	}
	return nil
}

// somethingLeft tells whether a directory will have something in it; wanted is what was decided to be there.
func (p *planner) somethingLeft(dir string, wanted []string) (bool, error) {
	if len(wanted) > 0 {
		return true, nil
	}
	names, err := sides.ReadDir(p.Plain, dir)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(names, func(name string) bool {
		_, decided := p.want[path.Join(dir, name)]
		return !decided // decided to be nothing, or else it were among the wanted
	}), nil
}
