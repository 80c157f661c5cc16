// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"fmt"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/ids"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// planner makes a plan: it decides path by path what shall be seen.
type planner struct {
	views    *sides.Views
	policy   policy.Policy
	waiting  []report.Waiting // what waits since the servicing that put the storage on the old base
	forced   bool
	packages *pkg.Packages
	drivers  []driver
	pins     *pins
	paths    *paths
	result   *result
	rules    *rules
	walk     *walk
	links    *links
	owners   *ownership
	withheld *withheld
}

func newPlanner(v *sides.Views, in Input, over sides.Passed) *planner {
	o := in.Options
	p := &planner{
		views: v, policy: o.Policy, waiting: in.Waiting, forced: o.Force, pins: newPins(o, over), owners: newOwnership(v),
	}
	p.result = newResult(v, p.policy, p.pins)
	p.withheld = &withheld{views: v, pins: p.pins}
	return p
}

// prepare reads the databases of packages and makes the drivers.
func (p *planner) prepare(k tools, t pkg.Ties) error {
	managers, err := k.managers(p.views, t)
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
	p.drivers = k.drivers(p)
	p.rules.drivers = p.drivers
	return nil
}

// makePlan makes a plan, again when what belongs to whom changes the numbering of the result. Each time more owners are known.
func makePlan(ctx context.Context, v *sides.Views, in Input, over sides.Passed, k tools) (*planner, []sides.Effect, error) {
	files, err := ids.ReadAccounts(v)
	if err != nil {
		return nil, nil, fmt.Errorf("read the account files: %w", err)
	}
	known := ids.NewOwners()
	for {
		p := newPlanner(v, in, over)
		p.owners.number(files, known)
		effects, err := p.run(ctx, k)
		if err != nil || !p.owners.again {
			return p, effects, err
		}
		known = p.owners.known
	}
}

// run makes the plan and returns the side effects; none when the plan is to be made again.
func (p *planner) run(ctx context.Context, k tools) ([]sides.Effect, error) {
	if err := p.prepare(k, pkg.NewTies(p.policy.Action(policy.ConcernDependency), p.waiting)); err != nil {
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
func (p *planner) finish(ctx context.Context) error {
	for _, d := range p.drivers {
		if f, ok := d.(finisher); ok {
			if err := f.Finish(ctx); err != nil {
				return fmt.Errorf("driver %s: %w", d.Name(), err)
			}
		}
	}
	if err := p.links.keep(); err != nil {
		return err
	}
	p.result.keepPins()
	return p.walk.settleOrphans()
}

// verify lets the drivers look at what the plan would make.
func (p *planner) verify(ctx context.Context, effects []sides.Effect) error {
	for _, d := range p.drivers {
		if v, ok := d.(verifier); ok {
			if err := v.Verify(ctx, effects); err != nil {
				return err
			}
		}
	}
	return nil
}

// moved returns, by the user's paths, those in the result, where they differ.
func (p *planner) moved() map[string]string {
	moved := make(map[string]string)
	for name, o := range p.result.want {
		if o.View == p.views.User && o.Path != name && (moved[o.Path] == "" || name < moved[o.Path]) {
			moved[o.Path] = name
		}
	}
	return moved
}

// remaps returns which ids of the new base are others in the result.
func (p *planner) remaps() (out []report.IDRemap) {
	for _, d := range p.drivers {
		if r, ok := d.(renumberer); ok {
			out = append(out, r.Remaps()...)
		}
	}
	return out
}

// driverOf returns the first driver that takes the path, as far as its name and what is there now tell; "" for none.
func (p *planner) driverOf(t sides.Three) (string, error) {
	for _, d := range p.drivers {
		takes, err := takesNow(d, t)
		if err != nil || takes {
			return d.Name(), err
		}
	}
	return "", nil
}

func takesNow(d driver, t sides.Three) (bool, error) {
	if c, ok := d.(claimer); ok && c.Claims(t.Path) {
		return true, nil
	}
	if !d.Takes(t.Path) {
		return false, nil
	}
	if e, ok := d.(explainer); ok {
		return e.Explains(t)
	}
	return true, nil
}

// concernOf names the conflict there would be about a path.
func (p *planner) concernOf(t sides.Three) (policy.Concern, error) {
	if t.U.Absent() {
		return policy.ConcernDeletedByUser, nil
	}
	binary, err := sides.IsBinary(t.U)
	if err != nil {
		return "", err
	}
	for _, d := range p.drivers {
		if c, ok := d.(concerned); ok && d.Takes(t.Path) {
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
