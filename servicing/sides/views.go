// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sides looks at one path from three sides: the old base, the new base, and the storage over the old base. It
// says what stands there, what may stand there in the result, with which metadata, and how a system with planned
// effects would look. It decides nothing.
package sides

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Views are the ways to look at the input.
type Views struct {
	Old   *tree.View // the old base
	New   *tree.View // the new base
	User  *tree.View // what the user saw: the storage over the old base
	Plain *tree.View // what would be seen without side effects: the storage over the new base
	Said  *tree.View // the storage alone

	Before map[string]report.Withheld // by path, what an earlier servicing withheld

	SameBase bool // the new base is the old one
	Live     bool // the storage may be in use

	shift Renumbering // that new is read in; nil for its own numbering
}

// Renumbering gives the files of the new base the owners that they have in the result.
type Renumbering interface {
	// Moves reports whether something of the new base gets another owner.
	Moves() bool
	// Amend gives an entry of the new base the owners of the result.
	Amend(e *tree.Entry) error
	// Settle makes the owner, the group and the lists of the new base at a path those of the old one where only their
	// numbers differ.
	Settle(o, base tree.Meta) tree.Meta
}

// Stacks are the directories to look at, the topmost of each stack first.
type Stacks struct {
	Old, New, User tree.Stack
	Live           bool // the storage may be in use
	// Withheld is what the servicing withheld that put the storage on the old base.
	Withheld []report.Withheld
}

// Open opens the stacks. The views must be closed.
func Open(in Stacks) (*Views, error) {
	v := &Views{SameBase: slices.Equal(in.Old, in.New), Live: in.Live, Before: make(map[string]report.Withheld)}
	for _, w := range in.Withheld {
		v.Before[w.At()] = w
	}
	for _, open := range []struct {
		view  **tree.View
		stack tree.Stack
	}{
		{&v.Old, in.Old},
		{&v.New, in.New},
		{&v.User, slices.Concat(in.User, in.Old)},
		{&v.Plain, slices.Concat(in.User, in.New)},
		{&v.Said, in.User},
	} {
		view, err := tree.Tolerance{LongLists: true, Changes: in.Live}.Open(open.stack)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open the stacks: %w", err), v.Close())
		}
		*open.view = view
	}
	return v, nil
}

// Close releases the directories.
func (v *Views) Close() error {
	var errs []error
	for _, view := range []*tree.View{v.Old, v.New, v.User, v.Plain, v.Said} {
		if view != nil {
			errs = append(errs, view.Close())
		}
	}
	return errors.Join(errs...)
}

// Within has contents that are read from the views end with a context.
func (v *Views) Within(ctx context.Context) {
	for _, view := range []*tree.View{v.Old, v.New, v.User, v.Plain, v.Said} {
		view.Within(ctx)
	}
}

// Sides returns the views of the three sides, by side.
func (v *Views) Sides() [3]*tree.View { return [3]*tree.View{v.Old, v.New, v.User} }

// UseNumbering reads the new base in the numbering of the result from now on.
func (v *Views) UseNumbering(n Renumbering) {
	v.shift = nil
	v.New.Amend(nil)
	if n.Moves() {
		v.shift = n
		v.New.Amend(n.Amend)
	}
}

// Three looks up a path.
func (v *Views) Three(p string) (Three, error) { return v.Moved(p, p) }

// Moved looks up a path that was another one before.
func (v *Views) Moved(was, p string) (Three, error) {
	t := Three{Path: p, Was: was, shift: v.shift}
	var errs [3]error
	t.O, errs[0] = Lookup(v.Old, was)
	t.N, errs[1] = Lookup(v.New, p)
	t.U, errs[2] = Lookup(v.User, was)
	if err := errors.Join(errs[:]...); err != nil {
		return t, err
	}
	err := v.asBefore(&t)
	return t, err
}

// asBefore replaces what the old base has at a path by what an earlier one had, if a servicing has withheld that and
// the user has not changed it since.
func (v *Views) asBefore(t *Three) error {
	w, ok := v.Before[t.Was]
	if !ok {
		return nil
	}
	content, err := Describe(t.U)
	if err != nil || content != w.Content {
		return err
	}
	if t.U.Absent() {
		t.O = Node{}
		return nil
	}
	meta := tree.Meta{Mtime: t.U.Mtime}
	if t.O.Is(t.U.Kind) {
		meta = t.O.Meta
	}
	meta.Mode, meta.UID, meta.GID = w.Mode, w.UID, w.GID
	t.O = t.U
	t.O.Meta = meta
	return nil
}
