// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// calls kills the victim at system calls spread over all those that change something on disk, and has others fail.
func (m *matrix) calls(t *testing.T, each, onward int) {
	calls := m.howMany(t, supervised{})
	flushes := m.howMany(t, supervised{flush: true})
	t.Logf("%d system calls change something, %d of them put it on disk", calls, flushes)
	m.each(t, m.spread(calls, each, supervised{}), func(t *testing.T, deaths []death) { m.dies(t, deaths...) })
	for _, stop := range []bool{false, true} {
		m.each(t, m.spread(calls, each, supervised{what: unix.ENOSPC, stop: stop}), m.errs)
		m.each(t, m.spread(calls, each, supervised{what: unix.EIO, stop: stop}), m.errs)
		m.each(t, m.spread(flushes, each, supervised{what: unix.EIO, stop: stop, flush: true}), m.errs)
	}
	m.each(t, m.spread(calls, onward, supervised{what: unix.ENOSPC, on: true, stop: true}), m.errs)
}

// howMany counts the calls in a life.
func (m *matrix) howMany(t *testing.T, s supervised) int {
	s = newSupervised(s)
	l := m.lived(order{Root: m.root()}, s)
	if !l.has(finally) {
		t.Fatalf("a victim that is supervised ended at step %d: %v\n%s", l.next(), l.cmd.ProcessState, l.lastWords())
	}
	return *s.counted
}

// spread returns deaths at calls that are spread over all, each at a random one of its share.
func (m *matrix) spread(all, number int, s supervised) (cases [][]death) {
	number = min(number, all)
	for i := range number {
		low, high := i*all/number, (i+1)*all/number
		s.from = 1 + low + m.chance.IntN(high-low)
		cases = append(cases, []death{newSupervised(s)})
	}
	return cases
}

// errs has calls of the victim fail. A single error keeps it from nothing: it tries again and goes on. Or it gives up, and its
// successor, to which nothing fails, goes on.
func (m *matrix) errs(t *testing.T, deaths []death) {
	root := m.root()
	o := order{Root: root, Look: 1}
	s, _ := deaths[0].(supervised)
	if !s.stop {
		o.Retries = 2
	}
	l, err := live(o, s)
	if err != nil {
		t.Errorf("%v: %v", s, err)
		return
	}
	faults := m.reference.judge(l)
	if !s.stop && !l.has(finally) {
		faults = append(faults, fmt.Sprintf("it gave up at step %d (%s)", l.next(), m.reference.name(l.next())))
	}
	m.count("errors")
	if m.verdict(t, l, deaths, faults) {
		m.goesOn(t, root, l.next(), deaths)
	}
}

// starts has the first flushes of a life fail, those of the new database: that is no damage of the old one.
func (m *matrix) starts(t *testing.T) {
	for flush := range 4 {
		m.errs(t, []death{newSupervised(supervised{from: flush + 1, what: unix.EIO, flush: true})})
	}
}

// pulls has flushes fail while layers are pulled, some of which put the layers on disk: what is not known to be there is pulled
// again.
func (m *matrix) pulls(t *testing.T) {
	pulled := slices.IndexFunc(m.reference.steps, func(s step) bool { return !s.pulls })
	for k := 1; k < pulled; k++ {
		for flush := range 3 {
			m.errs(t, []death{newSupervised(supervised{from: flush + 1, what: unix.EIO, flush: true, step: k})})
		}
	}
}

// commits has the flushes of rollbacks fail. A change whose last flush fails counts as one that was not made, but it is in the
// file of the database and comes back with the next start. What it refers to must be there then.
func (m *matrix) commits(t *testing.T) {
	for k, s := range m.reference.steps {
		if !strings.Contains(s.name, "roll ") {
			continue
		}
		// The first flush is that of the new nodes, the others are those of the database: data, and what makes them count.
		for flush := range 3 {
			d := newSupervised(supervised{from: flush + 1, what: unix.EIO, stop: true, flush: true, step: k})
			m.errs(t, []death{d})
		}
	}
}
