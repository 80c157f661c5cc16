// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// effects compares what shall be seen with what would be seen and returns what makes the difference, parents first.
func (p *planner) effects() ([]sides.Effect, error) {
	if err := p.completeLinks(); err != nil {
		return nil, err
	}
	e := &effector{planner: p, dirs: make(map[string]bool), aside: make(map[string]string)}
	for _, name := range slices.Sorted(maps.Keys(p.want)) {
		if err := p.passOver(name, e.add(name, p.want[name])); err != nil {
			return nil, err
		}
	}
	written := make(map[string]bool)
	for _, one := range e.out {
		written[one.At] = true
	}
	e.out = slices.DeleteFunc(e.out, func(one sides.Effect) bool { return one.LinkTo != "" && !written[one.LinkTo] })
	slices.SortFunc(e.out, func(a, b sides.Effect) int { return sides.ComparePaths(a.At, b.At) })
	return e.out, nil
}

// effector collects effects.
type effector struct {
	*planner
	out   []sides.Effect
	dirs  map[string]bool   // directories that are in the delta storage
	aside map[string]string // by what is in the way, where the user's below it goes
}

// add adds what makes a path show its outcome; nothing if it does already.
func (e *effector) add(name string, o sides.Outcome) error {
	if e.dirs[name] {
		return nil // already there as a parent
	}
	shown, err := sides.Lookup(e.Plain, name)
	if err != nil {
		return err
	}
	if o.Absent() {
		if shown.Absent() {
			return nil
		}
		return e.put(sides.Effect{At: name, Whiteout: true})
	}
	same, err := e.alreadyShown(shown, o)
	if err != nil || same {
		return err
	}
	return e.put(sides.Effect{At: name, Outcome: o})
}

func (e *effector) alreadyShown(shown sides.Node, o sides.Outcome) (bool, error) {
	if o.Force || o.LinkTo != "" || shown.Absent() || shown.Kind != o.Kind || !sides.SameMeta(o.Kind, shown.Meta, o.Meta) {
		return false, nil
	}
	if !o.Made {
		return sides.SameContent(shown, o.Node)
	}
	if shown.Size != int64(len(o.Content)) {
		return false, nil
	}
	content, err := sides.Read(shown, shown.Size)
	return bytes.Equal(content, o.Content), err
}

// put adds an effect with the directories that it is in. There is nothing to do for what is in no directory of the result,
// unless it is the user's: then it is set aside.
func (e *effector) put(one sides.Effect) error {
	if one.At != "." {
		obstacle, err := e.parents(path.Dir(one.At))
		if err != nil {
			return err
		}
		if obstacle != "" {
			return e.rescue(one, obstacle)
		}
	}
	e.dirs[one.At] = one.Kind == tree.Directory
	e.out = append(e.out, one)
	return nil
}

// rescue sets aside what would be below something that is not a directory, if it is the user's.
func (e *effector) rescue(one sides.Effect, obstacle string) error {
	if one.Whiteout || one.View != e.User || one.Dir() {
		return nil
	}
	if e.aside[obstacle] == "" {
		name, err := e.freeName(beside(obstacle, asideSuffix))
		if err != nil {
			return err
		}
		e.aside[obstacle] = name
	}
	to := e.aside[obstacle] + strings.TrimPrefix(one.At, obstacle)
	e.findings = append(e.findings, finding{
		Three:    sides.Three{Path: to, Was: one.Path, U: one.Node},
		decision: decision{verdict: report.Relocate, rule: "C5", reason: fmt.Sprintf("there is no directory %s in the result", tree.Shown(obstacle))},
	})
	one.At = to
	one.Outcome = one.Unprivileged()
	e.show(to, one.Outcome)
	one.Outcome = e.want[to]
	return e.put(one)
}

// parents makes sure that a directory is in the delta storage. If it cannot be, what is in the way is returned.
func (e *effector) parents(dir string) (obstacle string, err error) {
	if e.dirs[dir] {
		return "", nil
	}
	o, decided := e.want[dir]
	if !decided {
		n, err := e.anyDir(dir)
		if err != nil {
			return "", err
		}
		o = e.counted(dir, sides.Shows(n))
	}
	if !o.Dir() {
		return dir, nil
	}
	if dir != "." {
		obstacle, err := e.parents(path.Dir(dir))
		if err != nil || obstacle != "" {
			return obstacle, err
		}
	}
	e.dirs[dir] = true
	e.out = append(e.out, sides.Effect{At: dir, Outcome: o})
	return "", nil
}

