// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package check compares a system as its user saw it with the system as an update would make it, and finds what would
// no longer work. It reads two scenes and decides nothing.
package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/ids"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Input is what is checked: a plan, before anything of it is written.
type Input struct {
	Views     *sides.Views
	Packages  *pkg.Packages
	Policy    policy.Policy
	Effects   []sides.Effect
	Moved     map[string]string // by the user's paths, those in the result, where they differ
	Excludes  func(name string) bool
	Passed    sides.Passed // what a look passes over
	Owners    ids.Owners   // of the storage's files
	Numbering *ids.Numbering
	Remaps    []report.IDRemap
}

// checker compares two scenes. Only what was right before, for the user on the old base, and is wrong after, on the
// new base with the side effects, counts.
type checker struct {
	in            Input
	before, after *sides.Scene
	programs      [2]*loader        // before and after
	modules       map[string]string // directories of modules, with a path that shows that they are in use
	clusters      map[string]bool   // directories that PostgreSQL wrote
	findings      []report.CheckFinding
}

// Find finds what the side effects, and the new base, would break, in order of the paths.
func Find(ctx context.Context, in Input) ([]report.CheckFinding, error) {
	c := &checker{
		in: in, before: sides.NewScene(in.Views.User, nil), after: sides.NewScene(in.Views.Plain, in.Effects),
		modules: make(map[string]string), clusters: make(map[string]bool),
	}
	c.programs = [2]*loader{newLoader(c.before), newLoader(c.after)}
	if err := in.Views.Said.Walk(ctx, c.visit); err != nil {
		return nil, fmt.Errorf("check the result: %w", err)
	}
	for i := range checks {
		if checks[i].end == nil || c.ignores(checks[i].finds...) {
			continue
		}
		if err := checks[i].end(c); err != nil {
			return nil, fmt.Errorf("check the result: %w", err)
		}
	}
	slices.SortFunc(c.findings, func(a, b report.CheckFinding) int {
		return cmp.Or(sides.ComparePaths(a.Path, b.Path), cmp.Compare(a.Check, b.Check),
			cmp.Compare(a.Message, b.Message))
	})
	return slices.CompactFunc(c.findings, func(a, b report.CheckFinding) bool {
		return a.Path == b.Path && a.Check == b.Check && a.Message == b.Message
	}), nil
}

// Reasons returns the reasons to hold the storage that findings are: one for each kind, so that a library that a
// thousand programs need is no thousand reasons.
func Reasons(all []report.CheckFinding) (out []report.Reason) {
	for _, info := range policy.Concerns() {
		var those []report.CheckFinding
		for _, f := range all {
			if f.Check == info.Concern && f.Severity == policy.ActionHold {
				those = append(those, f)
			}
		}
		if len(those) == 0 {
			continue
		}
		message := "/" + those[0].Path + " " + those[0].Message
		if len(those) > 1 {
			message += fmt.Sprintf(" (and %d more, see the findings)", len(those)-1)
		}
		out = append(out, report.Reason{
			Code: report.HoldCheck, Path: those[0].Path, Package: those[0].Package, Message: message,
		})
	}
	return out
}

// find records a finding, as the policy says.
func (c *checker) find(concern policy.Concern, name, pkg, format string, args ...any) {
	if c.ignores(concern) {
		return
	}
	c.findings = append(c.findings, report.CheckFinding{
		Check: concern, Path: report.Printable(name), PathBytes: report.RawBytes(name), Package: pkg,
		Message: report.Printable(fmt.Sprintf(format, args...)), Severity: c.in.Policy.Action(concern),
	})
}

func (c *checker) ignores(all ...policy.Concern) bool {
	return !slices.ContainsFunc(all, func(one policy.Concern) bool {
		return c.in.Policy.Action(one) != policy.ActionIgnore
	})
}

// visit checks what stands in the result where the storage has something.
func (c *checker) visit(change tree.Change) error {
	err := c.look(change)
	if errors.Is(err, fs.SkipDir) {
		return err
	}
	return c.in.Passed.Over(c.in.Views.Live, change.Path, err)
}

func (c *checker) look(change tree.Change) error {
	switch {
	case (c.in.Excludes(change.Path) || sides.InBeside(change.Path)) && change.Kind == tree.Directory:
		return fs.SkipDir
	case c.in.Excludes(change.Path), change.Deleted:
		return nil
	case change.Kind != tree.Regular && change.Kind != tree.Symlink:
		return nil
	}
	to := change.Path
	if moved, ok := c.in.Moved[to]; ok {
		to = moved
	}
	if sides.InBeside(to) { // nothing reads it
		return nil
	}
	o, err := c.after.At(to)
	if err != nil || o.Absent() || o.Kind != change.Kind {
		return err
	}
	t, err := c.in.Views.Moved(change.Path, to)
	if err != nil {
		return err
	}
	users := o.View == c.in.Views.User || sides.SameBacking(o.Node, t.U)
	if !users {
		return nil // the new base's, which it has to see to itself
	}
	return c.lookAt(t, o)
}

// lookAt has each check look at what the user has in the result.
func (c *checker) lookAt(t sides.Three, o sides.Outcome) error {
	for i := range checks {
		if checks[i].look == nil || checks[i].at != o.Kind || c.ignores(checks[i].finds...) {
			continue
		}
		if err := checks[i].look(c, t, o); err != nil {
			return err
		}
	}
	return nil
}

// findAt records a finding about a path: the one concern if it is of a package on the user's side, else the other.
func (c *checker) findAt(packaged, own policy.Concern, t sides.Three, format string, args ...any) error {
	owner, err := c.in.Packages.OwnerOf(t)
	if err != nil {
		return err
	}
	concern, pkg := own, ""
	if of := owner[sides.User]; of != nil {
		concern, pkg = packaged, of.Key
	}
	c.find(concern, t.Path, pkg, format, args...)
	return nil
}
