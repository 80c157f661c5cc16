// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// Audit finds which packages and files of in.New, the base that a storage stands on, the storage in.User hides. With
// in.Old an earlier base can be given, say the one that the storage was made on: then what changed between the two is
// a fix. Nothing is written. Only files of packages are looked at; what no package has, nobody knows to be a fix.
func Audit(ctx context.Context, in plan.Input) (*report.AuditReport, error) {
	return audit(ctx, in, in.New)
}

// AuditHeld is Audit for a storage that stands on in.Old because its update to in.New is held: it finds which
// packages and files of in.New the container does not have.
func AuditHeld(ctx context.Context, in plan.Input) (*report.AuditReport, error) {
	return audit(ctx, in, in.Old)
}

// audit compares in.New with what is seen of a storage that stands on a base.
func audit(ctx context.Context, in plan.Input, stands tree.Stack) (r *report.AuditReport, err error) {
	if err := in.Options.Validate(); err != nil {
		return nil, err
	}
	over := make(sides.Passed)
	err = over.Again(in.Live, func() (err error) {
		r, err = auditOnce(ctx, in, stands, over)
		return err
	})
	return r, err
}

func auditOnce(
	ctx context.Context, in plan.Input, stands tree.Stack, over sides.Passed,
) (_ *report.AuditReport, err error) {
	earlier, err := tree.Tolerance{LongLists: true}.Open(in.Old)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, earlier.Close()) }()
	a := &auditor{
		earlier: earlier, waiting: in.Waiting, compared: len(in.Old) > 0, held: !slices.Equal(stands, in.New),
		pins: plan.NewPins(in.Options, over), passed: over, lower: make(map[*unit.Choice]bool),
		report: &report.AuditReport{Version: report.Version, Packages: []report.AuditPackage{},
			Paths: []report.AuditPath{}},
	}
	in.Old, in.Waiting = stands, nil // what the user saw is what is seen now, whoever made it so
	v, err := sides.Open(in.Stacks())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	a.views = v
	if err := a.run(ctx); err != nil {
		return nil, fmt.Errorf("audit the storage: %w", err)
	}
	a.report.Unread = append(a.report.Unread, over.List()...)
	return a.report, nil
}

// auditor compares the packages of a base, and their files, with what is seen.
type auditor struct {
	views    *sides.Views
	packages *pkg.Packages
	pins     *plan.Pins
	passed   sides.Passed // what a look passes over
	report   *report.AuditReport
	earlier  *tree.View
	waiting  []report.Waiting // of the update that put the storage on the base
	compared bool             // there is an earlier base
	held     bool             // the storage does not stand on the base
	lower    map[*unit.Choice]bool
}

func (a *auditor) run(ctx context.Context) error {
	managers, err := driver.Managers(a.views, pkg.NewTies(policy.ActionHold, nil))
	if err != nil {
		return err
	}
	if a.packages, err = pkg.New(a.views, managers...); err != nil {
		return err
	}
	files, err := a.packages.BaseFiles()
	if err != nil {
		return err
	}
	a.auditPackages()
	hides, err := a.hidingPaths(ctx)
	if err != nil {
		return err
	}
	for name, c := range files {
		if hides(name) {
			if err := a.passed.Over(a.views.Live, name, a.auditPath(name, c)); err != nil {
				return err
			}
		}
	}
	slices.SortFunc(a.report.Paths, func(x, y report.AuditPath) int { return sides.ComparePaths(x.Path, y.Path) })
	return nil
}

// heldBack is why a container has another version of a package that its user has nothing to do with.
const heldBack = "the update that brings it is held"

// auditPackages compares the package databases.
func (a *auditor) auditPackages() {
	for _, c := range a.packages.All() {
		base, seen := c.New.InstalledVersion(), c.User.InstalledVersion()
		if base == "" || base == seen {
			continue
		}
		p := report.AuditPackage{Name: c.Key, Base: base, Seen: seen, Reason: c.Reason}
		if a.held && seen == c.Old.InstalledVersion() {
			p.Reason = heldBack
		}
		if seen != "" {
			order, err := a.packages.Order(c, seen, base)
			p.Lower = err == nil && order < 0 // what cannot be compared is told as it is
		}
		if p.Lower {
			a.lower[c] = true
			a.report.Fixes++
			if p.Waits = a.waits(c); p.Waits != nil {
				p.Reason = "an update has kept it: " + p.Waits.Why()
			}
		}
		a.report.Packages = append(a.report.Packages, p)
	}
	slices.SortFunc(a.report.Packages, func(x, y report.AuditPackage) int { return cmp.Compare(x.Name, y.Name) })
}

// waits returns for what the base's version of a package waits; nil for nothing.
func (a *auditor) waits(c *unit.Choice) *report.Waiting {
	i := slices.IndexFunc(a.waiting, func(w report.Waiting) bool { return w.Mark() == unit.MarkOf(c.User) })
	if i < 0 {
		return nil
	}
	w := a.waiting[i]
	w.Base, w.Fix = c.New.InstalledVersion(), true // the base may have been updated since
	return &w
}

// hidingPaths walks the storage, and returns a function that reports whether it may hide something at a path. The base
// is not walked.
func (a *auditor) hidingPaths(ctx context.Context) (func(string) bool, error) {
	exact, whole := make(map[string]bool), make(map[string]bool)
	err := a.views.Said.Survey(ctx, func(c tree.Change) error {
		switch {
		case c.Deleted, c.Opaque, c.Kind != tree.Directory:
			exact[c.Path], whole[c.Path] = true, true // what was a directory is hidden with all below
		}
		return nil
	}, func(err error) {
		a.report.Unread = append(a.report.Unread, report.Unread{Why: report.Printable(err.Error())})
	})
	return func(name string) bool {
		if exact[name] {
			return true
		}
		for i := len(name) - 1; i > 0; i-- {
			if name[i] == '/' && whole[name[:i]] {
				return true
			}
		}
		return false
	}, err
}

// auditPath compares a file of a package.
func (a *auditor) auditPath(name string, c *unit.Choice) error {
	t, err := a.views.Three(name)
	if err != nil || !t.N.File() || sides.SameBacking(t.U, t.N) {
		return err
	}
	same, err := sides.SameContent(t.U, t.N)
	if err != nil || same {
		return err
	}
	r := report.AuditPath{
		Path: report.Printable(name), PathBytes: report.RawBytes(name), Package: c.Key,
		Version: c.New.InstalledVersion(),
		How:     "replaced",
	}
	switch {
	case c.Differs() && c.User.InstalledVersion() != c.New.InstalledVersion():
		r.How = "other version"
	case t.U.Absent():
		r.How = "deleted"
	}
	was, err := sides.Lookup(a.earlier, name)
	if err != nil {
		return err
	}
	for _, one := range []struct {
		sides.Node
		to *report.Content
	}{{t.N, &r.BaseIs}, {t.U, &r.Seen}, {was, &r.Was}} {
		if *one.to, err = sides.Describe(one.Node); err != nil {
			return err
		}
	}
	r.Fix = a.lower[c] || a.compared && r.Was != r.BaseIs && c.User.InstalledVersion() == c.New.InstalledVersion()
	if r.Fix && !a.lower[c] {
		a.report.Fixes++
	}
	r.Pin = a.pins.PinOf(name)
	a.report.Paths = append(a.report.Paths, r)
	return nil
}
