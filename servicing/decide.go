// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// comparison tells which of the three contents are the same.
type comparison struct{ on, ou, nu bool }

func compare(t three) (c comparison, err error) {
	if c.on, err = sameContent(t.o, t.n); err != nil {
		return c, err
	}
	if c.ou, err = sameContent(t.o, t.u); err != nil {
		return c, err
	}
	if c.on && c.ou {
		c.nu = true
		return c, nil
	}
	c.nu, err = sameContent(t.n, t.u)
	return c, err
}

// file decides on a path where the storage has something that is not a directory.
func (p *planner) file(t three) error {
	if t.u.is(tree.Socket) {
		return p.apply(t, decision{verdict: report.Drop, rule: "C11", reason: "a socket without a process", result: shows(t.u)})
	}
	if t.o.absent() && t.n.absent() {
		return p.ownFile(t)
	}
	if t.own.pinned(t.was) {
		return p.apply(t, p.keepPinned(t))
	}
	if t.n.dir() {
		return p.directoryOverFile(t)
	}
	d, err := p.threeWay(t)
	if err != nil {
		return err
	}
	return p.apply(t, d)
}

// ownFile keeps what neither base has, unless it is of a version of a package that is not in the result.
func (p *planner) ownFile(t three) error {
	shipped, err := p.packages.shipped(t)
	if err != nil {
		return err
	}
	if shipped {
		return p.apply(t, p.unchanged(t, false))
	}
	return p.apply(t, decision{verdict: report.Keep, rule: "A2", reason: "the user's own", result: shows(t.u), quiet: true})
}

// threeWay decides where neither the new base nor the user has a directory, and the user has something.
func (p *planner) threeWay(t three) (decision, error) {
	same, err := compare(t)
	if err != nil {
		return decision{}, err
	}
	shipped, err := p.packages.shipped(t)
	if err != nil {
		return decision{}, err
	}
	switch {
	case same.on && same.ou:
		return sameEverywhere(t), nil
	case same.nu:
		return decision{verdict: report.Take, rule: "A3", reason: "the same on both sides", result: shows(merged(t, t.u))}, nil
	case same.ou, shipped:
		return p.unchanged(t, same.ou), nil
	case same.on:
		return decision{verdict: report.Keep, rule: "A2", reason: "changed by the user only", result: shows(merged(t, t.u))}, nil
	case !t.n.absent() && t.own.sameVersion():
		return decision{
			verdict: report.Keep, rule: "A2", reason: "changed by the user, who has the base's version of the package",
			result: shows(merged(t, t.u)),
		}, nil
	case t.n.absent():
		return p.settle(policy.ConcernDeletedByBase, t, p.removedByBase(t)), nil
	default:
		return p.conflict(t)
	}
}

// sameEverywhere decides where at most the metadata was changed.
func sameEverywhere(t three) decision {
	d := decision{verdict: report.Take, rule: "A1", reason: "not changed by the user", result: shows(merged(t, t.u))}
	if t.o.absent() || !sameMeta(t.u.Kind, t.o.Meta, t.u.Meta) {
		d.verdict, d.rule, d.reason = report.Keep, "A2", "only mode, owner or attributes changed by the user"
	}
	d.quiet = d.verdict == report.Take && sameMeta(t.u.Kind, t.n.Meta, t.o.Meta)
	return d
}

// merged returns the node with merged metadata.
func merged(t three, content node) node {
	content.Meta = mergeMeta(t, content)
	return content
}

// unchanged decides on a content that the user did not change, but the new base did.
func (p *planner) unchanged(t three, sameAsOld bool) decision {
	switch {
	case t.n.absent() && sameAsOld:
		return decision{verdict: report.Take, rule: "R6", reason: "removed from the base, not changed by the user", result: nothing()}
	case t.n.absent():
		return decision{verdict: report.Take, rule: "D4", reason: "of a version of its package that is not in the result", result: nothing()}
	case !sameAsOld:
		return decision{
			verdict: report.Take, rule: "A6", reason: "the user's is as a lower version of its package ships it",
			result: shows(merged(t, t.n)),
		}
	case sameMeta(t.u.Kind, t.o.Meta, t.u.Meta):
		return decision{verdict: report.Take, rule: "A1", reason: "not changed by the user", result: shows(merged(t, t.n))}
	default:
		return decision{
			verdict: report.Take, rule: "A7", reason: "only mode, owner or attributes changed by the user: these are kept",
			result: shows(merged(t, t.n)),
		}
	}
}

