// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
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
