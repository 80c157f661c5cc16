// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package diversions compares a file that the user diverted with what the new base has under the name that it had.
package diversions

import (
	"errors"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/dpkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

const diversionsPath = "var/lib/dpkg/diversions"

// diversions are those of the user that the new base does not have, by path.
type diversions struct {
	from, to map[string]string // where a file is and would be, and the other way round
}

// driverName is what the driver is called in reports.
const driverName = "diversions"

// What the driver does besides having a name.
var (
	_ plan.Decider   = (*driver)(nil)
	_ plan.Explainer = (*driver)(nil)
)

// driver follows the user's diversions.
type driver struct {
	plan     plan.Plan
	diverted *diversions // nil as long as nobody asked
}

// New makes the driver of a plan.
func New(p plan.Plan) plan.Driver { return &driver{plan: p} }

// Name returns what the driver is called.
func (dr *driver) Name() string { return driverName }

// Takes takes every path: what a file is does not show in its name.
func (dr *driver) Takes(string) bool { return true }

// Explains reports whether the user diverted a path, or diverted one to it.
func (dr *driver) Explains(t sides.Three) (bool, error) { return dr.isDiverted(t.Path) }

// readDiversions reads them when they are asked for the first time.
func (dr *driver) readDiversions() error {
	if dr.diverted != nil {
		return nil
	}
	all := diversions{make(map[string]string), make(map[string]string)}
	user, err := dr.diversionsIn(dr.plan.Views().User)
	if err != nil {
		return err
	}
	base, err := dr.diversionsIn(dr.plan.Views().New)
	if err != nil {
		return err
	}
	for d := range user {
		_, known := base[d]
		from, to := dr.divertedPath(d.From), dr.divertedPath(d.To)
		if c, err := dr.plan.Packages().OwnerOf(sides.Three{Path: from, Was: from}); err != nil {
			return err
		} else if !known && (c[sides.New] == nil || c[sides.New].Key != d.By) {
			all.from[to], all.to[from] = from, to
		}
	}
	dr.diverted = &all
	return nil
}

// isDiverted reports whether the user diverted a path, or diverted one to it.
func (dr *driver) isDiverted(name string) (bool, error) {
	if err := dr.readDiversions(); err != nil {
		return false, err
	}
	return dr.diverted.from[name] != "" || dr.diverted.to[name] != "", nil
}

func (dr *driver) divertedPath(name string) string {
	return dr.plan.Packages().Resolved(sides.User, sides.TrimRoot(name))
}

func (dr *driver) diversionsIn(view *tree.View) (map[dpkg.Diversion]bool, error) {
	n, err := sides.Lookup(view, diversionsPath)
	if err != nil {
		return nil, err
	}
	content, err := sides.Read(n, pkg.MaxDatabase)
	if err != nil && !errors.Is(err, tree.ErrTooLarge) {
		return nil, err
	}
	out := make(map[dpkg.Diversion]bool)
	for _, d := range dpkg.ParseDiversions(content) {
		out[d] = true
	}
	return out, nil
}

// First reconciles a file that the user diverted with what the new base has under the name that it had, as dpkg
// would have installed it; what stands under that name now is the user's.
func (dr *driver) First(t sides.Three) (plan.Decision, bool, error) {
	if err := dr.readDiversions(); err != nil {
		return plan.Decision{}, false, err
	}
	if _, away := dr.diverted.to[t.Path]; away && !t.U.Dir() && !t.N.Dir() {
		return plan.Decision{
			Verdict: report.Keep, Rule: "D8", Reason: "the user diverted the base's file", Result: sides.Shows(t.U),
			Quiet: t.N.Absent(),
		}, true, nil
	}
	from, ok := dr.diverted.from[t.Path]
	if !ok || !t.O.Absent() || !t.N.Absent() || !t.U.File() {
		return plan.Decision{}, false, nil
	}
	there := sides.Three{Path: t.Path, Was: from, U: t.U}
	var errs [3]error
	there.O, errs[0] = sides.Lookup(dr.plan.Views().Old, from)
	there.N, errs[1] = sides.Lookup(dr.plan.Views().New, from)
	there.Own, errs[2] = dr.plan.Packages().OwnerOf(sides.Three{Path: from, Was: from})
	if err := errors.Join(errs[:]...); err != nil || !there.O.File() || there.N.Dir() || there.Own.UsersVersion(from) {
		return plan.Decision{}, false, err
	}
	d, err := dr.plan.ThreeWay(there)
	d.Rule, d.Beside, d.Aside = "D8", false, false
	d.Reason = "diverted from " + tree.Shown(from) + ": " + d.Reason
	return d, err == nil, err
}
