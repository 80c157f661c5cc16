// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"path"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// detour is a directory of the storage that is none in the new base any longer: what the user has in it goes elsewhere.
type detour struct {
	from   string // as the storage has it
	to     string // what the user has below from goes below this
	follow bool   // the new base has a link to a directory there: the user's is reconciled with what is in that
	made   map[string]bool
}

// beginDetour takes the new base's file or link in place of a directory.
func (w *walk) beginDetour(t sides.Three) error {
	d := &detour{from: t.Was, made: make(map[string]bool)}
	decided := Decision{
		Verdict: report.Take, Rule: "C5",
		Reason: "no directory in the base any more; what the user has in it is set aside",
		Result: sides.Shows(t.N),
	}
	if t.N.Is(tree.Symlink) {
		target, ok, err := linkTarget(w.views, t.Path)
		if err != nil {
			return err
		}
		if ok {
			d.to, d.follow = target, true
			decided.Rule = "C1"
			decided.Reason = "a link to " + tree.Shown(target) + " in the base now; what the user has in it follows"
		}
	}
	if !d.follow {
		name, err := w.result.aside(t.Path)
		if err != nil {
			return err
		}
		d.to = name
	}
	if w.policy[policy.ConcernTypeByBase] == policy.ActionHold && t.O.Dir() && !d.follow {
		w.result.holdConflict(policy.ConcernTypeByBase, t, decided.Reason)
		decided.Verdict = report.Hold
	}
	w.detours = append(w.detours, d)
	return w.result.Decide(t, decided)
}

// leaveDirectory takes the new base's file or link in place of a directory that the old base had. What the user
// deleted by making it again stays deleted at the target of a link, too.
func (w *walk) leaveDirectory(c tree.Change, t sides.Three) error {
	if err := w.beginDetour(t); err != nil {
		return err
	}
	d := w.detours[len(w.detours)-1]
	if !d.follow || !c.Opaque && !c.Covered {
		return nil
	}
	there, err := w.views.Moved(t.Was, d.to)
	if err != nil {
		return err
	}
	_, err = w.arrivals(there)
	return err
}

// visitDetour decides on a path in such a directory.
func (w *walk) visitDetour(c tree.Change, d *detour) error {
	to := path.Join(d.to, strings.TrimPrefix(c.Path, d.from))
	t, err := w.views.Moved(c.Path, to)
	if err != nil {
		return err
	}
	if d.follow {
		return w.follow(c, t)
	}
	return w.setAside(c, t, d)
}

// follow reconciles what the user has with what is at the new path, unless the user saw something else there as well:
// that is another file, about which the user said something else, or nothing.
func (w *walk) follow(c tree.Change, t sides.Three) error {
	there, err := sides.Lookup(w.views.User, t.Path)
	if err != nil {
		return err
	}
	unchanged, err := sides.SameContent(t.O, t.U)
	if err != nil {
		return err
	}
	switch {
	case there.Absent() || c.Kind == tree.Directory && there.Dir():
		return w.visitAt(c, t)
	case c.Deleted || unchanged:
		w.note(c, t)
		return nil
	default:
		name, err := w.result.aside(t.Path)
		if err != nil {
			return err
		}
		t.Path = name
		w.note(c, t)
		return w.result.Decide(t, Decision{
			Verdict: report.Relocate, Rule: "C1", Reason: "there was a file at the new path, too",
			Result: sides.Shows(t.U).Unprivileged(),
		})
	}
}

// setAside puts beside what the user made or changed below a directory that is gone.
func (w *walk) setAside(c tree.Change, t sides.Three, d *detour) error {
	w.note(c, t)
	if c.Deleted || c.Kind == tree.Directory && t.O.Dir() {
		return nil
	}
	same, err := sides.SameContent(t.O, t.U)
	if err != nil || same {
		return err
	}
	if !sides.KeptBeside(t.U) {
		t.Path = t.Was
		return w.result.Decide(t, Decision{
			Verdict: report.Drop, Rule: "C5", Reason: "its directory is no longer one in the base; " + notKept(t.U),
			Result: sides.Nothing(),
		})
	}
	if err := w.makeParents(d, t.Was, t.Path); err != nil {
		return err
	}
	return w.result.Decide(t, Decision{
		Verdict: report.Relocate, Rule: "C5", Reason: "its directory is no longer one in the base",
		Result: sides.Shows(t.U).Unprivileged(),
	})
}

// makeParents makes the directories that something set aside needs.
func (w *walk) makeParents(d *detour, was, to string) error {
	for to != d.to {
		was, to = path.Dir(was), path.Dir(to)
		if d.made[to] {
			return nil
		}
		d.made[to] = true
		n, err := sides.Lookup(w.views.User, was)
		if err != nil {
			return err
		}
		if _, decided := w.result.want[to]; !decided {
			w.result.show(to, sides.Shows(n))
		}
	}
	return nil
}

// beginRename lets what the user has in a directory follow to where the new base has it now.
func (w *walk) beginRename(c tree.Change, t sides.Three, to string) error {
	w.detours = append(w.detours, &detour{from: t.Was, to: to, follow: true})
	if err := w.result.Decide(t, Decision{
		Verdict: report.Take, Rule: "C2",
		Reason: fmt.Sprintf("renamed to %s in the base; what the user has in it follows", tree.Shown(to)),
		Result: sides.Nothing(),
	}); err != nil {
		return err
	}
	moved, err := w.views.Moved(t.Was, to)
	if err != nil {
		return err
	}
	return w.visitAt(c, moved)
}

// linkTarget returns the directory that a link of the new base leads to, if it is one for the user as well.
func linkTarget(v *sides.Views, link string) (string, bool, error) {
	target, ok, err := sides.ResolveDir(v.New, link)
	if err != nil || !ok || sides.Within(target, link) {
		return "", false, err
	}
	seen, err := sides.Lookup(v.Plain, target)
	if err != nil || seen.Dir() {
		return target, seen.Dir(), err
	}
	t, err := v.Three(target)
	return target, t.O.Absent() && t.U.Absent(), err // an old whiteout hides it, but what is new in the base arrives
}
