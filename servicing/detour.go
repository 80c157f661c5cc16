// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"path"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// detour is a directory of the storage that is none in the new base any more: what the user has in it goes elsewhere.
type detour struct {
	from   string // as the storage has it
	to     string // what the user has below from goes below this
	follow bool   // the new base has a link to a directory there: the user's is reconciled with what is in that
	made   map[string]bool
}

// beginDetour takes the new base's file or link in place of a directory.
func (p *planner) beginDetour(t sides.Three) error {
	d := &detour{from: t.Was, made: make(map[string]bool)}
	decided := decision{
		verdict: report.Take, rule: "C5", reason: "no directory in the base any more; what the user has in it is set aside",
		result: sides.Shows(t.N),
	}
	if t.N.Is(tree.Symlink) {
		target, ok, err := p.linkTarget(t.Path)
		if err != nil {
			return err
		}
		if ok {
			d.to, d.follow = target, true
			decided.rule, decided.reason = "C1", "a link to "+tree.Shown(target)+" in the base now; what the user has in it follows"
		}
	}
	if !d.follow {
		name, err := p.freeName(beside(t.Path, asideSuffix))
		if err != nil {
			return err
		}
		d.to = name
	}
	if p.options.Policy[policy.ConcernTypeByBase] == policy.ActionHold && t.O.Dir() && !d.follow {
		p.holdConflict(policy.ConcernTypeByBase, t, decided.reason)
		decided.verdict = report.Hold
	}
	p.detours = append(p.detours, d)
	return p.apply(t, decided)
}

// leaveDirectory takes the new base's file or link in place of a directory that the old base had. What the user deleted by
// making it anew stays deleted at the target of a link, too.
func (p *planner) leaveDirectory(c tree.Change, t sides.Three) error {
	if err := p.beginDetour(t); err != nil {
		return err
	}
	d := p.detours[len(p.detours)-1]
	if !d.follow || !c.Opaque && !c.Covered {
		return nil
	}
	there, err := p.Moved(t.Was, d.to)
	if err != nil {
		return err
	}
	_, err = p.arrivals(there)
	return err
}

// linkTarget returns the directory that a link of the new base leads to, if it is one for the user as well.
func (p *planner) linkTarget(link string) (string, bool, error) {
	target, ok, err := sides.ResolveDir(p.New, link)
	if err != nil || !ok || sides.Within(target, link) {
		return "", false, err
	}
	seen, err := sides.Lookup(p.Plain, target)
	if err != nil || seen.Dir() {
		return target, seen.Dir(), err
	}
	t, err := p.Three(target)
	return target, t.O.Absent() && t.U.Absent(), err // an old whiteout hides it, but what is new in the base arrives
}

// visitDetour decides on a path in such a directory.
func (p *planner) visitDetour(c tree.Change, d *detour) error {
	to := path.Join(d.to, strings.TrimPrefix(c.Path, d.from))
	t, err := p.Moved(c.Path, to)
	if err != nil {
		return err
	}
	if d.follow {
		return p.follow(c, t)
	}
	return p.setAside(c, t, d)
}

// follow reconciles what the user has with what is at the new path, unless the user saw something else there as well: that is
// another file, about which the user said something else, or nothing.
func (p *planner) follow(c tree.Change, t sides.Three) error {
	there, err := sides.Lookup(p.User, t.Path)
	if err != nil {
		return err
	}
	unchanged, err := sides.SameContent(t.O, t.U)
	if err != nil {
		return err
	}
	switch {
	case there.Absent() || c.Kind == tree.Directory && there.Dir():
		return p.visitAt(c, t)
	case c.Deleted || unchanged:
		p.note(c, t)
		return nil
	default:
		name, err := p.freeName(beside(t.Path, asideSuffix))
		if err != nil {
			return err
		}
		t.Path = name
		p.note(c, t)
		return p.apply(t, decision{
			verdict: report.Relocate, rule: "C1", reason: "there was a file at the new path, too", result: sides.Shows(t.U).Unprivileged(),
		})
	}
}

// setAside puts what the user made or changed below a directory beside the one that is gone.
func (p *planner) setAside(c tree.Change, t sides.Three, d *detour) error {
	p.note(c, t)
	if c.Deleted || c.Kind == tree.Directory && t.O.Dir() {
		return nil
	}
	same, err := sides.SameContent(t.O, t.U)
	if err != nil || same {
		return err
	}
	if err := p.makeParents(d, t.Was, t.Path); err != nil {
		return err
	}
	return p.apply(t, decision{
		verdict: report.Relocate, rule: "C5", reason: "its directory is no longer one in the base",
		result: sides.Shows(t.U).Unprivileged(),
	})
}

// makeParents makes the directories that something set aside needs, as they were.
func (p *planner) makeParents(d *detour, was, to string) error {
	for to != d.to {
		was, to = path.Dir(was), path.Dir(to)
		if d.made[to] {
			return nil
		}
		d.made[to] = true
		n, err := sides.Lookup(p.User, was)
		if err != nil {
			return err
		}
		if _, decided := p.want[to]; !decided {
			p.show(to, sides.Shows(n))
		}
	}
	return nil
}
