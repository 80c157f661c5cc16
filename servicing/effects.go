// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// effect is one path of the delta storage: a whiteout, or what is to be shown.
type effect struct {
	path     string
	whiteout bool
	outcome
}

// effects compares what shall be seen with what would be seen and returns what makes the difference, parents first.
func (p *planner) effects() ([]effect, error) {
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
		written[one.path] = true
	}
	e.out = slices.DeleteFunc(e.out, func(one effect) bool { return one.linkTo != "" && !written[one.linkTo] })
	slices.SortFunc(e.out, func(a, b effect) int { return comparePaths(a.path, b.path) })
	return e.out, nil
}

// comparePaths orders parents before what is below them, and siblings by their bytes.
func comparePaths(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == ".":
		return -1
	case b == ".":
		return 1
	}
	return slices.Compare(bytes.ReplaceAll([]byte(a), []byte("/"), []byte{0}), bytes.ReplaceAll([]byte(b), []byte("/"), []byte{0}))
}

// effector collects effects.
type effector struct {
	*planner
	out   []effect
	dirs  map[string]bool   // directories that are in the delta storage
	aside map[string]string // by what is in the way, where the user's below it goes
}

// add adds what makes a path show its outcome; nothing if it does already.
func (e *effector) add(name string, o outcome) error {
	if e.dirs[name] {
		return nil // already there as a parent
	}
	shown, err := lookup(e.plain, name)
	if err != nil {
		return err
	}
	if o.absent() {
		if shown.absent() {
			return nil
		}
		return e.put(effect{path: name, whiteout: true})
	}
	same, err := e.alreadyShown(shown, o)
	if err != nil || same {
		return err
	}
	return e.put(effect{path: name, outcome: o})
}

func (e *effector) alreadyShown(shown node, o outcome) (bool, error) {
	if o.force || o.linkTo != "" || shown.absent() || shown.Kind != o.Kind || !sameMeta(o.Kind, shown.Meta, o.Meta) {
		return false, nil
	}
	if !o.made {
		return sameContent(shown, o.node)
	}
	if shown.Size != int64(len(o.content)) {
		return false, nil
	}
	content, err := read(shown, shown.Size)
	return bytes.Equal(content, o.content), err
}

// put adds an effect with the directories that it is in. There is nothing to do for what is in no directory of the result,
// unless it is the user's: then it is set aside.
func (e *effector) put(one effect) error {
	if one.path != "." {
		obstacle, err := e.parents(path.Dir(one.path))
		if err != nil {
			return err
		}
		if obstacle != "" {
			return e.rescue(one, obstacle)
		}
	}
	e.dirs[one.path] = one.Kind == tree.Directory
	e.out = append(e.out, one)
	return nil
}

// rescue sets aside what would be below something that is not a directory, if it is the user's.
func (e *effector) rescue(one effect, obstacle string) error {
	if one.whiteout || one.view != e.user || one.dir() {
		return nil
	}
	if e.aside[obstacle] == "" {
		name, err := e.freeName(beside(obstacle, asideSuffix))
		if err != nil {
			return err
		}
		e.aside[obstacle] = name
	}
	to := e.aside[obstacle] + strings.TrimPrefix(one.path, obstacle)
	e.findings = append(e.findings, finding{
		three:    three{path: to, was: one.Path, u: one.node},
		decision: decision{verdict: report.Relocate, rule: "C5", reason: fmt.Sprintf("there is no directory %s in the result", tree.Shown(obstacle))},
	})
	one.path = to
	one.outcome = one.unprivileged()
	e.show(to, one.outcome)
	one.outcome = e.want[to]
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
		o = e.counted(dir, shows(n))
	}
	if !o.dir() {
		return dir, nil
	}
	if dir != "." {
		obstacle, err := e.parents(path.Dir(dir))
		if err != nil || obstacle != "" {
			return obstacle, err
		}
	}
	e.dirs[dir] = true
	e.out = append(e.out, effect{path: dir, outcome: o})
	return "", nil
}

