// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package inspect answers questions about a storage without an update: where what is seen at a path comes from, what
// of its base a storage hides, and how one path changed.
package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Explain explains a path, clean and relative to the root, of a container whose storage stands on in.New; in.Old does
// not matter. The directories of in.User and in.New, in this order, go by the names given. Nothing is written. It is
// no error if there is nothing at the path.
func Explain(ctx context.Context, in plan.Input, path string, names []string) (_ *report.Explanation, err error) {
	stack := slices.Concat(in.User, in.New)
	if len(names) != len(stack) {
		return nil, fmt.Errorf("explain %q: %d names for %d directories", path, len(names), len(stack))
	}
	if err := in.Options.Validate(); err != nil {
		return nil, err
	}
	in.Old = in.New // what the user saw is what is seen now
	v, err := sides.Open(in.Stacks())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	p := plan.New(v, in, make(sides.Passed))
	e := telling{&report.Explanation{
		Version: report.Version, Path: report.Printable(path), PathBytes: report.RawBytes(path),
		Stack: []report.Sight{},
	}}
	err = besideIn(ctx, v.User, path, func(b report.BesideVersion) error {
		if b.Path == report.Printable(path) {
			e.Beside = append(e.Beside, b)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("explain %s: %w", tree.Shown(path), err)
	}
	if err := e.sights(ctx, stack, len(in.User), path, names); err != nil {
		return nil, fmt.Errorf("explain %s: %w", tree.Shown(path), err)
	}
	err = e.decided(p, path)
	if unread, is := errors.AsType[*tree.UnreadableError](err); is {
		e.Driver, e.Concern = "", ""
		if e.Unread = unread.Why.String(); unread.Path != path {
			e.Unread = "depends on a file that cannot be read: " + report.Printable(unread.Error())
		}
	} else if err != nil {
		return nil, fmt.Errorf("explain %s: %w", tree.Shown(path), err)
	}
	return e.Explanation, nil
}

// telling fills an explanation.
type telling struct{ *report.Explanation }

// sights looks at each directory of the stack.
func (e telling) sights(ctx context.Context, stack tree.Stack, nodes int, path string, names []string) error {
	hidden, directory := false, false
	for i, dir := range stack {
		if err := ctx.Err(); err != nil {
			return err
		}
		s, c, ok, err := sight(dir, path)
		if err != nil {
			return fmt.Errorf("in %s: %w", names[i], err)
		}
		if !ok {
			continue
		}
		s.From, s.Storage = names[i], i < nodes
		isDir := !c.Deleted && c.Kind == tree.Directory && s.At == ""
		switch {
		case hidden, directory && !isDir:
		case directory:
			s.Merged = true
		default:
			s.Shown = s.At == "" && !c.Deleted
		}
		hidden = hidden || !isDir || c.Opaque
		directory = directory || isDir
		e.Exists = e.Exists || s.Shown
		e.Stack = append(e.Stack, s)
	}
	return nil
}

// sight returns what one directory of a stack says about a path.
func sight(dir, path string) (s report.Sight, c tree.Change, ok bool, err error) {
	view, err := tree.Tolerance{LongLists: true, Changes: true}.Open(tree.Stack{dir})
	if err != nil {
		return s, c, false, err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	c, ok, err = view.At(path)
	if err != nil || !ok {
		return s, c, false, err
	}
	if c.Path != path {
		s.At = report.Printable(c.Path)
	}
	switch {
	case c.Deleted:
		s.What = "whiteout"
		return s, c, true, nil
	case c.Opaque:
		s.What = "opaque directory"
	default:
		s.What = c.Kind.String()
	}
	if s.At != "" {
		return s, c, true, nil
	}
	s.Content, err = sides.Describe(sides.Node{View: view, Entry: c.Entry})
	unread, is := errors.AsType[*tree.UnreadableError](err)
	if is {
		err = nil
	}
	if unread = cmp.Or(unread, c.Unread); unread != nil {
		s.Unread = unread.Why.String()
	}
	s.Mode, s.UID, s.GID, s.Size = fmt.Sprintf("%04o", c.Mode), c.UID, c.GID, c.Size
	s.Time, s.Flags = time.Unix(c.Mtime.Unix()).UTC(), c.Flags.String()
	for _, name := range slices.Sorted(maps.Keys(c.Xattrs)) {
		s.Xattrs = append(s.Xattrs, report.Printable(name))
	}
	return s, c, true, err
}

// decided adds who owns the path and who decides about it.
func (e telling) decided(p *plan.Planner, path string) (err error) {
	if err := p.Prepare(driver.Tools(), policy.ActionHold); err != nil {
		return err
	}
	t, err := p.Views().Three(path)
	if err != nil {
		return err
	}
	if t.Own, err = p.Packages().OwnerOf(t); err != nil {
		return err
	}
	if c := t.Own[sides.User]; c != nil {
		e.Package = &report.Fix{Package: c.Key, Version: c.User.InstalledVersion()}
	}
	if c := t.Own[sides.New]; c != nil {
		e.BasePackage = &report.Fix{Package: c.Key, Version: c.New.InstalledVersion()}
	}
	if e.Driver, err = p.DriverOf(t); err != nil {
		return err
	}
	if e.Concern, err = p.ConcernOf(t); err != nil {
		return err
	}
	e.Action = p.Policy().Action(e.Concern)
	e.Excluded = p.Excludes(path) || sides.InBeside(path)
	for _, r := range p.PinReports() {
		if policy.NewSelector(r.Path).Has(path) && (e.Pin == nil || e.PinExpired && !r.Expired) {
			e.Pin, e.PinExpired = &r.Pin, r.Expired
		}
	}
	return nil
}
