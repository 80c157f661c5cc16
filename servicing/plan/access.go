// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"github.com/molt-snapshotter/molt-snapshotter/servicing/ids"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// What drivers see of a plan. The rooms of the plan do the work.

// Views implements [Plan].
func (p *Planner) Views() *sides.Views { return p.views }

// Packages implements [Plan].
func (p *Planner) Packages() *pkg.Packages { return p.packages }

// Policy implements [Plan].
func (p *Planner) Policy() policy.Policy { return p.policy }

// Look implements [Plan].
func (p *Planner) Look(name string) (sides.Three, error) { return p.paths.look(name) }

// Owned implements [Plan].
func (p *Planner) Owned(t sides.Three) (sides.Three, error) {
	err := p.paths.own(&t)
	return t, err
}

// Excludes implements [Plan].
func (p *Planner) Excludes(name string) bool { return p.pins.excludes(name) }

// Settled implements [Plan].
func (p *Planner) Settled(t sides.Three) bool { return p.walk.settled(t) }

// Touched implements [Plan].
func (p *Planner) Touched() bool { return p.walk.touched }

// Emptied implements [Plan].
func (p *Planner) Emptied(dir string) bool { return p.walk.hidden[dir] }

// Numbering implements [Plan].
func (p *Planner) Numbering() *ids.Numbering { return p.owners.numbering }

// UsersOwners implements [Plan].
func (p *Planner) UsersOwners() ids.Owners { return p.owners.users(p.result) }

// At implements [Plan].
func (p *Planner) At(name string) (sides.Outcome, bool) { return p.result.At(name) }

// Seen implements [Plan].
func (p *Planner) Seen(name string) (sides.Node, error) { return p.result.Seen(name) }

// SoFar implements [Plan].
func (p *Planner) SoFar() *sides.Scene { return p.result.SoFar() }

// Decide implements [Plan].
func (p *Planner) Decide(t sides.Three, d Decision) error { return p.result.Decide(t, d) }

// DecideAlways implements [Plan].
func (p *Planner) DecideAlways(t sides.Three, d Decision) error { return p.result.DecideAlways(t, d) }

// Reopen implements [Plan].
func (p *Planner) Reopen(name string) { p.result.Reopen(name) }

// Hide implements [Plan].
func (p *Planner) Hide(name string) { p.result.Hide(name) }

// Withhold implements [Plan].
func (p *Planner) Withhold(t sides.Three) error { return p.withheld.add(t) }

// Hold implements [Plan].
func (p *Planner) Hold(code report.HoldCode, path, message string) {
	p.result.Hold(code, path, message)
}

// HoldFor implements [Plan].
func (p *Planner) HoldFor(r report.Reason) { p.result.HoldFor(r) }

// ByRules implements [Plan].
func (p *Planner) ByRules(t sides.Three) error { return p.walk.byRules(t) }

// ThreeWay implements [Plan].
func (p *Planner) ThreeWay(t sides.Three) (Decision, error) { return p.rules.threeWay(t) }

// KeepUsers implements [Plan].
func (p *Planner) KeepUsers(t sides.Three) (Decision, error) { return p.rules.keepUsers(t) }

// KeepPackaged implements [Plan].
func (p *Planner) KeepPackaged(t sides.Three) Decision { return p.rules.keepPackaged(t) }

// Settle implements [Plan].
func (p *Planner) Settle(c policy.Concern, t sides.Three, d Decision) Decision {
	return p.result.Settle(c, t, d)
}
