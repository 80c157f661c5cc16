// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

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
func (r *result) effects() ([]sides.Effect, error) {
	e := &effector{result: r, dirs: make(map[string]bool), aside: make(map[string]string)}
	for _, name := range slices.Sorted(maps.Keys(r.want)) {
		if err := r.pins.passed.Over(r.views.Live, name, e.add(name, r.want[name])); err != nil {
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
	result *result
	out    []sides.Effect
	dirs   map[string]bool   // directories that are in the delta storage
	aside  map[string]string // by what is in the way, where the user's below it goes
}

// add adds what makes a path show its outcome; nothing if it does already.
func (e *effector) add(name string, o sides.Outcome) error {
	if e.dirs[name] {
		return nil // already there as a parent
	}
	shown, err := sides.Lookup(e.result.views.Plain, name)
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
	if o.Force || o.LinkTo != "" || shown.Absent() || shown.Kind != o.Kind ||
		!sides.SameMeta(o.Kind, shown.Meta, o.Meta) {
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

// put adds an effect with the directories that it is in. There is nothing to do for what is in no directory of the
// result, unless it is the user's: then it is set aside.
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
	if one.Whiteout || one.View != e.result.views.User || one.Dir() {
		return nil
	}
	if !sides.KeptBeside(one.Node) || sides.InBeside(one.At) {
		return nil
	}
	if e.aside[obstacle] == "" {
		name, err := e.result.lateAside(obstacle)
		if err != nil {
			return err
		}
		e.aside[obstacle] = name
	}
	to := e.aside[obstacle] + strings.TrimPrefix(one.At, obstacle)
	e.result.findings = append(e.result.findings, finding{
		Three: sides.Three{Path: to, Was: one.Path, U: one.Node},
		Decision: Decision{
			Verdict: report.Relocate, Rule: "C5",
			Reason: fmt.Sprintf("there is no directory %s in the result", tree.Shown(obstacle)),
		},
	})
	one.At = to
	one.Outcome = one.Unprivileged()
	e.result.show(to, one.Outcome)
	one.Outcome = e.result.want[to]
	return e.put(one)
}

// parents makes sure that a directory is in the delta storage. If it cannot be, what is in the way is returned.
func (e *effector) parents(dir string) (obstacle string, err error) {
	if e.dirs[dir] {
		return "", nil
	}
	o, decided := e.result.want[dir]
	if sides.MoltDirectory(dir) && (!decided || o.Dir()) {
		o, decided = sides.Shows(moltDirectory(e.result.views, dir)), true
	}
	if !decided {
		n, err := e.anyDir(dir)
		if err != nil {
			return "", err
		}
		o = e.result.counted(dir, sides.Shows(n))
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
	for _, view := range []*tree.View{e.result.views.Plain, e.result.views.User, e.result.views.New} {
		n, err := sides.Lookup(view, dir)
		if err != nil || !n.Absent() {
			return n, err
		}
	}
	return sides.Node{
		View: e.result.views.New, Entry: tree.Entry{Path: dir, Kind: tree.Directory, Meta: tree.Meta{Mode: 0o755}},
	}, nil
}
