// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
)

// reference is what a life without a crash was like.
type reference struct {
	states   []sight           // before the first step, and after each one
	had      map[string]bool   // every tree that a storage ever had
	trees    map[string]string // listings by their digests
	steps    []step
	compared atomic.Int64
}

// remember makes a reference of a life.
func remember(l *life) (*reference, error) {
	r := &reference{had: map[string]bool{}, trees: map[string]string{}, steps: script()}
	for _, said := range l.reports {
		switch said.Kind {
		case treeReport:
			r.trees[said.Tree] = said.Text
		case opened, done:
			r.states = append(r.states, said.State)
			for subject, tree := range said.State {
				if strings.HasPrefix(subject, "storage ") {
					r.had[tree] = true
				}
			}
		case failed, wrong:
			return nil, fmt.Errorf("step %d (%s): %s", said.Step, r.name(said.Step), said.Text)
		}
	}
	if len(r.states) != len(r.steps)+1 || !l.has(finally) {
		return nil, fmt.Errorf("it ended after %d of %d steps: %v\n%s", len(r.states)-1, len(r.steps), l.cmd.ProcessState, l.lastWords())
	}
	return r, nil
}

func (r *reference) name(step int) string {
	if step < 0 || step >= len(r.steps) {
		return "none"
	}
	return r.steps[step].name
}

// judge returns what is not as it has to be in a life that may have gone on from where another one was broken off. A step
// that was broken off, or failed, has left each subject as it was before the step or as it is after it.
func (r *reference) judge(l *life) (faults []string) {
	trees := map[string]string{}
	for _, said := range l.reports {
		fault := func(what string) {
			faults = append(faults, fmt.Sprintf("%s at step %d (%s): %s", said.Kind, said.Step, r.name(said.Step), what))
		}
		switch said.Kind {
		case treeReport:
			trees[said.Tree] = said.Text
		case opened:
			if said.State == nil {
				continue
			}
			r.between(said, max(said.Step, l.until), trees, fault)
		case failed:
			if said.Step >= 0 && said.State != nil {
				r.between(said, said.Step, trees, fault)
			}
			if !l.broken() {
				fault(said.Text)
			}
		case done:
			if said.State == nil {
				continue
			}
			if said.Step < l.until { // gone back to: what the one before did after it is there already
				r.between(said, l.until, trees, fault)
				continue
			}
			r.same(said, trees, fault)
		case wrong:
			if !l.madeToFail(said.Text) {
				fault(said.Text)
			}
		}
	}
	if !l.has(finally) && !l.broken() {
		faults = append(faults, fmt.Sprintf("it ended at step %d (%s): %v\n%s", l.next(), r.name(l.next()), l.cmd.ProcessState, l.lastWords()))
	}
	return faults
}

// between compares a state with those from before a step to after a further one.
func (r *reference) between(said report, until int, trees map[string]string, fault func(string)) {
	possible := slices.Clone(r.states[said.Step:min(until+2, len(r.states))])
	under := together(r.steps[said.Step:min(until+1, len(r.steps))]...)
	for _, subject := range subjects(append(possible, said.State)...) {
		now := said.State[subject]
		r.compared.Add(1)
		as := func(s sight) bool { return s[subject] == now }
		if slices.ContainsFunc(possible, as) || r.excused(said.Step, under, subject, now, possible) {
			continue
		}
		fault(fmt.Sprintf("%s is neither as before nor as after\nbefore: %s\nafter: %s", subject,
			r.difference(possible[0][subject], now, trees), r.difference(possible[len(possible)-1][subject], now, trees)))
	}
	r.returns(said, trees, fault)
}

// excused reports whether a step that was broken off may have left a subject as it is now, though it was so neither before
// the step nor after it.
func (r *reference) excused(step int, s step, subject, now string, possible []sight) bool {
	if slices.Contains(s.loose, subject) {
		return true
	}
	if strings.HasPrefix(now, damaged+"the machine stopped") || strings.HasPrefix(now, damaged+"the disk failed") {
		return slices.Contains(s.layers, subject)
	}
	if r.pulledAgain(step, subject, now) {
		return true
	}
	if own, ok := strings.CutPrefix(subject, "holder of "+storage("")); ok {
		free := strings.TrimSuffix(now, waits) + waitsNot
		return strings.HasSuffix(now, waits) && slices.Contains(s.waiting, own) &&
			slices.ContainsFunc(possible, func(s sight) bool { return s[subject] == free })
	}
	own, _ := strings.CutPrefix(subject, "storage "+storage(""))
	return slices.Contains(s.elsewhere, own) && r.had[now]
}

// pulledAgain reports whether a layer is damaged because the disk failed, which is found in the background after it was pulled,
// and whether a later step is still to see to that.
func (r *reference) pulledAgain(step int, subject, now string) bool {
	if !strings.HasPrefix(now, damaged+"the disk failed") || step < 0 || step+1 >= len(r.steps) || !r.steps[step+1].pulls {
		return false
	}
	return slices.Contains(together(r.steps[:step+1]...).layers, subject)
}

// same compares a state with the one after a step.
func (r *reference) same(said report, trees map[string]string, fault func(string)) {
	want := r.states[said.Step+1]
	for _, subject := range subjects(want, said.State) {
		r.compared.Add(1)
		if now := said.State[subject]; now != want[subject] && !r.pulledAgain(said.Step, subject, now) {
			fault(subject + " is not as it has to be: " + r.difference(want[subject], now, trees))
		}
	}
	r.returns(said, trees, fault)
}

// returns looks whether all that storages can return to is what a storage once was.
func (r *reference) returns(said report, trees map[string]string, fault func(string)) {
	for name, kept := range said.Kept {
		for _, tree := range kept {
			r.compared.Add(1)
			if !r.had[tree] {
				fault(fmt.Sprintf("storage %s can return to what no storage ever was:\n%s", name, trees[tree]))
			}
		}
	}
}

func subjects(states ...sight) []string {
	all := map[string]bool{}
	for _, s := range states {
		for subject := range s {
			all[subject] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// difference tells how two descriptions differ, by the lines of their trees.
func (r *reference) difference(want, now string, trees map[string]string) string {
	wanted, known := r.trees[want]
	is, known2 := trees[now]
	if !known || !known2 {
		return fmt.Sprintf("want %q, is %q", want, now)
	}
	var text strings.Builder
	a, b := strings.Split(wanted, "\n"), strings.Split(is, "\n")
	for _, line := range a {
		if !slices.Contains(b, line) {
			text.WriteString("\n- " + line)
		}
	}
	for _, line := range b {
		if !slices.Contains(a, line) {
			text.WriteString("\n+ " + line)
		}
	}
	return text.String()
}
