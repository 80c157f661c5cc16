// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// clocks are those of a machine, and go as the test says.
type clocks struct {
	mu sync.Mutex
	is clock.Reading
}

func (c *clocks) read() (clock.Reading, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.is, nil
}

func (c *clocks) set(wall time.Time, up time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.is = clock.Reading{Wall: wall, Boot: "boot", Up: up}
}

// aged is a fixture with three storages, each with two rollback points, on a machine whose clock is believed.
type aged struct {
	*fixture
	clocks *clocks
	begun  time.Time
	up     time.Duration
}

const month = 30 * 24 * time.Hour

func newAged(t *testing.T) aged {
	t.Helper()
	c := &clocks{}
	begun := time.Now().UTC()
	c.set(begun, 0)
	a := aged{newFixture(t, snapshotter.WithClock(c.read), snapshotter.WithRetention(state.Retention{Points: 3, Age: month})), c, begun, 0}
	bases := []string{a.layer("one", "", map[string]string{"version": "1"})}
	for _, v := range []string{"two", "three"} {
		bases = append(bases, a.layer(v, bases[0], map[string]string{"version": v}))
	}
	names := []string{"test/a", "test/b", "test/c"}
	for _, name := range names {
		own := strings.TrimPrefix(name, "test/")
		a.write(a.container(own, bases[0], own), "own", own)
	}
	a.update(bases[0], bases[1], names...)
	a.update(bases[1], bases[2], names...)
	a.evenly(clock.Settled + time.Minute)
	return a
}

// evenly lets time pass on all clocks.
func (a *aged) evenly(d time.Duration) {
	for range 3 { // a clock is believed after looks at it, not at the first
		a.up += d / 3
		a.clocks.set(a.begun.Add(a.up), a.up)
		a.must(a.Retire(a.t.Context()))
	}
}

func (a *aged) points() (n int) {
	a.State().Graph(func(g *dag.Graph) {
		for _, st := range g.Storages() {
			n += len(st.Points)
		}
	})
	return n
}

func (a *aged) expectPoints(want int, when string) {
	a.t.Helper()
	a.must(a.Retire(a.t.Context()))
	if got := a.points(); got != want {
		a.t.Fatalf("%s there are %d rollback points, want %d", when, got, want)
	}
}

// TestClockAheadForOneStart: no point is forgotten because the clock is 800 hours ahead at one start.
func TestClockAheadForOneStart(t *testing.T) {
	a := newAged(t)
	for range 2 {
		a.close()
		a.clocks.set(a.begun.Add(a.up+800*time.Hour), a.up+4*time.Second)
		a.open()
		a.expectPoints(6, "with a clock that is ahead")
		a.expectProblem("test/a", "clock", "not believed")
		a.close()
		a.up += 8 * time.Second
		a.clocks.set(a.begun.Add(a.up), a.up)
		a.open()
		a.expectPoints(6, "after it")
	}
}

// captured returns what is logged from now on.
func captured(t *testing.T) func() string {
	var (
		mu  sync.Mutex
		out bytes.Buffer
	)
	logger := log.L.Logger
	before := logger.Out
	logger.SetOutput(writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return out.Write(p)
	}))
	t.Cleanup(func() { logger.SetOutput(before) })
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return out.String()
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestForgottenOneByOne: what is certainly too old is forgotten a state at a time, and the log says which.
func TestForgottenOneByOne(t *testing.T) {
	a := newAged(t)
	logged := captured(t)
	a.expectPoints(6, "before they are old")
	a.up += month
	a.clocks.set(a.begun.Add(a.up), a.up)
	for left := 5; left >= 0; left-- {
		a.expectPoints(left, "after another minute")
		a.expectPoints(left, "in the same minute")
		if n := strings.Count(logged(), "forgot a state"); n != 6-left {
			t.Errorf("the log tells of %d: %s", n, logged())
		}
		a.up += time.Minute
		a.clocks.set(a.begun.Add(a.up), a.up)
	}
	for _, name := range []string{"storage=test/a", "storage=test/b", "storage=test/c", "update=u1", "update=u2", "age="} {
		if !strings.Contains(logged(), name) {
			t.Errorf("the log does not tell of %s: %s", name, logged())
		}
	}
}

// TestPinUnderDoubtfulClock: a pin is not over because the clock is ahead for a moment, and the report says why it is
// kept.
func TestPinUnderDoubtfulClock(t *testing.T) {
	a := newAged(t)
	one := a.layer("conf", "", map[string]string{"conf": "1"})
	two := a.layer("conf2", "", map[string]string{"conf": "2"})
	key := a.container("pinned", one, "pinned")
	a.write(key, "own", "x")
	_, err := a.Settings().Configure(t.Context(), "test/pinned", func(o *servicing.Options) {
		o.Pins = append(o.Pins, servicing.Pin{Path: "conf", Expires: a.begun.Add(400 * time.Hour)})
	})
	a.must(err)
	a.clocks.set(a.begun.Add(a.up+800*time.Hour), a.up+4*time.Second)
	a.expectProblem("test/pinned", "no longer pinned", "not believed")
	u := a.update(one, two, "test/pinned")
	a.expect(key, "conf", "1")
	report, err := a.Report(u.ID, "test/pinned")
	a.must(err)
	if !slices.ContainsFunc(report.Pins, func(p servicing.PinReport) bool { return p.Doubted && !p.Expired }) {
		t.Errorf("the report tells of pins %+v", report.Pins)
	}
}