// anyDir returns a directory as it would be seen, or else as a side has it, or else a new one.
func (e *effector) anyDir(dir string) (sides.Node, error) {
	for _, view := range []*tree.View{e.Plain, e.User, e.New} {
		n, err := sides.Lookup(view, dir)
		if err != nil || !n.Absent() {
			return n, err
		}
	}
	return sides.Node{View: e.New, Entry: tree.Entry{Path: dir, Kind: tree.Directory, Meta: tree.Meta{Mode: 0o755}}}, nil
}

// keepLinks keeps names of one file of the storage together: when one of them gets a merged content or other metadata, those
// that neither base has something to say about follow.
func (p *planner) keepLinks() error {
	for _, links := range p.groups {
		changed, err := p.changedLink(links)
		if err != nil {
			return err
		}
		if changed == "" {
			if err := p.moveTogether(links); err != nil {
				return err
			}
			continue
		}
		for _, l := range links {
			if !l.own {
				continue
			}
			user, err := sides.Lookup(p.User, l.path)
			if err != nil {
				return err
			}
			o := p.want[changed]
			if o.Gains(user) {
				continue // what the base gives to its name is not for one of the user's own
			}
			o.LinkTo = changed
			p.show(l.path, o)
		}
	}
	return nil
}

// moveTogether writes all names of a file that is written anew because one of them has moved: else that one would be a file
// of its own.
func (p *planner) moveTogether(links []link) error {
	moved := func(l link) bool {
		o, decided := p.want[l.path]
		return decided && l.was != l.path && o.View == p.User
	}
	if !slices.ContainsFunc(links, moved) {
		return nil
	}
	for _, l := range links {
		o, decided := p.want[l.path]
		if !decided && l.own {
			n, err := sides.Lookup(p.User, l.was)
			if err != nil {
				return err
			}
			o = sides.Shows(n)
		}
		if o.View != p.User || o.Made {
			continue
		}
		o.Force = true
		p.show(l.path, o)
	}
	return nil
}

// changedLink returns the first name whose file is the user's, but not as it was; "" when there is none.
func (p *planner) changedLink(links []link) (string, error) {
	for _, l := range links {
		o, decided := p.want[l.path]
		if !decided || l.own || o.View != p.User {
			continue
		}
		user, err := sides.Lookup(p.User, l.path)
		if err != nil {
			return "", err
		}
		if o.Made || !sides.SameMeta(o.Kind, o.Meta, user.Meta) {
			return l.path, nil
		}
	}
	return "", nil
}

// completeLinks adds, where a name of a file is copied out of the new base, the other names of that file in the same
// directory and in the same package: else the group would be split between the delta storage and the base.
func (p *planner) completeLinks() error {
	for _, name := range slices.Sorted(maps.Keys(p.want)) {
		o := p.want[name]
		if o.View != p.New || o.Kind == tree.Directory || o.Nlink < 2 || o.Made {
			continue
		}
		shown, err := sides.Lookup(p.Plain, name)
		if err != nil {
			return err
		}
		if sides.SameBacking(shown, o.Node) && sides.SameMeta(o.Kind, shown.Meta, o.Meta) {
			continue // not copied
		}
		if err := p.completeGroup(o); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) completeGroup(o sides.Outcome) error {
	names, err := p.otherNames(o.Path)
	if err != nil {
		return err
	}
	for _, name := range names {
		other, err := sides.Lookup(p.New, name)
		if err != nil {
			return err
		}
		if _, decided := p.want[other.Path]; decided || !sides.SameBacking(other, o.Node) {
			continue
		}
		shown, err := sides.Lookup(p.Plain, other.Path)
		if err != nil {
			return err
		}
		if sides.SameBacking(shown, other) && !o.Gains(other) {
			other.Meta = o.Meta
			p.show(other.Path, sides.Outcome{Node: other, Force: true})
		}
	}
	return nil
}

// otherNames returns where other names of a file of the new base may be: in the same directory, and in its package.
func (p *planner) otherNames(name string) ([]string, error) {
	names, err := p.New.ReadDir(path.Dir(name))
	if err != nil {
		return nil, err
	}
	for i := range names {
		names[i] = path.Join(path.Dir(name), names[i])
	}
	own, err := p.packages.OwnerOf(sides.Three{Path: name, Was: name})
	if err != nil || own[sides.New] == nil {
		return names, err
	}
	list, err := p.packages.List(own[sides.New], sides.New)
	return slices.Concat(names, list), err
}
