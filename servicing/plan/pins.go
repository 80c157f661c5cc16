// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// pin is one that counts.
type pin struct {
	policy.Selector
	reason  string
	doubted bool
	report  int // its place in the report
}

// Pins are the pins and excluded paths of a plan.
type Pins struct {
	active   []pin
	excluded []policy.Selector
	report   []report.PinReport
	passed   sides.Passed // what a look passes over
}

// NewPins returns the pins and excluded paths of options, with what a look passes over.
func NewPins(o policy.Options, over sides.Passed) *Pins {
	s := &Pins{passed: over}
	for _, p := range o.Pins {
		r := report.PinReport{Pin: p}
		r.Expired = !p.Expires.IsZero() && !o.Now.IsZero() && !o.Now.Before(p.Expires)
		r.Doubted = !r.Expired && !p.Expires.IsZero() && !o.Wall.IsZero() && !o.Wall.Before(p.Expires)
		s.report = append(s.report, r)
		if !r.Expired {
			s.active = append(s.active, pin{policy.NewSelector(p.Path), p.Reason, r.Doubted, len(s.report) - 1})
		}
	}
	for _, p := range o.Exclude {
		s.excluded = append(s.excluded, policy.NewSelector(p))
	}
	return s
}

// of returns the pin of a path; nil when there is none.
func (s *Pins) of(p string) *pin {
	i := slices.IndexFunc(s.active, func(one pin) bool { return one.Has(p) })
	if i < 0 {
		return nil
	}
	return &s.active[i]
}

// excludes reports whether a path is not to be looked at.
func (s *Pins) excludes(p string) bool {
	return s.passed.Has(p) || slices.ContainsFunc(s.excluded, func(one policy.Selector) bool { return one.Has(p) })
}

// PinOf returns the pin that keeps a path; nil when there is none.
func (s *Pins) PinOf(p string) *policy.Pin {
	if one := s.of(p); one != nil {
		return &s.report[one.report].Pin
	}
	return nil
}

// pinning decides on what is pinned, before anything else is decided.
type pinning struct {
	views    *sides.Views
	paths    *paths
	pins     *Pins
	result   *result
	withheld *withheld
}

// run decides on what is pinned, before anything else is decided.
func (g *pinning) run(ctx context.Context) error {
	if len(g.pins.active) == 0 {
		return nil
	}
	paths := make(map[string]bool)
	for _, view := range []*tree.View{g.views.User, g.views.New} {
		err := view.Tree(ctx, func(e tree.Entry) error {
			if g.pins.of(e.Path) != nil && !g.pins.excludes(e.Path) {
				paths[e.Path] = true
			}
			leads := func(one pin) bool { return one.LeadsTo(e.Path) }
			if e.Kind == tree.Directory && !slices.ContainsFunc(g.pins.active, leads) {
				return fs.SkipDir
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("look for what is pinned: %w", err)
		}
	}
	for _, name := range slices.SortedFunc(maps.Keys(paths), sides.ComparePaths) {
		if err := g.fixPin(name); err != nil {
			return err
		}
	}
	return nil
}

// fixPin decides on a pinned path.
func (g *pinning) fixPin(was string) error {
	one := g.pins.of(was)
	to, ok, err := g.destination(was)
	if err != nil {
		return err
	}
	if !ok {
		g.result.Hold(
			report.HoldPin, was, fmt.Sprintf("/%s is pinned (%s), but the new base has no directory for it", was,
				one.reason),
		)
		return nil
	}
	t, err := g.views.Moved(was, to)
	if err != nil {
		return err
	}
	if g.result.isFixed(to) {
		if t.U.Absent() {
			return nil
		}
		if t.Path, err = g.result.aside(to); err != nil { // another pinned one is where this would go
			return err
		}
	}
	if err := g.paths.own(&t); err != nil {
		return err
	}
	return g.keep(t, one)
}

// keep keeps the user's at a pinned path.
func (g *pinning) keep(t sides.Three, one *pin) error {
	same, err := sides.Compare(t)
	if err != nil {
		return err
	}
	d := Decision{
		Verdict: report.Keep, Rule: "H11", Driver: "pins", Reason: "pinned", Result: sides.Shows(t.U),
		Quiet: same.NU && (t.U.Absent() || sides.SameMeta(t.U.Kind, t.U.Meta, t.N.Meta)),
	}
	if one.reason != "" {
		d.Reason += ": " + one.reason
	}
	if one.doubted {
		d.Reason += "; the pin is over by the clock of the machine, which is not believed yet"
	}
	if !d.Quiet {
		g.pins.report[one.report].Kept++
		if same.OU {
			if err := g.withheld.add(t); err != nil {
				return err
			}
		}
	}
	if err := g.result.Decide(t, d); err != nil {
		return err
	}
	g.result.fix(t.Path, d.Result)
	return nil
}

// destination returns where a pinned path is in the result: elsewhere if a directory that it is in, and that is not
// pinned, is a link to another in the new base. It reports false when it cannot be anywhere.
func (g *pinning) destination(was string) (string, bool, error) {
	names := strings.Split(was, "/")
	for i := 1; i < len(names); i++ {
		dir := path.Join(names[:i]...)
		if g.pins.of(dir) != nil {
			return was, true, nil
		}
		n, err := sides.Lookup(g.views.New, dir)
		if err != nil {
			return "", false, err
		}
		switch {
		case n.Absent():
			return was, true, nil
		case n.Is(tree.Symlink):
			target, ok, err := linkTarget(g.views, dir)
			if err != nil || !ok {
				return "", false, err
			}
			return path.Join(append([]string{target}, names[i:]...)...), true, nil
		case !n.Dir():
			return "", false, nil
		}
	}
	return was, true, nil
}
