// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package use

import (
	"testing"
	"time"
)

// TestClockSetBack: an event of an earlier task comes late, and has a time that is later than that of the mounts,
// because the clock was set back. It does not end the doubt about them.
func TestClockSetBack(t *testing.T) {
	for name, c := range map[string]struct {
		back     time.Duration
		stamp    time.Duration
		doubtful bool
	}{
		"an event of this task, with a clock that runs on": {0, time.Second, false},
		"an earlier event, with a clock that runs on":      {0, -time.Second, true},
		"an earlier event, with a clock that was set back": {time.Hour, time.Minute, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHanded(time.Hour)
			h.clock.ahead = c.back // as far ahead it was when it was last looked at
			h.out("key", nil)
			h.released("key", time.Now().Add(c.stamp))
			if got := h.recently("key"); got != c.doubtful {
				t.Errorf("there is doubt: %t", got)
			}
		})
	}
}
