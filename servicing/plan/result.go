// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"maps"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// result is the decided paths of a plan. All others show what they would show without side effects.
type result struct {
	views  *sides.Views
	policy policy.Policy
	pins   *Pins

	want     map[string]sides.Outcome
	fixed    map[string]sides.Outcome // what is pinned, by path in the result
	findings []finding
	quiet    map[report.Verdict]int // decisions of which there is nothing to tell
	holds    []report.Reason
	attrs    attributes // what is held of them
	beside   besides
}

func newResult(v *sides.Views, p policy.Policy, s *Pins) *result {
	return &result{
		views: v, policy: p, pins: s, want: make(map[string]sides.Outcome), fixed: make(map[string]sides.Outcome),
		quiet: make(map[report.Verdict]int), beside: newBesides(),
	}
}

// finding is a decision about a path.
type finding struct {
	sides.Three
	Decision
}

// At returns what was decided to stand at a path. It reports false where nothing was decided.
func (r *result) At(name string) (sides.Outcome, bool) {
	o, decided := r.want[name]
	return o, decided
}

// Seen returns what will be seen at a path whose parents are seen.
func (r *result) Seen(name string) (sides.Node, error) {
	if o, decided := r.want[name]; decided {
		return o.Node, nil
	}
	return sides.Lookup(r.views.Plain, name)
}

// isFixed reports whether a path is pinned.
func (r *result) isFixed(name string) bool {
	_, fixed := r.fixed[name]
	return fixed
}

// Decide records a decision, and puts beside what it says.
func (r *result) Decide(t sides.Three, d Decision) error {
	if _, fixed := r.fixed[t.Path]; fixed {
		return nil
	}
	d = r.settleMeta(t, d)
	if d.Aside && !sides.KeptBeside(t.U) && !t.U.Absent() {
		d.Aside, d.Reason = false, d.Reason+"; "+notKept(t.U)
	}
	if d.Verdict != report.Remap { // the same account, by another id
		var err error
		if d.Result, err = sides.WithoutGain(t, d.Result); err != nil {
			return err
		}
	}
	if t.Was != t.Path && d.Result.View == r.views.User && d.Result.View != nil {
		d.Verdict, d.Quiet = report.Relocate, false
		d.Reason = fmt.Sprintf("was %s: %s", tree.Shown(t.Was), d.Reason)
	}
	if d.Quiet {
		r.quiet[d.Verdict]++
	} else {
		told := d
		told.Result.Node = d.Result.WithoutAttributes()
		r.findings = append(r.findings, finding{t.WithoutAttributes(), told})
	}
	if d.Quiet && t.O.Absent() && t.N.Absent() {
		return nil // it is shown without side effects; a storage can have a great many of these
	}
	r.show(t.Path, d.Result)
	switch {
	case d.Beside && !t.N.Absent():
		r.putBeside(t)
	case d.Aside && !t.U.Absent():
		return r.putAside(t)
	}
	return nil
}

// DecideAlways is Decide; what it decides counts also where neither base has anything.
func (r *result) DecideAlways(t sides.Three, d Decision) error {
	if err := r.Decide(t, d); err != nil {
		return err
	}
	r.show(t.Path, d.Result)
	return nil
}

// Reopen drops what was reported about a path: it is decided on once more.
func (r *result) Reopen(name string) {
	r.findings = slices.DeleteFunc(r.findings, func(f finding) bool { return f.Path == name })
}

// Hide makes nothing stand at a path, without a word in the report.
func (r *result) Hide(name string) { r.show(name, sides.Nothing()) }

// SoFar shows what was decided until now.
func (r *result) SoFar() *sides.Scene {
	var effects []sides.Effect
	for name, o := range r.want {
		effects = append(effects, sides.Effect{At: name, Whiteout: o.Absent(), Outcome: o})
	}
	return sides.NewScene(r.views.Plain, effects)
}

// fix keeps a pinned path as it was decided, whatever is decided later.
func (r *result) fix(name string, o sides.Outcome) { r.fixed[name] = r.counted(name, o) }

// keepPins undoes what was decided, with other paths, about pinned and excluded ones.
func (r *result) keepPins() {
	maps.Copy(r.want, r.fixed)
	if len(r.pins.excluded)+len(r.pins.passed) == 0 {
		return
	}
	maps.DeleteFunc(r.want, func(name string, _ sides.Outcome) bool { return r.pins.excludes(name) })
	r.findings = slices.DeleteFunc(r.findings, func(f finding) bool { return r.pins.excludes(f.Path) })
}

// Decision is a verdict with its grounds and its result.
type Decision struct {
	Verdict report.Verdict
	Rule    string // the case or rule it follows from, as in the list of cases
	Driver  string
	Reason  string
	Result  sides.Outcome
	Beside  bool // put the new base's version beside
	Aside   bool // put the user's version beside
	Quiet   bool // nothing worth reporting unless there is a side effect
}
