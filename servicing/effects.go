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

	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// effect is one path of the delta storage: a whiteout, or what is to be shown.
type effect struct {
	path     string
	whiteout bool
	outcome
	quiet bool // a directory that is there for what is in it
}

// effects compares what shall be seen with what would be seen and returns what makes the difference, parents first.
func (p *planner) effects() ([]effect, error) {
	if err := p.completeLinks(); err != nil {
		return nil, err
	}
	e := &effector{planner: p, dirs: make(map[string]bool)}
	for _, name := range slices.Sorted(maps.Keys(p.want)) {
		if err := e.add(name, p.want[name]); err != nil {
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
	out  []effect
	dirs map[string]bool // directories that are in the delta storage
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
	if o.Kind == tree.Directory {
		e.dirs[name] = true
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

// put adds an effect with the directories that it is in. What is in no directory of the result is left out: the decision
// about that directory says so.
func (e *effector) put(one effect) error {
	if one.path != "." {
		ok, err := e.parents(path.Dir(one.path))
		if err != nil || !ok {
			return err
		}
	}
	e.out = append(e.out, one)
	return nil
}

// parents makes sure that a directory is in the delta storage.
func (e *effector) parents(dir string) (bool, error) {
	if e.dirs[dir] {
		return true, nil
	}
	o, decided := e.want[dir]
	if !decided {
		n, err := e.anyDir(dir)
		if err != nil {
			return false, err
		}
		o = shows(n)
	}
	if !o.dir() {
		return false, nil
	}
	if dir != "." {
		ok, err := e.parents(path.Dir(dir))
		if err != nil || !ok {
			return false, err
		}
	}
	e.dirs[dir] = true
	e.out = append(e.out, effect{path: dir, outcome: o, quiet: true})
	return true, nil
}

// anyDir returns a directory as it would be seen, or else as a side has it.
func (e *effector) anyDir(dir string) (node, error) {
	shown, err := lookup(e.plain, dir)
	if err != nil || !shown.absent() {
		return shown, err
	}
	n, err := lookup(e.user, dir)
	if err != nil || !n.absent() {
		return n, err
	}
	return lookup(e.new, dir)
}

// keepLinks keeps names of one file of the storage together: when one of them gets another content or other metadata, those
// that neither base has something to say about follow.
func (p *planner) keepLinks() {
	for _, id := range slices.SortedFunc(maps.Keys(p.groups), func(a, b fileID) int { return comparePaths(p.groups[a][0].path, p.groups[b][0].path) }) {
		links := p.groups[id]
		changed := slices.IndexFunc(links, func(l link) bool {
			o, decided := p.want[l.path]
			return decided && o.file() && !l.own && (o.made || !sameBacking(o.node, node{p.user, tree.Entry{Dev: id.dev, Ino: id.ino}}))
		})
		if changed < 0 {
			continue
		}
		for _, l := range links {
			if l.own {
				o := p.want[links[changed].path]
				o.linkTo = links[changed].path
				p.want[l.path] = o
			}
		}
	}
}

// completeLinks adds, where a name of a file is copied out of the new base, the other names of that file in the same
// directory: else the group would be split between the delta storage and the base.
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
	dir := path.Dir(o.Path)
	names, err := p.new.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		other, err := lookup(p.new, path.Join(dir, name))
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
		if sameBacking(shown, other) {
			other.Meta = o.Meta
			p.want[other.Path] = outcome{node: other, force: true}
		}
	}
	return nil
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
		return fmt.Errorf("write %q: %w", e.path, fs.ErrNotExist)
	default:
		return w.CopyAs(e.view, e.Entry, e.path)
	}
}
