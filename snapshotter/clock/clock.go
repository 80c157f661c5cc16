// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package clock decides how far the clock of the machine is believed. What cannot be undone (to forget a rollback point
// because it is old) must not follow from one look at a clock that is wrong for a moment: at a start before the time
// was set over the network, or in a guest that was resumed.
//
// A [Clock] knows a time that has certainly been reached. It moves on with the monotonic clock, which also counts while
// the machine sleeps, but not while it is off. The wall clock moves it on only after it has gone on evenly for
// [Settled] on the monotonic clock in one boot of the machine. A wall clock that goes back is followed at once: that
// makes nothing old.
package clock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/records"
)

// Settled is for how long on the monotonic clock the wall clock must go on evenly to be believed when it is ahead.
const Settled = time.Hour

// written is when this was written, which has certainly been reached.
var written = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	// slack is by how much a wall clock may differ between two looks from one that goes on evenly: it is corrected a
	// little now and then, by a share of the time at most.
	slack = 2 * time.Second
	share = 1000
	// saveEvery is how much monotonic time a crash may make a clock lose.
	saveEvery = 10 * time.Minute
)

// Reading is one look at the clocks of the machine.
type Reading struct {
	Wall time.Time `json:"wall"`
	Boot string    `json:"boot"` // names the boot of the machine
	// Up is the time since the machine was booted, with the time that it slept.
	Up time.Duration `json:"up"`
}

// Read looks at the clocks of the machine.
func Read() (Reading, error) {
	boot, err := Boot()
	if err != nil {
		return Reading{}, err
	}
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return Reading{}, fmt.Errorf("read the monotonic clock: %w", err)
	}
	return Reading{Wall: time.Now().UTC(), Boot: boot, Up: time.Duration(up.Nano())}, nil
}

// Boot returns the name of the current boot of the machine.
func Boot() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("identify this boot: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// Moment is what is known of the time at a look.
type Moment struct {
	// Wall is what the clock of the machine says.
	Wall time.Time
	// Sure has certainly been reached; the zero time when the clocks could not be read.
	Sure time.Time
	// Up is the time on the monotonic clock, to measure by how much two moments are apart in one process.
	Up time.Duration
}

// Doubted reports whether something is over by the clock of the machine that is not certainly over.
func (m Moment) Doubted(end time.Time) bool { return !m.Wall.Before(end) && m.Sure.Before(end) }

// state is what is kept between starts.
type state struct {
	Last Reading   `json:"last"`          // the last look
	Sure time.Time `json:"sure,omitzero"` // what was certainly reached at it
	// Even is for how long on the monotonic clock the wall clock has gone on evenly.
	Even time.Duration `json:"even"`
	// Highest is the latest time that was ever certain: what is recorded must not be older, whatever the wall clock
	// says.
	Highest time.Time `json:"highest,omitzero"`
}

// Clock is what is believed of the time. It is safe for concurrent use.
type Clock struct {
	path string
	read func() (Reading, error)

	mu    sync.Mutex
	state state
	saved state
}

// Open returns the clock whose state is kept in the file at path, which need not exist. Where it cannot be read, the
// clock begins as one of which nothing is known, which only makes it careful, and the error says so.
func Open(path string, read func() (Reading, error)) (*Clock, error) {
	c := &Clock{path: path, read: read}
	var kept state
	_, err := records.ReadFile(path, &kept)
	switch {
	case err == nil:
		c.state, c.saved = kept, kept
	case !errors.Is(err, fs.ErrNotExist):
		return c, fmt.Errorf("read what is believed of the time: %w", err)
	}
	return c, nil
}

// Look looks at the clocks of the machine. When it fails with a moment that is not zero, that is right, and only could
// not be kept for the next start.
func (c *Clock) Look() (Moment, error) {
	r, err := c.read()
	if err != nil {
		return Moment{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = c.state.after(r)
	m := Moment{Wall: r.Wall, Sure: c.state.Sure, Up: r.Up}
	s := c.saved
	if s.Last.Boot == r.Boot && r.Up-s.Last.Up < saveEvery && (s.Even < Settled) == (c.state.Even < Settled) {
		return m, nil
	}
	return m, c.save()
}

// Save keeps what is known for the next start.
func (c *Clock) Save() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.save()
}

func (c *Clock) save() error {
	if c.state == c.saved {
		return nil
	}
	if err := records.WriteFile(c.path, 0, c.state); err != nil {
		return fmt.Errorf("keep what is believed of the time: %w", err)
	}
	c.saved = c.state
	return nil
}

// Stamp returns the time to record for something that happens now: what the clock of the machine says, but never less
// than what was certain before, so that nothing looks old because it was made while the clock was behind.
func (c *Clock) Stamp(wall time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if wall.Before(c.state.Highest) {
		return c.state.Highest
	}
	return wall
}

// after returns what is known after another look.
func (s state) after(r Reading) state {
	elapsed := r.Up // at least that has passed since a look in an earlier boot
	if r.Boot == s.Last.Boot {
		elapsed = r.Up - s.Last.Up
	}
	s.Even = s.even(r, elapsed)
	if s.Sure.IsZero() {
		s.Sure = written
	}
	s.Sure = s.Sure.Add(max(0, elapsed))
	if s.Even >= Settled || r.Wall.Before(s.Sure) {
		s.Sure = r.Wall
	}
	if s.Sure.After(s.Highest) {
		s.Highest = s.Sure
	}
	s.Last = r
	return s
}

// even returns for how long the wall clock has gone on evenly, with the time that has elapsed until a look. Nobody can
// tell how long the machine was off: each boot begins with a clock that may have been set wrong.
func (s state) even(r Reading, elapsed time.Duration) time.Duration {
	moved := r.Wall.Sub(s.Last.Wall)
	if r.Boot != s.Last.Boot || (moved-elapsed).Abs() > slack+elapsed/share {
		return 0
	}
	return min(s.Even+elapsed, Settled)
}
