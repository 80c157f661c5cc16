// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"path"

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

// sourcesDriver merges where package managers get their packages from, so that one release is in force.
type sourcesDriver struct{ plan plan }

func newSources(p plan) driver { return &sourcesDriver{p} }

// Name implements the driver.
func (dr *sourcesDriver) Name() string { return "sources" }

// Takes takes files of sources.
func (dr *sourcesDriver) Takes(name string) bool { return sources.FormOf(name) != sources.None }

// Resolve merges the user's mirrors and components with the release of the base. Where that cannot be, the user's stay as they
// are: lines of both would be two releases.
func (dr *sourcesDriver) Resolve(t sides.Three) (decision, bool, error) {
	contents, err := sides.ReadThree(t, maxSources)
	if err != nil {
		return decision{}, false, err
	}
	form := sources.FormOf(t.Path)
	if contents != nil && t.O.File() && (sources.Any(form, contents[sides.New]) || !sources.Any(form, contents[sides.Old])) {
		merged, told, ok := sources.Merge(form, contents[sides.Old], contents[sides.New], contents[sides.User])
		if ok {
			return dr.merged(t, merged, told), true, nil
		}
	}
	d, err := dr.plan.KeepUsers(t)
	d.rule, d.reason = sourcesRule, d.reason+"; both would name other releases or mirrors"
	return d, true, err
}

func (dr *sourcesDriver) merged(t sides.Three, content []byte, told string) decision {
	reason := "sources: the mirrors and components of the user's, the release of the base's"
	if told != "" {
		reason += "; " + told
	}
	return decision{verdict: report.Merge, rule: sourcesRule, driver: dr.Name(), reason: reason, result: sides.Makes(t, content)}
}

// Finish merges sources that the base writes in another file now, in another form.
func (dr *sourcesDriver) Finish(context.Context) error {
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
		if err := again(dr.plan, t, decision{
			verdict: report.Beside, rule: sourcesRule, driver: dr.Name(), result: sides.Nothing(), beside: true,
			reason: "the user's sources are of another release and stay in force; see " + tree.Shown(left[0].Path),
		}); err != nil {
			return err
		}
	}
	return nil
}

// all returns the files of sources that any side has.
func (dr *sourcesDriver) all() ([]sides.Three, error) {
	main, err := dr.plan.Look(aptSources)
	if err != nil {
		return nil, err
	}
	parts, err := below(dr.plan, aptParts)
	if err != nil {
		return nil, err
	}
	return append(parts, main), nil
}

// left returns the files of sources that the user changed and the base has left: they name none there, or are gone.
func (dr *sourcesDriver) left() (out []sides.Three, err error) {
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
func (dr *sourcesDriver) arrived() (out []sides.Three, err error) {
	all, err := dr.all()
	for _, t := range all {
		if err == nil && dr.Takes(t.Path) && t.O.Absent() && t.U.Absent() && t.N.Is(tree.Regular) && !dr.plan.Settled(t) {
			out = append(out, t)
		}
	}
	return out, err
}

// anySources reports whether a file names sources.
func anySources(n sides.Node) (bool, error) {
	if !n.Is(tree.Regular) {
		return false, nil
	}
	content, err := sides.Read(n, maxSources)
	return sources.Any(sources.FormOf(path.Clean(n.Path)), content), err
}

// move has the base's new file say what the user did to the one before, which is set aside. It reports false where that cannot be.
func (dr *sourcesDriver) move(from, to sides.Three) (bool, error) {
	var contents [3][]byte
	for i, n := range []sides.Node{from.O, to.N, from.U} {
		var err error
		if contents[i], err = sides.Read(n, maxSources); err != nil {
			return false, err
		}
	}
	merged, told, ok := sources.MergeForms(sources.FormOf(from.Path), sources.FormOf(to.Path), contents[0], contents[1], contents[2])
	if !ok {
		return false, nil
	}
	t := to
	t.U = to.N
	if err := again(dr.plan, to, dr.merged(t, merged, told)); err != nil {
		return false, err
	}
	gone := decision{
		verdict: report.Take, rule: sourcesRule, driver: dr.Name(), reason: "its sources are in " + tree.Shown(to.Path) + " now; the user's version is set aside",
		aside: true, result: sides.Nothing(),
	}
	if from.N.File() {
		gone.result = sides.Shows(from.N)
	}
	return true, again(dr.plan, from, gone)
}
