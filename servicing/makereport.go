// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// makeReport reports what was decided.
func (p *planner) makeReport(ctx context.Context, effects []effect, found []report.CheckFinding) (*report.Report, error) {
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
	slices.SortStableFunc(p.findings, func(a, b finding) int { return comparePaths(a.path, b.path) })
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
		r.Effects = append(r.Effects, report.EffectReport{Path: report.Printable(e.path), PathBytes: report.RawBytes(e.path), What: e.what()})
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
	r.Unread = p.pins.passed.list()
	return r, nil
}

func (e effect) what() string {
	switch {
	case e.whiteout:
		return "whiteout"
	case e.linkTo != "":
		return "hard link"
	default:
		return e.Kind.String()
	}
}

func (p *planner) reportPath(f finding) (report.PathReport, error) {
	r := report.PathReport{
		Path: report.Printable(f.path), PathBytes: report.RawBytes(f.path), Verdict: f.verdict, Rule: f.rule, Driver: f.driver, Reason: report.Printable(f.reason),
		Package: f.own.name(),
	}
	if f.was != f.path {
		r.Was = report.Printable(f.was)
	}
	result, decided := p.want[f.path]
	if !decided {
		result = f.result
	}
	for _, side := range []struct {
		node
		to *report.Content
	}{{f.o, &r.Old}, {f.n, &r.New}, {f.u, &r.User}, {result.node, &r.Result}} {
		var err error
		if *side.to, err = p.described(side.node); err != nil {
			return r, err
		}
	}
	if result.made {
		r.Result = report.Content(digest.FromBytes(result.content))
	}
	if r.Result != r.New && (r.Old != r.New || f.n.dir()) && f.verdict != report.Take && f.verdict != report.Merge {
		r.Hidden = p.packages.hidden(f.three)
	}
	return r, nil
}

// name returns the name of the package that has a path: in the new base, else in the old one, else for the user.
func (o owner) name() string {
	for _, side := range []int{sideNew, sideOld, sideUser} {
		if o[side] != nil {
			return o[side].Key
		}
	}
	return ""
}

// hidden returns what the user's version of a path hides: the package of the new base that has it, or all with something
// below it that the update changed.
func (k *packages) hidden(t three) []report.Fix {
	found := make(map[*unit.Choice]bool)
	if c := t.own[sideNew]; c != nil && t.n.file() {
		found[c] = true
	}
	if t.n.dir() && !t.u.dir() {
		for p, o := range k.owners {
			if c := o[sideNew]; c != nil && p != t.path && within(p, t.path) && (!c.Old.Installed() || c.Old.Version != c.New.Version) {
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
			Name: c.Key, Old: version(c.Old), New: version(c.New), User: version(c.User), Effective: version(c.Effective),
			Side: c.Side, Reason: c.Reason,
		}
		if r.Old != r.New || r.Old != r.User {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b report.PackageReport) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func version(p *unit.Package) string {
	if !p.Installed() {
		return ""
	}
	return p.Version
}

// maxDigested is the size up to which a file is read to be told apart in a report. A file with holes costs its owner nothing
// and may be so large that reading it takes hours.
const maxDigested = 4 << 30

// describe tells a content in a few characters.
func describe(n node) (report.Content, error) {
	switch {
	case n.absent():
		return "", nil
	case n.is(tree.Symlink):
		return report.Content("symlink:" + report.Printable(n.Link)), nil
	case !n.is(tree.Regular):
		return report.Content(n.Kind.String()), nil
	case n.Size > maxDigested:
		return report.Content(fmt.Sprintf("size:%d", n.Size)), nil
	}
	file, err := n.view.OpenEntry(n.Entry)
	if err != nil {
		return "", err
	}
	defer file.Close()
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return "", fmt.Errorf("read %s: %w", tree.Shown(n.Path), err)
	}
	return report.Content(digest.NewDigest(digest.SHA256, h)), nil
}
