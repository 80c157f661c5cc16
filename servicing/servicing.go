// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package servicing determines the side effects of an update on a storage: what has to change in its content so that
// it stands on the new base as it stood on the old one, with what the update brings.
//
// It is a function of three stacks of directories: the old base, the new base, and the storage's nodes. A plan is
// made by reading alone; it holds the verdict on each path that the storage touches, and writes them, if asked to, as
// a delta storage: the container then sees the delta over the storage over the new base. The same inputs give the
// same plan, the same report and the same delta storage. The cost follows the size of the storage, the package lists
// and a short list of paths that are always looked at; not the size of the base, unless an account of the base has
// another id in the result: then the base's files are looked through for its own (package ids).
//
// This is the facade. A plan comes about in package plan, which asks the drivers of package driver; package check
// looks at what it would make, package inspect answers questions without an update. What a person decides is in
// package policy, what is found out in package report; their names are repeated here.
package servicing

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/check"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

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
func NewPlan(ctx context.Context, in plan.Input) (*Plan, error) {
	if err := in.Options.Validate(); err != nil {
		return nil, err
	}
	var p *Plan
	over := make(sides.Passed)
	err := over.Again(in.Live, func() (err error) {
		p, err = newPlan(ctx, in, over)
		return err
	})
	return p, err
}

func newPlan(ctx context.Context, in plan.Input, over sides.Passed) (*Plan, error) {
	v, err := sides.Open(in.Stacks())
	if err != nil {
		return nil, err
	}
	v.Within(ctx)
	p, effects, err := plan.Make(ctx, v, in, over, driver.Tools())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("plan the servicing: %w", err), v.Close())
	}
	findings, err := checked(ctx, p, effects, over)
	if err != nil {
		return nil, errors.Join(err, v.Close())
	}
	made, err := p.MakeReport(ctx, effects, findings)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("report the plan: %w", err), v.Close())
	}
	return &Plan{views: v, force: in.Options.Force, report: made, effects: effects}, nil
}

// checked finds what a plan would break, and holds the storage where the policy says so. A base that did not change
// breaks nothing.
func checked(
	ctx context.Context, p *plan.Planner, effects []sides.Effect, over sides.Passed,
) ([]report.CheckFinding, error) {
	if p.Views().SameBase || !p.Touched() && len(effects) == 0 {
		return nil, nil
	}
	found, err := check.Find(ctx, check.Input{
		Views: p.Views(), Packages: p.Packages(), Policy: p.Policy(), Effects: effects, Moved: p.Moved(),
		Excludes: p.Excludes, Passed: over, Owners: p.StorageOwners(), Numbering: p.Numbering(), Remaps: p.Remaps(),
	})
	for _, r := range check.Reasons(found) {
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

// Empty reports whether the update has no side effects: no delta storage is to be recorded.
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
	p.views.Within(ctx)
	if err := sides.WriteEffects(ctx, dir, p.effects); err != nil {
		return fmt.Errorf("write the delta storage: %w", err)
	}
	return nil
}

// Close releases the directories.
func (p *Plan) Close() error { return p.views.Close() }
