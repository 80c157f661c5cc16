// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

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

// pins are the pins and excluded paths of a plan.
type pins struct {
	active   []pin
	excluded []policy.Selector
	report   []report.PinReport
	fixed    map[string]sides.Outcome // what is pinned, by path in the result
	passed   sides.Passed             // what a look passes over
}

func newPins(o policy.Options) *pins {
	s := &pins{fixed: make(map[string]sides.Outcome), passed: make(sides.Passed)}
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
func (s *pins) of(p string) *pin {
	i := slices.IndexFunc(s.active, func(one pin) bool { return one.Has(p) })
	if i < 0 {
		return nil
	}
	return &s.active[i]
}

// excludes tells whether a path is not to be looked at.
func (s *pins) excludes(p string) bool {
	return s.passed.Has(p) || slices.ContainsFunc(s.excluded, func(one policy.Selector) bool { return one.Has(p) })
}

// decided tells whether the walk has nothing to decide about a path.
func (s *pins) decided(t sides.Three) bool {
	_, fixed := s.fixed[t.Path]
	return fixed || s.excludes(t.Was) || s.excludes(t.Path)
}

// fixPins decides on what is pinned, before anything else is decided.
func (p *planner) fixPins(ctx context.Context) error {
	if len(p.pins.active) == 0 {
		return nil
	}
	paths := make(map[string]bool)
	for _, view := range []*tree.View{p.User, p.New} {
		err := view.Tree(ctx, func(e tree.Entry) error {
			if p.pins.of(e.Path) != nil && !p.pins.excludes(e.Path) {
				paths[e.Path] = true
			}
			leads := func(one pin) bool { return one.LeadsTo(e.Path) }
			if e.Kind == tree.Directory && !slices.ContainsFunc(p.pins.active, leads) {
				return fs.SkipDir
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("look for what is pinned: %w", err)
		}
	}
	for _, name := range slices.SortedFunc(maps.Keys(paths), sides.ComparePaths) {
		if err := p.fixPin(name); err != nil {
			return err
		}
	}
	return nil
}

// fixPin decides on a pinned path.
func (p *planner) fixPin(was string) error {
	one := p.pins.of(was)
	to, ok, err := p.destination(was)
	if err != nil {
		return err
	}
	if !ok {
		p.hold(report.HoldPin, was, fmt.Sprintf("/%s is pinned (%s), but the new base has no directory for it", was, one.reason))
		return nil
	}
	t, err := p.Moved(was, to)
	if err != nil {
		return err
	}
	if _, taken := p.pins.fixed[to]; taken {
		if t.U.Absent() {
			return nil
		}
		if t.Path, err = p.freeName(beside(to, asideSuffix)); err != nil { // another pinned one is where this would go
			return err
		}
	}
	if err := p.own(&t); err != nil {
		return err
	}
	same, err := sides.Compare(t)
	if err != nil {
		return err
	}
	d := decision{
		verdict: report.Keep, rule: "H11", driver: "pins", reason: "pinned", result: sides.Shows(t.U),
		quiet: same.NU && (t.U.Absent() || sides.SameMeta(t.U.Kind, t.U.Meta, t.N.Meta)),
	}
	if one.reason != "" {
		d.reason += ": " + one.reason
	}
	if one.doubted {
		d.reason += "; the pin is over by the clock of the machine, which is not believed yet"
	}
	if !d.quiet {
		p.pins.report[one.report].Kept++
		if same.OU {
			if err := p.withhold(t); err != nil {
				return err
			}
		}
	}
	if err := p.apply(t, d); err != nil {
		return err
	}
	p.pins.fixed[t.Path] = p.counted(t.Path, d.result)
	return nil
}

// destination returns where a pinned path is in the result: elsewhere if a directory that it is in, and that is not pinned,
// is a link to another in the new base. It reports false when it cannot be anywhere.
func (p *planner) destination(was string) (string, bool, error) {
	names := strings.Split(was, "/")
	for i := 1; i < len(names); i++ {
		dir := path.Join(names[:i]...)
		if p.pins.of(dir) != nil {
			return was, true, nil
		}
		n, err := sides.Lookup(p.New, dir)
		if err != nil {
			return "", false, err
		}
		switch {
		case n.Absent():
			return was, true, nil
		case n.Is(tree.Symlink):
			target, ok, err := p.linkTarget(dir)
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

// keepPins undoes what was decided, with other paths, about pinned and excluded ones.
func (p *planner) keepPins() {
	maps.Copy(p.want, p.pins.fixed)
	if len(p.pins.excluded)+len(p.pins.passed) == 0 {
		return
	}
	maps.DeleteFunc(p.want, func(name string, _ sides.Outcome) bool { return p.pins.excludes(name) })
	p.findings = slices.DeleteFunc(p.findings, func(f finding) bool { return p.pins.excludes(f.Path) })
}