// anyDir returns a directory as it would be seen, or else as a side has it, or else a new one.
func (e *effector) anyDir(dir string) (node, error) {
	for _, view := range []*tree.View{e.plain, e.user, e.new} {
		n, err := lookup(view, dir)
		if err != nil || !n.absent() {
			return n, err
		}
	}
	return node{e.new, tree.Entry{Path: dir, Kind: tree.Directory, Meta: tree.Meta{Mode: 0o755}}}, nil
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
			user, err := lookup(p.user, l.path)
			if err != nil {
				return err
			}
			o := p.want[changed]
			if o.gains(user) {
				continue // what the base gives to its name is not for one of the user's own
			}
			o.linkTo = changed
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
		return decided && l.was != l.path && o.view == p.user
	}
	if !slices.ContainsFunc(links, moved) {
		return nil
	}
	for _, l := range links {
		o, decided := p.want[l.path]
		if !decided && l.own {
			n, err := lookup(p.user, l.was)
			if err != nil {
				return err
			}
			o = shows(n)
		}
		if o.view != p.user || o.made {
			continue
		}
		o.force = true
		p.show(l.path, o)
	}
	return nil
}

// changedLink returns the first name whose file is the user's, but not as it was; "" when there is none.
func (p *planner) changedLink(links []link) (string, error) {
	for _, l := range links {
		o, decided := p.want[l.path]
		if !decided || l.own || o.view != p.user {
			continue
		}
		user, err := lookup(p.user, l.path)
		if err != nil {
			return "", err
		}
		if o.made || !sameMeta(o.Kind, o.Meta, user.Meta) {
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
		if o.view != p.new || o.Kind == tree.Directory || o.Nlink < 2 || o.made {
			continue
		}
		shown, err := lookup(p.plain, name)
		if err != nil {
			return err
		}
		if sameBacking(shown, o.node) && sameMeta(o.Kind, shown.Meta, o.Meta) {
			continue // not copied
		}
		if err := p.completeGroup(o); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) completeGroup(o outcome) error {
	names, err := p.otherNames(o.Path)
	if err != nil {
		return err
	}
	for _, name := range names {
		other, err := lookup(p.new, name)
		if err != nil {
			return err
		}
		if _, decided := p.want[other.Path]; decided || !sameBacking(other, o.node) {
			continue
		}
		shown, err := lookup(p.plain, other.Path)
		if err != nil {
			return err
		}
		if sameBacking(shown, other) && !o.gains(other) {
			other.Meta = o.Meta
			p.show(other.Path, outcome{node: other, force: true})
		}
	}
	return nil
}

// otherNames returns where other names of a file of the new base may be: in the same directory, and in its package.
func (p *planner) otherNames(name string) ([]string, error) {
	names, err := p.new.ReadDir(path.Dir(name))
	if err != nil {
		return nil, err
	}
	for i := range names {
		names[i] = path.Join(path.Dir(name), names[i])
	}
	own, err := p.packages.ownerOf(three{path: name, was: name})
	if err != nil || own[sideNew] == nil {
		return names, err
	}
	list, err := p.packages.list(own[sideNew], sideNew)
	return slices.Concat(names, list), err
}

// writeEffects writes the delta storage.
func writeEffects(ctx context.Context, dir string, effects []effect) (err error) {
	w, err := tree.NewWriter(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for _, e := range slices.SortedStableFunc(slices.Values(effects), linksLast) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := e.write(w); err != nil {
			return err
		}
	}
	return nil
}

// linksLast orders hard links behind what they are links to.
func linksLast(a, b effect) int {
	switch {
	case (a.linkTo == "") == (b.linkTo == ""):
		return 0
	case a.linkTo == "":
		return -1
	default:
		return 1
	}
}

func (e effect) write(w *tree.Writer) error {
	switch {
	case e.whiteout:
		return w.Whiteout(e.path)
	case e.linkTo != "":
		return w.Link(e.linkTo, e.path)
	case e.made:
		return w.WriteFile(e.path, e.Meta, bytes.NewReader(e.content))
	case e.absent():
		return fmt.Errorf("write %s: %w", tree.Shown(e.path), fs.ErrNotExist)
	default:
		return w.CopyAs(e.view, e.Entry, e.path)
	}
}