// removedByBase decides on what the user changed and the new base does not have any more.
func (p *planner) removedByBase(t three) decision {
	if t.own.removed() && !configPaths.has(t.path) {
		return decision{
			verdict: report.Take, rule: "B3",
			reason: "of a package that the base does not have any more; the user's version is set aside", aside: true,
			result: nothing(),
		}
	}
	return decision{verdict: report.Keep, rule: "B3", reason: "removed from the base, changed by the user", result: shows(t.u)}
}

// conflict decides where both sides changed the content: by a driver if one can, else the user's stays.
func (p *planner) conflict(t three) (decision, error) {
	for _, d := range p.drivers {
		if d.conflict == nil || !d.matches(t.path) {
			continue
		}
		decided, ok, err := d.conflict(p, t)
		if err != nil {
			return decision{}, fmt.Errorf("driver %s: %w", d.name, err)
		}
		if ok {
			decided.driver = d.name
			return decided, nil
		}
	}
	return p.keepUsers(t)
}

// keepUsers keeps the user's version of what both sides changed and puts the new base's beside it, where that is of use:
// not among data, and not for a program or library, whose directories are read by what does not know about it.
func (p *planner) keepUsers(t three) (decision, error) {
	d := decision{verdict: report.Keep, rule: "A5", reason: "changed on both sides", result: shows(merged(t, t.u))}
	binary, err := isBinary(t.n)
	if err != nil {
		return decision{}, err
	}
	concern := policy.ConcernText
	if binary {
		concern = policy.ConcernBinary
	}
	switch {
	case t.o.dir(), t.u.is(tree.Symlink):
		concern, d.rule, d.reason = policy.ConcernTypeByUser, "C3", "replaced by the user by a "+t.u.Kind.String()
	case binary && t.own.owned():
		concern, d.rule, d.reason = policy.ConcernPackageFile, "A6", "replaced by the user: the base's version is hidden"
	case dataPaths.has(t.path):
		concern, d.rule, d.reason = policy.ConcernData, "R11", "data: the user's stays"
	case t.u.is(tree.Regular) && (t.n.is(tree.Regular) || t.n.is(tree.Symlink)):
		d.verdict, d.beside = report.Beside, true
	}
	return p.settle(concern, t, d), nil
}

// directoryOverFile decides where the user has something else than a directory and the new base has a directory.
func (p *planner) directoryOverFile(t three) error {
	same, err := compare(t)
	if err != nil {
		return err
	}
	switch {
	case t.o.dir():
		d := p.hidesDirectory(t)
		if changed, err := p.changedBelow(t); err != nil {
			return err
		} else if changed {
			d = p.settle(policy.ConcernTypeByUser, t, d)
		}
		if err := p.apply(t, d); err != nil || d.verdict != report.Take {
			return err
		}
	case same.ou:
		if err := p.apply(t, decision{verdict: report.Take, rule: "C7", reason: "a directory in the base now", result: shows(t.n)}); err != nil {
			return err
		}
	default:
		if err := p.apply(t, p.settle(policy.ConcernTypeByBase, t, decision{
			verdict: report.Take, rule: "C7", reason: "a directory in the base now; the user's file is set aside", aside: true,
			result: shows(t.n),
		})); err != nil {
			return err
		}
	}
	return p.takeBelow(t)
}

// changedBelow tells whether the new base changed something in a directory. It looks only when a policy asks.
func (p *planner) changedBelow(dir three) (bool, error) {
	if _, given := p.options.Policy[policy.ConcernTypeByUser]; !given {
		return false, nil
	}
	names := make(map[string]bool)
	for _, side := range []node{dir.o, dir.n} {
		list, err := readDir(side.view, side.Path)
		if err != nil {
			return false, err
		}
		for _, name := range list {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		t, err := p.moved(path.Join(dir.was, name), path.Join(dir.path, name))
		if err != nil {
			return false, err
		}
		if t.o.dir() && t.n.dir() {
			if changed, err := p.changedBelow(t); err != nil || changed {
				return changed, err
			}
			continue
		}
		if same, err := sameContent(t.o, t.n); err != nil || !same {
			return true, err
		}
	}
	return false, nil
}

// hidesDirectory keeps what the user put in place of a directory.
func (p *planner) hidesDirectory(t three) decision {
	return decision{
		verdict: report.Keep, rule: "C4",
		reason: "the user replaced a directory by a " + t.u.Kind.String() + ", which hides what the base has there",
		result: shows(t.u),
	}
}
