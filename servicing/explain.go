// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Explanation tells where what a container sees at a path comes from, and what it hides. Fields may be added without a new
// version of reports.
type Explanation struct {
	Version   int    `json:"version"` // that of reports
	Path      string `json:"path"`
	PathBytes []byte `json:"path_bytes,omitempty"`
	Exists    bool   `json:"exists"` // the container sees something
	// Stack tells, topmost first, what each directory of the stack says about the path; those that say nothing are left out.
	Stack []Sight `json:"stack"`
	// Package owns the path as the container's package database has it, BasePackage as that of the base has it.
	Package     *Fix `json:"package,omitempty"`
	BasePackage *Fix `json:"base_package,omitempty"`
	// Driver decides about the path in an update, before or instead of the rules for files; "" for those.
	Driver string `json:"driver,omitempty"`
	// Concern is what it would be called if the user and a new base both changed it and it could not be merged, Action what
	// the policy says to do then.
	Concern Concern `json:"concern"`
	Action  Action  `json:"action"`
	// Pin is the one that keeps the path the user's, or would if it were not expired.
	Pin        *Pin `json:"pin,omitempty"`
	PinExpired bool `json:"pin_expired,omitempty"`
	Excluded   bool `json:"excluded,omitempty"` // it is never looked at
	// Unread says why it cannot be told who decides about the path, in words that follow the path; then Driver, Concern
	// and Action are empty.
	Unread string `json:"unread,omitempty"`
}

// Sight is what one directory of a stack says about a path.
type Sight struct {
	From    string `json:"from"`    // the name of the directory
	Storage bool   `json:"storage"` // it is of the storage, not of the base
	Shown   bool   `json:"shown"`   // the container sees it; for a directory, its metadata
	Merged  bool   `json:"merged"`  // a directory whose content the container sees, but not its metadata
	What    string `json:"what"`    // the kind of the file, "whiteout", or "opaque directory"
	// At is the directory that hides the path, where it is not the path itself about which something is said.
	At string `json:"at,omitempty"`

	Content Content   `json:"content,omitempty"`
	Mode    string    `json:"mode,omitempty"` // octal
	UID     uint32    `json:"uid"`
	GID     uint32    `json:"gid"`
	Size    int64     `json:"size"`
	Time    time.Time `json:"time,omitzero"`    // of modification
	Xattrs  []string  `json:"xattrs,omitempty"` // their names
	Unread  string    `json:"unread,omitempty"` // why something of the above is missing, in words that follow the path
	Flags   string    `json:"flags,omitempty"`  // of the inode, as chattr takes them: "i" is immutable, "a" append-only
}

// Explain explains a path, clean and relative to the root, of a container whose storage stands on in.New; in.Old does not
// matter. The directories of in.User and in.New, in this order, go by the names given. Nothing is written. It is no error if
// there is nothing at the path.
func Explain(ctx context.Context, in Input, path string, names []string) (e *Explanation, err error) {
	stack := slices.Concat(in.User, in.New)
	if len(names) != len(stack) {
		return nil, fmt.Errorf("explain %q: %d names for %d directories", path, len(names), len(stack))
	}
	if err := in.Options.Validate(); err != nil {
		return nil, err
	}
	in.Old = in.New // what the user saw is what is seen now
	v, err := openViews(in)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	p := newPlanner(v, in.Options)
	e = &Explanation{Version: ReportVersion, Path: printable(path), PathBytes: rawBytes(path), Stack: []Sight{}}
	if err := e.sights(ctx, stack, len(in.User), path, names); err != nil {
		return nil, fmt.Errorf("explain %s: %w", tree.Shown(path), err)
	}
	err = e.decided(p, path)
	if unread, is := errors.AsType[*tree.UnreadableError](err); is {
		e.Driver, e.Concern = "", ""
		if e.Unread = unread.Why.String(); unread.Path != path {
			e.Unread = "depends on a file that cannot be read: " + printable(unread.Error())
		}
	} else if err != nil {
		return nil, fmt.Errorf("explain %s: %w", tree.Shown(path), err)
	}
	return e, nil
}

// sights looks at each directory of the stack.
func (e *Explanation) sights(ctx context.Context, stack tree.Stack, nodes int, path string, names []string) error {
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

// sight tells what one directory of a stack says about a path.
func sight(dir, path string) (s Sight, c tree.Change, ok bool, err error) {
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
		s.At = printable(c.Path)
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
	s.Content, err = describe(node{view, c.Entry})
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
		s.Xattrs = append(s.Xattrs, printable(name))
	}
	return s, c, true, err
}

// decided tells who owns the path and who decides about it.
func (e *Explanation) decided(p *planner, path string) (err error) {
	if p.packages, err = newPackages(p.views, ActionHold); err != nil {
		return err
	}
	t, err := p.three(path)
	if err != nil {
		return err
	}
	if t.own, err = p.packages.ownerOf(t); err != nil {
		return err
	}
	if c := t.own[sideUser]; c != nil {
		e.Package = &Fix{c.Key, version(c.User)}
	}
	if c := t.own[sideNew]; c != nil {
		e.BasePackage = &Fix{c.Key, version(c.New)}
	}
	if e.Driver, err = p.driverOf(t); err != nil {
		return err
	}
	if e.Concern, err = p.concernOf(t); err != nil {
		return err
	}
	e.Action = p.options.Policy.Action(e.Concern)
	e.Excluded = p.pins.excludes(path)
	for _, r := range p.pins.report {
		if newSelector(r.Path).has(path) && (e.Pin == nil || e.PinExpired && !r.Expired) {
			e.Pin, e.PinExpired = &r.Pin, r.Expired
		}
	}
	return nil
}

// driverOf returns the first driver that takes the path, as far as its name and what is there now tell; "" for none.
func (p *planner) driverOf(t three) (string, error) {
	for _, d := range p.drivers {
		takes, err := d.claims != nil && d.claims(p, t.path), error(nil)
		switch {
		case takes || d.matches == nil || !d.matches(t.path):
		case d.name == "diversions":
			takes, err = p.isDiverted(t.path)
		case d.name == "data":
			takes, err = p.inDatabase(t)
		case d.name == "sqlite":
			takes, err = isSQLite(t.u)
		case d.name == "text":
			takes, err = isBinary(t.u)
			takes = !takes && t.u.is(tree.Regular)
		default:
			takes = true
		}
		if err != nil || takes {
			return d.name, err
		}
	}
	return "", nil
}

// concernOf names the conflict there would be.
func (p *planner) concernOf(t three) (Concern, error) {
	seen := t.u
	if seen.absent() {
		return ConcernDeletedByUser, nil
	}
	binary, err := isBinary(seen)
	switch {
	case err != nil:
		return "", err
	case identityPaths.has(t.path):
		return ConcernIdentity, nil
	case binary && t.own.owned():
		return ConcernPackageFile, nil
	case dataPaths.has(t.path):
		return ConcernData, nil
	case binary:
		return ConcernBinary, nil
	default:
		return ConcernText, nil
	}
}
