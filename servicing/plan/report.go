// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// MakeReport reports what was decided.
func (p *Planner) MakeReport(
	ctx context.Context, effects []sides.Effect, found []report.CheckFinding,
) (*report.Report, error) {
	r := &report.Report{
		Version: report.Version, Counts: make(map[report.Verdict]int), Holds: p.result.holds,
		Forced: p.forced && slices.ContainsFunc(p.result.holds, report.Reason.Forceable),
		Paths:  []report.PathReport{}, Effects: []report.EffectReport{}, Packages: []report.PackageReport{},
		IDs:      p.Remaps(),
		Findings: append([]report.CheckFinding{}, found...), Pins: append([]report.PinReport{}, p.pins.report...),
		Withheld: p.withheld.carry(), Waiting: p.packages.Waiting(),
	}
	for verdict, n := range p.result.quiet {
		r.Counts[verdict] += n
	}
	slices.SortStableFunc(p.result.findings, func(a, b finding) int { return sides.ComparePaths(a.Path, b.Path) })
	for _, f := range p.result.findings {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r.Counts[f.Verdict]++
		one, err := p.reportPath(f)
		if err != nil {
			return nil, err
		}
		r.Paths = append(r.Paths, one)
	}
	for _, e := range effects {
		r.Effects = append(r.Effects, report.EffectReport{
			Path: report.Printable(e.At), PathBytes: report.RawBytes(e.At), What: e.What(),
		})
	}
	r.HiddenFixes = r.CountHidden()
	r.Packages = append(r.Packages, p.packages.Report()...)
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

func (p *Planner) reportPath(f finding) (report.PathReport, error) {
	r := report.PathReport{
		Path: report.Printable(f.Path), PathBytes: report.RawBytes(f.Path), Verdict: f.Verdict, Rule: f.Rule,
		Driver: f.Driver, Reason: report.Printable(f.Reason),
		Package: f.Own.Name(),
	}
	if f.Was != f.Path {
		r.Was = report.Printable(f.Was)
	}
	result, decided := p.result.want[f.Path]
	if !decided {
		result = f.Result
	}
	at, err := p.result.besideOf(f.Path)
	if err != nil {
		return r, err
	}
	if at != "" {
		r.Beside = "/" + report.Printable(at)
	}
	for _, side := range []struct {
		sides.Node
		to *report.Content
	}{{f.O, &r.Old}, {f.N, &r.New}, {f.U, &r.User}, {result.Node, &r.Result}} {
		if *side.to, err = p.described(side.Node); err != nil {
			return r, err
		}
	}
	if result.Made {
		r.Result = report.Content(digest.FromBytes(result.Content))
	}
	if r.Result != r.New && (r.Old != r.New || f.N.Dir()) && f.Verdict != report.Take && f.Verdict != report.Merge {
		r.Hidden = p.packages.Hidden(f.Three)
	}
	return r, nil
}

// unreadContent is what is said of a content that could not be read, in place of its digest.
const unreadContent report.Content = "unread"

// described is describe; a look does not fail because of a content that it cannot read.
func (p *Planner) described(n sides.Node) (report.Content, error) {
	content, err := sides.Describe(n)
	if err != nil && p.views.Live && p.pins.passed.Note(err) {
		return unreadContent, nil
	}
	return content, err
}
