// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package clock_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
)

// machine has clocks that go as the test says.
type machine struct {
	t    *testing.T
	path string
	is   clock.Reading
	err  error
	*clock.Clock
}

var epoch = time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)

func newMachine(t *testing.T) *machine {
	m := &machine{t: t, path: filepath.Join(t.TempDir(), "clock"), is: clock.Reading{Wall: epoch, Boot: "one", Up: time.Minute}}
	m.open()
	return m
}

func (m *machine) open() {
	m.t.Helper()
	var err error
	if m.Clock, err = clock.Open(m.path, func() (clock.Reading, error) { return m.is, m.err }); err != nil {
		m.t.Fatal(err)
	}
}

// restart ends the process as a crash does, or in order.
func (m *machine) restart(orderly bool) {
	m.t.Helper()
	if orderly {
		if err := m.Save(); err != nil {
			m.t.Fatal(err)
		}
	}
	m.open()
}

// pass lets time pass, with a look each minute.
func (m *machine) pass(d time.Duration) {
	for ; d > 0; d -= time.Minute {
		m.is.Wall, m.is.Up = m.is.Wall.Add(min(d, time.Minute)), m.is.Up+min(d, time.Minute)
		m.look()
	}
}

func (m *machine) look() clock.Moment {
	m.t.Helper()
	now, err := m.Look()
	if err != nil {
		m.t.Fatal(err)
	}
	return now
}

func (m *machine) boot(name string, wall time.Time) {
	m.is = clock.Reading{Wall: wall, Boot: name, Up: 10 * time.Second}
	m.restart(true)
}

// expect checks by how much the wall clock is ahead of what is certain.
func (m *machine) expect(ahead time.Duration, when string) {
	m.t.Helper()
	now := m.look()
	if got := now.Wall.Sub(now.Sure); got != ahead || now.Sure.After(now.Wall) {
		m.t.Errorf("%s: the clock is %v ahead of what is certain, want %v", when, got, ahead)
	}
}

// settled is a machine whose clock is believed.
func settled(t *testing.T) *machine {
	m := newMachine(t)
	m.pass(clock.Settled + time.Minute)
	m.expect(0, "after the clock has gone on evenly")
	return m
}

func TestFirst(t *testing.T) {
	m := newMachine(t)
	m.pass(clock.Settled - time.Minute)
	if now := m.look(); !now.Doubted(epoch) || now.Doubted(epoch.AddDate(-1, 0, 0)) {
		t.Errorf("before the clock has gone on evenly for long enough, %v is certain", now)
	}
	m.restart(true)
	m.pass(2 * time.Minute)
	m.expect(0, "when it has, over a restart")
}

// TestAheadForOneStart: a clock that is 800 hours ahead at one start makes nothing certain.
func TestAheadForOneStart(t *testing.T) {
	const ahead = 800 * time.Hour
	for _, orderly := range []bool{true, false} {
		m := settled(t)
		m.restart(orderly)
		m.is.Wall = m.is.Wall.Add(ahead)
		m.expect(ahead, "in the start that is ahead")
		m.pass(4 * time.Second)
		m.expect(ahead, "some seconds later")
		m.restart(orderly)
		m.is.Wall = m.is.Wall.Add(-ahead)
		m.expect(0, "with the right clock")
		m.pass(time.Minute)
		m.expect(0, "a minute later")
	}
}

func TestAheadAtBoot(t *testing.T) {
	const off = 60 * 24 * time.Hour
	m := settled(t)
	m.boot("two", m.is.Wall.Add(off))
	m.expect(off-10*time.Second, "at boot")
	m.pass(clock.Settled - time.Minute)
	m.expect(off-10*time.Second, "before it has gone on evenly")
	m.boot("three", m.is.Wall)
	m.pass(2 * time.Minute)
	if now := m.look(); now.Sure.Equal(now.Wall) {
		t.Error("two boots together are taken for one")
	}
	m.pass(clock.Settled)
	m.expect(0, "after it has gone on evenly")
}

func TestStepsForward(t *testing.T) {
	m := settled(t)
	m.is.Wall = m.is.Wall.Add(time.Hour)
	m.expect(time.Hour, "after a step")
	m.pass(30 * time.Minute)
	m.is.Wall = m.is.Wall.Add(time.Minute)
	m.pass(50 * time.Minute)
	m.expect(61*time.Minute, "as long as it steps again and again")
	m.pass(11 * time.Minute)
	m.expect(0, "when it has gone on evenly")
}

// TestSlightlyUneven: that a clock is corrected a little does not keep it from being believed.
func TestSlightlyUneven(t *testing.T) {
	m := newMachine(t)
	for range 62 {
		m.pass(time.Minute)
		m.is.Wall = m.is.Wall.Add(time.Second)
		m.look()
	}
	m.expect(0, "after a correction each minute")
}

// TestSleep: what the machine slept through is certain, for the monotonic clock counts it.
func TestSleep(t *testing.T) {
	m := settled(t)
	m.is.Wall, m.is.Up = m.is.Wall.Add(48*time.Hour), m.is.Up+48*time.Hour
	m.expect(0, "after the machine slept")
}

// TestBack: a clock that goes back is followed, and when it comes forward again it is doubted again; what is recorded
// in between is not older than what was before.
func TestBack(t *testing.T) {
	m := settled(t)
	right := m.is.Wall
	m.is.Wall = time.Unix(0, 0).UTC()
	m.expect(0, "after it went back")
	if at := m.Stamp(m.is.Wall); at.Before(right) {
		t.Errorf("recorded as of %v, after %v was certain", at, right)
	}
	if at, later := m.Stamp(right.Add(time.Hour)), right.Add(time.Hour); !at.Equal(later) {
		t.Errorf("%v is recorded as %v", later, at)
	}
	m.is.Wall = right
	if now := m.look(); !now.Doubted(right) {
		t.Errorf("a clock that comes forward again is believed: %+v", now)
	}
	m.pass(clock.Settled + time.Minute)
	m.expect(0, "after it has gone on evenly")
}

func TestDamaged(t *testing.T) {
	m := settled(t)
	if err := m.Save(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := clock.Open(m.path, func() (clock.Reading, error) { return m.is, nil })
	if err == nil {
		t.Error("a damaged file is not told of")
	}
	if now, err := c.Look(); err != nil || !now.Doubted(epoch) {
		t.Errorf("got %+v, %v", now, err)
	}
}

func TestFailures(t *testing.T) {
	m := settled(t)
	m.err = errors.New("no clock")
	if now, err := m.Look(); !errors.Is(err, m.err) || now != (clock.Moment{}) {
		t.Errorf("got %+v, %v", now, err)
	}
	m.err = nil
	if err := os.RemoveAll(filepath.Dir(m.path)); err != nil {
		t.Fatal(err)
	}
	m.is.Wall, m.is.Up = m.is.Wall.Add(time.Hour), m.is.Up+time.Hour
	if now, err := m.Look(); err == nil || !now.Sure.Equal(m.is.Wall) {
		t.Errorf("where nothing can be kept, got %+v, %v", now, err)
	}
}

func TestRead(t *testing.T) {
	a, err := clock.Read()
	if err != nil {
		t.Fatal(err)
	}
	b, err := clock.Read()
	if err != nil || a.Boot == "" || a.Boot != b.Boot || b.Up < a.Up || a.Up <= 0 {
		t.Errorf("got %+v, then %+v, %v", a, b, err)
	}
}
