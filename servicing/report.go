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
	"unicode/utf8"

	"github.com/opencontainers/go-digest"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// ReportVersion is the version of the form of Report.
const ReportVersion = 1

// Report is what was decided, as data. The same inputs give the same report, byte for byte when it is encoded. Fields may
// be added without a new version.
type Report struct {
	Version int `json:"version"`
	// Counts holds by verdict how many paths there were; also those that are not listed because there is nothing to tell
	// of them: the user's own, and those that neither side changed.
	Counts   map[Verdict]int `json:"counts"`
	Packages []PackageReport `json:"packages"` // those that differ between the sides
	IDs      []IDRemap       `json:"ids"`
	Holds    []Reason        `json:"holds"`
	Findings []CheckFinding  `json:"findings"` // what would not work any more, in order of the paths
	Pins     []PinReport     `json:"pins"`     // those that were given, the expired ones included
	// Waiting lists the packages whose new version waits, because the user's packages need the old one; for the next servicing, too.
	Waiting  []Waiting  `json:"waiting,omitempty"`
	Withheld []Withheld `json:"withheld,omitempty"` // what only a pin, or a package that waits, keeps; for the next servicing
	Forced   bool       `json:"forced,omitempty"`   // there are holds, but Options.Force was given
	// HiddenFixes is how many versions of packages of the new base are hidden at some path, and do not wait.
	HiddenFixes int      `json:"hidden_fixes,omitempty"`
	Unread      []Unread `json:"unread,omitempty"` // what a look at a storage in use passed over
	// Paths lists, in order, the paths that one of the bases has and that the user or the base changed. The lists that
	// can be long come last: who reads a report as it comes knows the rest by then.
	Paths []PathReport `json:"paths"`
	// Effects lists, parents first, what the delta storage consists of.
	Effects []EffectReport `json:"effects"`
}

// PathReport is the verdict on one path.
type PathReport struct {
	Path      string  `json:"path"`
	PathBytes []byte  `json:"path_bytes,omitempty"` // the path, where it is not valid UTF-8
	Was       string  `json:"was,omitempty"`        // the path before, where it is another one
	Verdict   Verdict `json:"verdict"`
	Rule      string  `json:"rule"` // the case or rule
	Driver    string  `json:"driver,omitempty"`
	Reason    string  `json:"reason"`
	Old       Content `json:"old"`
	New       Content `json:"new"`
	User      Content `json:"user"`
	Result    Content `json:"result"`
	Package   string  `json:"package,omitempty"` // whose the path is
	Hidden    []Fix   `json:"hidden,omitempty"`  // changes of the new base that are not effective here
}

// Content tells what is at a path: the digest of a regular file, "size:<bytes>" for one of more than 4 GiB, "symlink:<target>",
// "unread" for a file that a look could not read, else the kind; "" for nothing.
type Content string

// Digest returns the digest of a regular file. It reports false for everything else.
func (c Content) Digest() (digest.Digest, bool) {
	d, err := digest.Parse(string(c))
	return d, err == nil
}

// Fix is a version of a package in the new base.
type Fix struct {
	Package string `json:"package"`
	Version string `json:"version"`
}

// EffectReport is one path of the delta storage.
type EffectReport struct {
	Path      string `json:"path"`
	PathBytes []byte `json:"path_bytes,omitempty"`
	What      string `json:"what"` // "whiteout", "hard link", or the kind of the file
}

// PackageReport is what was decided about a package.
type PackageReport struct {
	Name      string    `json:"name"`
	Old       string    `json:"old"` // versions; "" where it is not installed
	New       string    `json:"new"`
	User      string    `json:"user"`
	Effective string    `json:"effective"`
	Side      unit.Side `json:"side"`
	Reason    string    `json:"reason"`
}

// IDRemap tells that files of the new base that belong to one id belong to another one in the result.
type IDRemap struct {
	Kind string `json:"kind"` // "uid" or "gid"
	From uint32 `json:"from"`
	To   uint32 `json:"to"`
	// Name is the account or group of the new base.
	Name string `json:"name,omitempty"`
	// Files is how many files of the new base that are seen belong to it.
	Files int `json:"files,omitempty"`
}

