// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"github.com/molt-snapshotter/molt-snapshotter/servicing/ids"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// What drivers see of a plan. The rooms of the plan do the work.

func (p *planner) Views() *sides.Views     { return p.views }
func (p *planner) Packages() *pkg.Packages { return p.packages }
func (p *planner) Policy() policy.Policy   { return p.policy }

func (p *planner) Look(name string) (sides.Three, error) { return p.paths.look(name) }

func (p *planner) Owned(t sides.Three) (sides.Three, error) {
	err := p.paths.own(&t)
	return t, err
}

func (p *planner) Excludes(name string) bool  { return p.pins.excludes(name) }
func (p *planner) Settled(t sides.Three) bool { return p.walk.settled(t) }
func (p *planner) Touched() bool              { return p.walk.touched }
func (p *planner) Emptied(dir string) bool    { return p.walk.hidden[dir] }
func (p *planner) Numbering() *ids.Numbering  { return p.owners.numbering }
func (p *planner) UsersOwners() ids.Owners    { return p.owners.users(p.result) }

func (p *planner) At(name string) (sides.Outcome, bool) { return p.result.At(name) }
func (p *planner) Seen(name string) (sides.Node, error) { return p.result.Seen(name) }
func (p *planner) SoFar() *sides.Scene                  { return p.result.SoFar() }

func (p *planner) Decide(t sides.Three, d decision) error       { return p.result.Decide(t, d) }
func (p *planner) DecideAlways(t sides.Three, d decision) error { return p.result.DecideAlways(t, d) }
func (p *planner) Reopen(name string)                           { p.result.Reopen(name) }
func (p *planner) Hide(name string)                             { p.result.Hide(name) }
func (p *planner) Withhold(t sides.Three) error                 { return p.withheld.add(t) }

func (p *planner) Hold(code report.HoldCode, path, message string) {
	p.result.Hold(code, path, message)
}
func (p *planner) HoldFor(r report.Reason) { p.result.HoldFor(r) }

func (p *planner) ByRules(t sides.Three) error               { return p.walk.byRules(t) }
func (p *planner) ThreeWay(t sides.Three) (decision, error)  { return p.rules.threeWay(t) }
func (p *planner) KeepUsers(t sides.Three) (decision, error) { return p.rules.keepUsers(t) }
func (p *planner) KeepPackaged(t sides.Three) decision       { return p.rules.keepPinned(t) }

func (p *planner) Settle(c policy.Concern, t sides.Three, d decision) decision {
	return p.result.Settle(c, t, d)
}
