// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package servicing determines the side effects of an update on a storage: what has to change in its content so that it
// stands on the new base as it stood on the old one, with what the update brings.
//
// It is a function of three stacks of directories: the old base, the new base, and the storage's nodes. A plan is made by
// reading alone; it holds the verdict on each path that the storage touches, and writes them, if asked to, as a delta
// storage: the container then sees the delta over the storage over the new base. The same inputs give the same plan, the
// same report and the same delta storage. The cost follows the size of the storage, the package lists and a short list of
// paths that are always looked at; not the size of the base, unless an account of the base has another id in the result:
// then the base's files are looked through for its own (ids.go).
//
// How a plan comes about: walk.go goes through what the storage says, decide.go decides on files (directory.go on
// directories, detour.go on what lies below a directory that is none any more), the drivers of drivers.go know kinds of
// files with a meaning of their own, and effects.go compares what shall be seen with what would be seen.
package servicing

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Input is what a plan is made of. Each stack names directories, the topmost first.
type Input struct {
	Old  tree.Stack // the base layer chain that the storage was last reconciled with
	New  tree.Stack // the base layer chain that it shall stand on
	User tree.Stack // the storage's nodes; frozen, none of them may change while the plan is in use, unless Live is set
	// Live: the storage may be in use. Then this is for a look alone, and nothing can be written: what changes is
	// looked at again, and what cannot be read is passed over and named in Report.Unread.
	Live    bool
	Options policy.Options
	// Withheld and Waiting are those of the report of the servicing which put the storage on the old base; nothing where there was
	// none.
	Withheld []report.Withheld
	Waiting  []report.Waiting
}

// stacks returns the directories to look at.
func (in Input) stacks() sides.Stacks {
	return sides.Stacks{Old: in.Old, New: in.New, User: in.User, Live: in.Live, Withheld: in.Withheld}
}

// ErrHeld is wrapped by the error of Plan.Write for a storage that must be held.
var ErrHeld = errors.New("the storage is held")

// Plan holds what servicing would do. It has the directories of its input open and must be closed.
type Plan struct {
	views   *sides.Views
	force   bool
	report  *report.Report
	effects []sides.Effect
}

// NewPlan determines the side effects. It writes nothing. An error means that something could not be read; what cannot
// be decided is no error but a verdict or a reason to hold.
// Options that are not valid give an error that wraps ErrOptions.
func NewPlan(ctx context.Context, in Input) (*Plan, error) {
	if err := in.Options.Validate(); err != nil {
		return nil, err
	}
	var plan *Plan
	over := make(sides.Passed)
	err := over.Again(in.Live, func() (err error) {
		plan, err = newPlan(ctx, in, over)
		return err
	})
	return plan, err
}

func newPlan(ctx context.Context, in Input, over sides.Passed) (*Plan, error) {
	v, err := sides.Open(in.stacks())
	if err != nil {
		return nil, err
	}
	p, effects, err := makePlan(ctx, v, in, over, allTools)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("plan the servicing: %w", err), v.Close())
	}
	findings, err := checked(ctx, p, effects)
	if err != nil {
		return nil, errors.Join(err, v.Close())
	}
	report, err := p.makeReport(ctx, effects, findings)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("report the plan: %w", err), v.Close())
	}
	return &Plan{views: v, force: in.Options.Force, report: report, effects: effects}, nil
}

// checked finds what a plan would break, and holds the storage where the policy says so. A base that did not change breaks
// nothing.
func checked(ctx context.Context, p *planner, effects []sides.Effect) ([]report.CheckFinding, error) {
	if p.views.SameBase || !p.Touched() && len(effects) == 0 {
		return nil, nil
	}
	found, err := check(ctx, checkInput{
		views: p.views, packages: p.packages, policy: p.policy, effects: effects, moved: p.moved(), excludes: p.Excludes,
		passed: p.pins.passed, owners: p.owners.found, numbering: p.owners.numbering, remaps: p.remaps(),
	})
	for _, r := range checkReasons(found) {
		p.HoldFor(r)
	}
	return found, err
}

// Report returns what was decided, and why. It must not be changed.
func (p *Plan) Report() *report.Report { return p.report }

// Held returns the reasons why this storage must be held; none when it can be serviced. Where Options.Force was given
// only those count that are to be heeded always, see [HoldInfo].
func (p *Plan) Held() []report.Reason {
	if !p.force {
		return p.report.Holds
	}
	return slices.DeleteFunc(slices.Clone(p.report.Holds), report.Reason.Forceable)
}

// Empty tells that the update has no side effects: no delta storage is to be recorded.
func (p *Plan) Empty() bool { return len(p.effects) == 0 }

// Write makes an existing, empty directory the delta storage. The error wraps ErrHeld if the storage is held. After any
// other error, or a crash, the directory is of no use. Nothing is synced. An empty plan writes nothing.
func (p *Plan) Write(ctx context.Context, dir string) error {
	if len(p.Held()) > 0 {
		return fmt.Errorf("%w: %s", ErrHeld, p.Held()[0].Message)
	}
	if p.Empty() {
		return nil
	}
	if p.views.Live {
		return errors.New("write the delta storage: the plan was made of a storage in use")
	}
	if err := sides.WriteEffects(ctx, dir, p.effects); err != nil {
		return fmt.Errorf("write the delta storage: %w", err)
	}
	return nil
}

// Close releases the directories.
func (p *Plan) Close() error { return p.views.Close() }
