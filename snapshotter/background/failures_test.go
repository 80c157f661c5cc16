// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package background

import (
	"errors"
	"testing"
	"time"
)

// TestFailuresBackOff: a step that fails for ever is tried at the usual pace and logged ever more rarely; another
// error is logged at once, and so is the same after a success.
func TestFailuresBackOff(t *testing.T) {
	f, at := failures{}, time.Now()
	logged, tries := 0, 0
	for end := at.Add(48 * time.Hour); at.Before(end); tries++ {
		log, again := f.failed("sweep", errors.New("stuck"), at)
		if log {
			logged++
		}
		if want := Again; tries == 0 && again != want {
			t.Errorf("tried again after %v, not %v", again, want)
		}
		if tries > 10 && again != Every {
			t.Fatalf("tried again after %v, not %v", again, Every)
		}
		at = at.Add(again)
	}
	if logged < 5 || logged > 15 {
		t.Errorf("logged %d times of %d in two days", logged, tries)
	}
	if log, again := f.failed("sweep", errors.New("something else"), at); !log || again != Every {
		t.Errorf("another error: %v, %v", log, again)
	}
	if log, _ := f.failed("merge", errors.New("stuck"), at); !log {
		t.Error("another step is not logged")
	}
	f.succeeded("sweep")
	if log, again := f.failed("sweep", errors.New("something else"), at); !log || again != Again {
		t.Errorf("after a success: %v, %v", log, again)
	}
}
