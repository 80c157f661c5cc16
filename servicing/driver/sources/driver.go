// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sources merges where package managers get their packages from.
package sources

import (
	"context"
	"path"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/shared"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sources"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

const (
	sourcesRule = "J6"
	aptSources  = "etc/apt/sources.list"
	aptParts    = "etc/apt/sources.list.d"
	maxSources  = 1 << 20
)

// driverName is what the driver is called in reports.
const driverName = "sources"

// What the driver does besides having a name.
var (
	_ plan.Resolver = (*driver)(nil)
	_ plan.Finisher = (*driver)(nil)
)

// driver merges where package managers get their packages from, so that one release is in force.
type driver struct{ plan plan.Plan }

// New makes the driver of a plan.
func New(p plan.Plan) plan.Driver { return &driver{p} }

// Name returns what the driver is called.
func (dr *driver) Name() string { return driverName }

// Takes takes files of sources.
func (dr *driver) Takes(name string) bool { return sources.FormOf(name) != sources.None }

// Resolve merges the user's mirrors and components with the release of the base. Where that cannot be, the user's
// stay as they are: lines of both would be two releases.
func (dr *driver) Resolve(t sides.Three) (plan.Decision, bool, error) {
	contents, err := sides.ReadThree(t, maxSources)
	if err != nil {
		return plan.Decision{}, false, err
	}
	form := sources.FormOf(t.Path)
	named := contents != nil && (sources.Any(form, contents[sides.New]) || !sources.Any(form, contents[sides.Old]))
	if t.O.File() && named {
		merged, told, ok := sources.Merge(form, contents[sides.Old], contents[sides.New], contents[sides.User])
		if ok {
			return dr.merged(t, merged, told), true, nil
		}
	}
	d, err := dr.plan.KeepUsers(t)
	d.Rule, d.Reason = sourcesRule, d.Reason+"; both would name other releases or mirrors"
	return d, true, err
}

func (dr *driver) merged(t sides.Three, content []byte, told string) plan.Decision {
	reason := "sources: the mirrors and components of the user's, the release of the base's"
	if told != "" {
		reason += "; " + told
	}
	return plan.Decision{
		Verdict: report.Merge, Rule: sourcesRule, Driver: dr.Name(), Reason: reason, Result: sides.Makes(t, content),
	}
}

// Finish merges sources that the base writes in another file now, in another form.
func (dr *driver) Finish(context.Context) error {
	left, err := dr.left()
	if err != nil || len(left) == 0 {
		return err
	}
	arrived, err := dr.arrived()
	if err != nil || len(arrived) == 0 {
		return err
	}
	if len(left) == 1 && len(arrived) == 1 {
		done, err := dr.move(left[0], arrived[0])
		if done || err != nil {
			return err
		}
	}
	for _, t := range arrived {
		if err := shared.Again(dr.plan, t, plan.Decision{
			Verdict: report.Beside, Rule: sourcesRule, Driver: dr.Name(), Result: sides.Nothing(), Beside: true,
			Reason: "the user's sources are of another release and stay in force; see " + tree.Shown(left[0].Path),
		}); err != nil {
			return err
		}
	}
	return nil
}

// all returns the files of sources that any side has.
func (dr *driver) all() ([]sides.Three, error) {
	main, err := dr.plan.Look(aptSources)
	if err != nil {
		return nil, err
	}
	parts, err := shared.Below(dr.plan, aptParts)
	if err != nil {
		return nil, err
	}
	return append(parts, main), nil
}

// left returns the files of sources that the user changed and the base has left: they name none there, or are gone.
func (dr *driver) left() (out []sides.Three, err error) {
	all, err := dr.all()
	for _, t := range all {
		if err != nil || !dr.Takes(t.Path) || !t.O.Is(tree.Regular) || !t.U.Is(tree.Regular) || dr.plan.Settled(t) {
			continue
		}
		var same, was, is, own bool
		if same, err = sides.SameContent(t.O, t.U); err != nil || same {
			continue
		}
		for _, one := range []struct {
			node sides.Node
			any  *bool
		}{{t.O, &was}, {t.N, &is}, {t.U, &own}} {
			if *one.any, err = anySources(one.node); err != nil {
				return nil, err
			}
		}
		if was && own && !is {
			out = append(out, t)
		}
	}
	return out, err
}

// arrived returns the files of sources that are new in the base.
func (dr *driver) arrived() (out []sides.Three, err error) {
	all, err := dr.all()
	for _, t := range all {
		if err == nil && dr.Takes(t.Path) && t.O.Absent() && t.U.Absent() && t.N.Is(tree.Regular) &&
			!dr.plan.Settled(t) {
			out = append(out, t)
		}
	}
	return out, err
}

// anySources reports whether a file names sources. One that is larger than is read does not.
func anySources(n sides.Node) (bool, error) {
	if !n.Is(tree.Regular) || n.Size > maxSources {
		return false, nil
	}
	content, err := sides.Read(n, maxSources)
	return sources.Any(sources.FormOf(path.Clean(n.Path)), content), err
}

// move has the base's new file say what the user did to the one before, which is set aside. It reports false where
// that cannot be.
func (dr *driver) move(from, to sides.Three) (bool, error) {
	var contents [3][]byte
	for i, n := range []sides.Node{from.O, to.N, from.U} {
		if n.Size > maxSources {
			return false, nil
		}
		var err error
		if contents[i], err = sides.Read(n, maxSources); err != nil {
			return false, err
		}
	}
	merged, told, ok := sources.MergeForms(
		sources.FormOf(from.Path), sources.FormOf(to.Path), contents[0], contents[1], contents[2],
	)
	if !ok {
		return false, nil
	}
	t := to
	t.U = to.N
	if err := shared.Again(dr.plan, to, dr.merged(t, merged, told)); err != nil {
		return false, err
	}
	gone := plan.Decision{
		Verdict: report.Take, Rule: sourcesRule, Driver: dr.Name(),
		Reason: "its sources are in " + tree.Shown(to.Path) + " now; the user's version is set aside",
		Aside:  true, Result: sides.Nothing(),
	}
	if from.N.File() {
		gone.Result = sides.Shows(from.N)
	}
	return true, shared.Again(dr.plan, from, gone)
}
