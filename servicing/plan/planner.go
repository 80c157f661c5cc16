// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package plan makes the plan of an update: it goes through what a storage says (walk.go), decides on files
// (rules.go), on directories (directory.go), and on what lies below a directory that is no longer one in the base
// (detour.go), asks the drivers about files with a meaning of their own, puts beside what is not in force (beside.go,
// shelf.go), and compares what shall be seen with what would be seen (effects.go). It knows no driver by name: what a
// driver is, and what it sees of a plan, stands in driver.go.
package plan

import (
	"context"
	"fmt"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/ids"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Planner makes a plan: it decides path by path what shall be seen.
type Planner struct {
	views    *sides.Views
	policy   policy.Policy
	waiting  []report.Waiting // what waits since the servicing that put the storage on the old base
	forced   bool
	packages *pkg.Packages
	drivers  []Driver
	pins     *Pins
	paths    *paths
	result   *result
	rules    *rules
	walk     *walk
	links    *links
	owners   *ownership
	withheld *withheld
}

// New returns a plan in which nothing is decided, and which has no drivers, see [Planner.Prepare].
func New(v *sides.Views, in Input, over sides.Passed) *Planner {
	o := in.Options
	p := &Planner{
		views: v, policy: o.Policy, waiting: in.Waiting, forced: o.Force, pins: NewPins(o, over),
		owners: newOwnership(v),
	}
	p.result = newResult(v, p.policy, p.pins)
	p.withheld = &withheld{views: v, pins: p.pins}
	return p
}

// Prepare reads the databases of packages and makes the drivers. Ties is what to do about packages that the user's
// packages need at another version than the new base's.
func (p *Planner) Prepare(k Tools, ties policy.Action) error {
	managers, err := k.Managers(p.views, pkg.NewTies(ties, p.waiting))
	if err != nil {
		return err
	}
	if p.packages, err = pkg.New(p.views, managers...); err != nil {
		return err
	}
	p.paths = &paths{p.views, p.packages}
	p.rules = &rules{views: p.views, policy: p.policy, packages: p.packages, result: p.result}
	p.links = &links{views: p.views, packages: p.packages, result: p.result, groups: make(map[fileID][]link)}
	p.walk = newWalk(p)
	p.drivers = k.Drivers(p)
	p.rules.drivers = p.drivers
	return nil
}

// Make makes a plan, again when what belongs to whom changes the numbering of the result. Each time more owners are
// known.
func Make(ctx context.Context, v *sides.Views, in Input, over sides.Passed, k Tools) (*Planner, []sides.Effect, error) {
	files, err := ids.ReadAccounts(v)
	if err != nil {
		return nil, nil, fmt.Errorf("read the account files: %w", err)
	}
	known := ids.NewOwners()
	for {
		p := New(v, in, over)
		p.owners.number(files, known)
		effects, err := p.run(ctx, k)
		if err != nil || !p.owners.again {
			return p, effects, err
		}
		known = p.owners.known
	}
}

// run makes the plan and returns the side effects; none when the plan is to be made again.
func (p *Planner) run(ctx context.Context, k Tools) ([]sides.Effect, error) {
	if err := p.Prepare(k, p.policy.Action(policy.ConcernDependency)); err != nil {
		return nil, err
	}
	pinning := &pinning{views: p.views, paths: p.paths, pins: p.pins, result: p.result, withheld: p.withheld}
	if err := pinning.run(ctx); err != nil {
		return nil, err
	}
	if err := p.views.Said.Walk(ctx, p.walk.visit); err != nil {
		return nil, fmt.Errorf("walk the storage: %w", err)
	}
	if p.owners.renumbers(p.result) {
		return nil, nil
	}
	if err := p.finish(ctx); err != nil || p.owners.renumbers(p.result) {
		return nil, err
	}
	if err := p.links.complete(); err != nil {
		return nil, err
	}
	effects, err := p.result.effects()
	if err != nil {
		return nil, err
	}
	p.result.holdHeavy()
	return effects, p.verify(ctx, effects)
}

// finish decides, after the walk, on what belongs together.
func (p *Planner) finish(ctx context.Context) error {
	for _, d := range p.drivers {
		if f, ok := d.(Finisher); ok {
			if err := f.Finish(ctx); err != nil {
				return fmt.Errorf("driver %s: %w", d.Name(), err)
			}
		}
	}
	if err := p.links.keep(); err != nil {
		return err
	}
	p.result.keepPins()
	onShelf := &shelf{views: p.views, pins: p.pins, result: p.result, hidden: p.walk.hidden}
	if err := onShelf.settle(ctx); err != nil {
		return err
	}
	return p.walk.settleOrphans()
}

// verify lets the drivers look at what the plan would make.
func (p *Planner) verify(ctx context.Context, effects []sides.Effect) error {
	for _, d := range p.drivers {
		if v, ok := d.(Verifier); ok {
			if err := v.Verify(ctx, effects); err != nil {
				return err
			}
		}
	}
	return nil
}

// PinReports returns the pins that were given.
func (p *Planner) PinReports() []report.PinReport { return p.pins.report }

// StorageOwners returns the owners of the storage's files.
func (p *Planner) StorageOwners() ids.Owners { return p.owners.found }

// Moved returns, by the user's paths, those in the result, where they differ.
func (p *Planner) Moved() map[string]string {
	moved := make(map[string]string)
	for name, o := range p.result.want {
		if o.View == p.views.User && o.Path != name && (moved[o.Path] == "" || name < moved[o.Path]) {
			moved[o.Path] = name
		}
	}
	return moved
}

// Remaps returns which ids of the new base are others in the result.
func (p *Planner) Remaps() (out []report.IDRemap) {
	for _, d := range p.drivers {
		if r, ok := d.(Renumberer); ok {
			out = append(out, r.Remaps()...)
		}
	}
	return out
}

// DriverOf returns the first driver that takes the path, as far as its name and what is there now tell; "" for none.
func (p *Planner) DriverOf(t sides.Three) (string, error) {
	for _, d := range p.drivers {
		takes, err := takesNow(d, t)
		if err != nil || takes {
			return d.Name(), err
		}
	}
	return "", nil
}

func takesNow(d Driver, t sides.Three) (bool, error) {
	if c, ok := d.(Claimer); ok && c.Claims(t.Path) {
		return true, nil
	}
	if !d.Takes(t.Path) {
		return false, nil
	}
	if e, ok := d.(Explainer); ok {
		return e.Explains(t)
	}
	return true, nil
}

// ConcernOf names the conflict there would be about a path.
func (p *Planner) ConcernOf(t sides.Three) (policy.Concern, error) {
	if t.U.Absent() {
		return policy.ConcernDeletedByUser, nil
	}
	binary, err := sides.IsBinary(t.U)
	if err != nil {
		return "", err
	}
	for _, d := range p.drivers {
		if c, ok := d.(Concerned); ok && d.Takes(t.Path) {
			return c.Concern(), nil
		}
	}
	switch {
	case binary && t.Own.Owned():
		return policy.ConcernPackageFile, nil
	case sides.DataPaths.Has(t.Path):
		return policy.ConcernData, nil
	case binary:
		return policy.ConcernBinary, nil
	default:
		return policy.ConcernText, nil
	}
}

// Input is what a plan is made of. Each stack names directories, the topmost first.
type Input struct {
	Old  tree.Stack // the base layer chain that the storage was last reconciled with
	New  tree.Stack // the base layer chain that it shall stand on
	User tree.Stack // the storage's nodes; frozen, none of them may change while the plan is in use, unless Live is set
	// Live: the storage may be in use. Then this is for a look alone, and nothing can be written: what changes is
	// looked at again, and what cannot be read is passed over and named in Report.Unread.
	Live    bool
	Options policy.Options
	// Withheld and Waiting are those of the report of the servicing which put the storage on the old base; nothing
	// where there was none.
	Withheld []report.Withheld
	Waiting  []report.Waiting
}

// Stacks returns the directories to look at.
func (in Input) Stacks() sides.Stacks {
	return sides.Stacks{Old: in.Old, New: in.New, User: in.User, Live: in.Live, Withheld: in.Withheld}
}
