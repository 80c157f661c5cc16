// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// makeReport reports what was decided.
func (p *planner) makeReport(ctx context.Context, effects []sides.Effect, found []report.CheckFinding) (*report.Report, error) {
	r := &report.Report{
		Version: report.Version, Counts: make(map[report.Verdict]int), Holds: p.holds,
		Forced: p.options.Force && slices.ContainsFunc(p.holds, report.Reason.Forceable),
		Paths:  []report.PathReport{}, Effects: []report.EffectReport{}, Packages: []report.PackageReport{}, IDs: p.remaps,
		Findings: append([]report.CheckFinding{}, found...), Pins: append([]report.PinReport{}, p.pins.report...),
		Withheld: p.carryWithheld(), Waiting: p.packages.waiting(),
	}
	for verdict, n := range p.quiet {
		r.Counts[verdict] += n
	}
	slices.SortStableFunc(p.findings, func(a, b finding) int { return sides.ComparePaths(a.Path, b.Path) })
	for _, f := range p.findings {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r.Counts[f.verdict]++
		one, err := p.reportPath(f)
		if err != nil {
			return nil, err
		}
		r.Paths = append(r.Paths, one)
	}
	for _, e := range effects {
		r.Effects = append(r.Effects, report.EffectReport{Path: report.Printable(e.At), PathBytes: report.RawBytes(e.At), What: e.What()})
	}
	r.HiddenFixes = r.CountHidden()
	r.Packages = append(r.Packages, p.packages.report()...)
	slices.SortFunc(r.IDs, func(a, b report.IDRemap) int {
		return strings.Compare(fmt.Sprintf("%s %010d", a.Kind, a.From), fmt.Sprintf("%s %010d", b.Kind, b.From))
	})
	if r.IDs == nil {
		r.IDs = []report.IDRemap{}
	}
	if r.Holds == nil {
		r.Holds = []report.Reason{}
	}
	r.Unread = p.pins.passed.List()
	return r, nil
}

func (p *planner) reportPath(f finding) (report.PathReport, error) {
	r := report.PathReport{
		Path: report.Printable(f.Path), PathBytes: report.RawBytes(f.Path), Verdict: f.verdict, Rule: f.rule, Driver: f.driver, Reason: report.Printable(f.reason),
		Package: f.Own.Name(),
	}
	if f.Was != f.Path {
		r.Was = report.Printable(f.Was)
	}
	result, decided := p.want[f.Path]
	if !decided {
		result = f.result
	}
	for _, side := range []struct {
		sides.Node
		to *report.Content
	}{{f.O, &r.Old}, {f.N, &r.New}, {f.U, &r.User}, {result.Node, &r.Result}} {
		var err error
		if *side.to, err = p.described(side.Node); err != nil {
			return r, err
		}
	}
	if result.Made {
		r.Result = report.Content(digest.FromBytes(result.Content))
	}
	if r.Result != r.New && (r.Old != r.New || f.N.Dir()) && f.verdict != report.Take && f.verdict != report.Merge {
		r.Hidden = p.packages.hidden(f.Three)
	}
	return r, nil
}

// hidden returns what the user's version of a path hides: the package of the new base that has it, or all with something
// below it that the update changed.
func (k *packages) hidden(t sides.Three) []report.Fix {
	found := make(map[*unit.Choice]bool)
	if c := t.Own[sides.New]; c != nil && t.N.File() {
		found[c] = true
	}
	if t.N.Dir() && !t.U.Dir() {
		for p, o := range k.owners {
			if c := o[sides.New]; c != nil && p != t.Path && sides.Within(p, t.Path) && (!c.Old.Installed() || c.Old.Version != c.New.Version) {
				found[c] = true
			}
		}
	}
	var out []report.Fix
	for c := range found {
		out = append(out, report.Fix{Package: c.Key, Version: c.New.Version})
	}
	slices.SortFunc(out, func(a, b report.Fix) int { return strings.Compare(a.Package, b.Package) })
	return out
}

// report returns the packages whose version is not the same on all sides.
func (k *packages) report() []report.PackageReport {
	var out []report.PackageReport
	for _, c := range k.choices() {
		r := report.PackageReport{
			Name: c.Key, Old: c.Old.InstalledVersion(), New: c.New.InstalledVersion(), User: c.User.InstalledVersion(), Effective: c.Effective.InstalledVersion(),
			Side: c.Side, Reason: c.Reason,
		}
		if r.Old != r.New || r.Old != r.User {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b report.PackageReport) int { return strings.Compare(a.Name, b.Name) })
	return out
}
