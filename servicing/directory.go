// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// directory decides on a directory of the storage.
func (p *planner) directory(c tree.Change, t three) error {
	switch {
	case t.n.dir():
		return p.directoryOverDirectory(c, t)
	case t.n.absent() && t.o.dir():
		to, err := p.renamedTo(t)
		if err != nil {
			return err
		}
		if to != "" {
			return p.beginRename(c, t, to)
		}
		t.u, t.o = p.counted(t.path, shows(t.u)).node, t.o.withoutAttributes()
		p.orphans = append(p.orphans, t)
		return nil
	case t.n.absent():
		return p.apply(t, decision{verdict: report.Keep, rule: "A2", reason: "the user's own", result: shows(t.u), quiet: true})
	case t.o.dir():
		return p.leaveDirectory(c, t)
	default:
		return p.directoryOverNewFile(t)
	}
}

// directoryOverDirectory merges the metadata; what is in it is merged by what is shown, unless the user's hides it.
func (p *planner) directoryOverDirectory(c tree.Change, t three) error {
	d := decision{verdict: report.Take, rule: "R2", reason: "mode, owner or attributes changed by the base", result: shows(merged(t, t.u))}
	if !t.o.dir() || !sameMeta(tree.Directory, t.o.Meta, t.u.Meta) {
		d.verdict, d.reason = report.Keep, "mode, owner or attributes set by the user"
	}
	d.quiet = sameMeta(tree.Directory, t.n.Meta, t.u.Meta)
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
func (p *planner) directoryOverNewFile(t three) error {
	same, err := sameContent(t.o, t.n)
	if err != nil {
		return err
	}
	d := decision{verdict: report.Keep, rule: "C3", reason: "a directory of the user's", result: shows(t.u)}
	if !same && t.n.is(tree.Regular) && !dataPaths.has(t.path) {
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
func (p *planner) deleted(t three) error {
	switch {
	case t.n.absent():
		return nil
	case t.o.absent():
		return p.take(t, decision{verdict: report.Take, rule: "R6", reason: "new in the base"})
	case t.own.returns():
		return p.take(t, decision{verdict: report.Take, rule: "D4", reason: "of a version of its package that replaces the user's"})
	case t.o.dir() && t.n.dir():
		_, err := p.arrivals(t)
		return err
	case t.n.dir():
		return p.take(t, decision{verdict: report.Take, rule: "R6", reason: "a directory in the base now, with what is new in it"})
	default:
		return p.staysDeleted(t)
	}
}

// staysDeleted records that something the user deleted stays deleted. It is told when the new base changed it.
func (p *planner) staysDeleted(t three) error {
	same, err := sameContent(t.o, t.n)
	if err != nil {
		return err
	}
	d := decision{verdict: report.Keep, rule: "B1", reason: "deleted by the user", result: nothing(), quiet: same}
	if c := t.own[sideNew]; differs(c) && !c.User.Installed() {
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
func (p *planner) take(t three, d decision) error {
	d.result = shows(t.n)
	if err := p.apply(t, d); err != nil {
		return err
	}
	return p.takeBelow(t)
}

// takeBelow shows what the new base has below a directory that nothing of the storage can be below of.
func (p *planner) takeBelow(t three) error {
	if !t.n.dir() {
		return nil
	}
	names, err := p.new.ReadDir(t.path)
	if err != nil {
		return err
	}
	for _, name := range names {
		child, err := p.child(t, name)
		if err != nil {
			return err
		}
		p.show(child.path, shows(child.n))
		if err := p.takeBelow(child); err != nil {
			return err
		}
	}
	return nil
}

// arrivals decides on what the new base has in a directory that the user deleted or made anew: what the old base had stays
// deleted, what is new arrives. It reports whether something arrives.
func (p *planner) arrivals(dir three) (bool, error) {
	names, err := p.new.ReadDir(dir.path)
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
	if arrived && !dir.u.dir() {
		err = p.apply(dir, decision{
			verdict: report.Take, rule: "B4", reason: "deleted by the user; the base has new files in it", result: shows(dir.n),
		})
	}
	return arrived, err
}

func (p *planner) arrival(t three) (bool, error) {
	switch {
	case !t.u.absent():
		return false, nil // the walk comes to it
	case t.o.absent(), t.own.returns():
		return true, p.take(t, decision{verdict: report.Take, rule: "B4", reason: "new in the base, below a directory that the user deleted"})
	case t.o.dir() && t.n.dir():
		return p.arrivals(t)
	case t.n.dir():
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
		if !o.absent() {
			inside[path.Dir(name)] = append(inside[path.Dir(name)], name)
		}
	}
	slices.SortFunc(p.orphans, func(a, b three) int { return strings.Compare(b.path, a.path) }) // children first
	for _, t := range p.orphans {
		if o, decided := p.want[t.path]; decided && o.dir() { // of a package that stays
			o.force = p.hidden[t.was]
			p.show(t.path, o)
			continue
		}
		left, err := p.somethingLeft(t.path, inside[t.path])
		if err != nil {
			return err
		}
		if !left {
			if err := p.apply(t, decision{
				verdict: report.Take, rule: "R6", reason: "removed from the base, nothing of the user's is in it", result: nothing(),
			}); err != nil {
				return err
			}
			continue
		}
		inside[path.Dir(t.path)] = append(inside[path.Dir(t.path)], t.path)
		d := decision{verdict: report.Keep, rule: "R6", reason: "removed from the base, but files of the user's are in it", result: shows(t.u)}
		d.result.force = p.hidden[t.was]
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
	names, err := readDir(p.plain, dir)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(names, func(name string) bool {
		_, decided := p.want[path.Join(dir, name)]
		return !decided // decided to be nothing, or else it were among the wanted
	}), nil
}