// makeReport reports what was decided.
func (p *planner) makeReport(ctx context.Context, effects []effect, found []CheckFinding) (*Report, error) {
	r := &Report{
		Version: ReportVersion, Counts: make(map[Verdict]int), Holds: p.holds,
		Forced: p.options.Force && slices.ContainsFunc(p.holds, Reason.forceable),
		Paths:  []PathReport{}, Effects: []EffectReport{}, Packages: []PackageReport{}, IDs: p.remaps,
		Findings: append([]CheckFinding{}, found...), Pins: append([]PinReport{}, p.pins.report...),
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
		r.Effects = append(r.Effects, EffectReport{Path: printable(e.path), PathBytes: rawBytes(e.path), What: e.what()})
	}
	r.HiddenFixes = r.countHidden()
	r.Packages = append(r.Packages, p.packages.report()...)
	slices.SortFunc(r.IDs, func(a, b IDRemap) int {
		return strings.Compare(fmt.Sprintf("%s %010d", a.Kind, a.From), fmt.Sprintf("%s %010d", b.Kind, b.From))
	})
	if r.IDs == nil {
		r.IDs = []IDRemap{}
	}
	if r.Holds == nil {
		r.Holds = []Reason{}
	}
	r.Unread = p.pins.passed.list()
	return r, nil
}

// countHidden counts the fixes that are hidden at some path, each once.
func (r *Report) countHidden() int {
	hidden := make(map[Fix]bool)
	for _, p := range r.Paths {
		for _, f := range p.Hidden {
			waits := slices.ContainsFunc(r.Waiting, func(w Waiting) bool { return w.Package == f.Package })
			if !waits {
				hidden[f] = true
			}
		}
	}
	return len(hidden)
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

// printable returns a text as JSON can hold it.
func printable(text string) string { return strings.ToValidUTF8(text, "\ufffd") }

// rawBytes returns a path that JSON cannot hold.
func rawBytes(p string) []byte {
	if utf8.ValidString(p) {
		return nil
	}
	return []byte(p)
}

func (p *planner) reportPath(f finding) (PathReport, error) {
	r := PathReport{
		Path: printable(f.path), PathBytes: rawBytes(f.path), Verdict: f.verdict, Rule: f.rule, Driver: f.driver, Reason: printable(f.reason),
		Package: f.own.name(),
	}
	if f.was != f.path {
		r.Was = printable(f.was)
	}
	result, decided := p.want[f.path]
	if !decided {
		result = f.result
	}
	for _, side := range []struct {
		node
		to *Content
	}{{f.o, &r.Old}, {f.n, &r.New}, {f.u, &r.User}, {result.node, &r.Result}} {
		var err error
		if *side.to, err = p.described(side.node); err != nil {
			return r, err
		}
	}
	if result.made {
		r.Result = Content(digest.FromBytes(result.content))
	}
	if r.Result != r.New && (r.Old != r.New || f.n.dir()) && f.verdict != Take && f.verdict != Merge {
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
func (k *packages) hidden(t three) []Fix {
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
	var out []Fix
	for c := range found {
		out = append(out, Fix{c.Key, c.New.Version})
	}
	slices.SortFunc(out, func(a, b Fix) int { return strings.Compare(a.Package, b.Package) })
	return out
}

// report returns the packages whose version is not the same on all sides.
func (k *packages) report() []PackageReport {
	var out []PackageReport
	for _, c := range k.choices() {
		r := PackageReport{
			Name: c.Key, Old: version(c.Old), New: version(c.New), User: version(c.User), Effective: version(c.Effective),
			Side: c.Side, Reason: c.Reason,
		}
		if r.Old != r.New || r.Old != r.User {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b PackageReport) int { return strings.Compare(a.Name, b.Name) })
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
func describe(n node) (Content, error) {
	switch {
	case n.absent():
		return "", nil
	case n.is(tree.Symlink):
		return Content("symlink:" + printable(n.Link)), nil
	case !n.is(tree.Regular):
		return Content(n.Kind.String()), nil
	case n.Size > maxDigested:
		return Content(fmt.Sprintf("size:%d", n.Size)), nil
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
	return Content(digest.NewDigest(digest.SHA256, h)), nil
}
