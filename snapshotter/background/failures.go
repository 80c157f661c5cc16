// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package background

import (
	"time"
)

// logAgain is how long at most the log keeps silent about a failure that goes on.
const logAgain = 24 * time.Hour

// failures remembers which steps of the work in the background fail, so that one that fails for ever is neither tried
// nor logged every few seconds. The zero value remembers none.
type failures map[string]*failure

type failure struct {
	text  string        // of the error, as it was logged
	times int           // in succession, whatever the error
	at    time.Time     // when it was logged last
	quiet time.Duration // how long the same is not logged again
}

// failed notes that a step failed. It returns whether that should be logged, and how soon the step should be tried
// again.
func (f failures) failed(step string, err error, now time.Time) (log bool, again time.Duration) {
	one := f[step]
	if one == nil {
		one = &failure{}
		f[step] = one
	}
	again = min(Again<<min(one.times, 10), Every)
	one.times++
	switch same := one.text == err.Error(); {
	case !same:
		one.text, one.quiet = err.Error(), Every
	case now.Sub(one.at) < one.quiet:
		return false, again
	default:
		one.quiet = min(2*one.quiet, logAgain)
	}
	one.at = now
	return true, again
}

// succeeded notes that a step did not fail.
func (f failures) succeeded(step string) { delete(f, step) }
