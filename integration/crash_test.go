// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
)

// TestKilledWhileUpdating: the daemon dies at random moments of updates and rollbacks. Each time, every storage is exactly in
// its old or its new state, and the work can be repeated to its end. The seed is printed.
func TestKilledWhileUpdating(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, impatient())
	h.Import(app(t, 1))
	h.Import(app(t, 2))
	var containers []*harness.Container
	for i := range 4 {
		c := started(h, appName(1), fmt.Sprintf("c%d", i))
		shell(c, customise+fmt.Sprintf("; for n in $(seq 200); do echo %d >/var/data/f$n; done", i))
		c.Kill()
		containers = append(containers, c)
	}
	// What both states look like, once and for all.
	states := make([][2]listing, len(containers))
	for i, c := range containers {
		states[i][0] = listed(t, c)
	}
	h.Moltctl("update", "create", "--from", appName(1), "--to", appName(2))
	for i, c := range containers {
		states[i][1] = listed(t, c)
	}
	h.Moltctl("update", "rollback", "u1")

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	at := 0 // the state that all storages are in, or are moving away from
	for round := range 12 {
		command := []string{"update", "create", "--from", appName(1), "--to", appName(2)}
		if at == 1 {
			command = []string{"update", "rollback", "u" + lastUpdate(h)}
		}
		done := make(chan harness.Result, 1)
		go func() { done <- h.TryMoltctl(command...) }()
		time.Sleep(time.Duration(random.IntN(150)) * time.Millisecond)
		h.KillDaemon()
		<-done
		h.StartDaemon()
		settled(t, h)
		for i, c := range containers {
			now := listed(t, c)
			if !same(now, states[i][0]) && !same(now, states[i][1]) {
				t.Errorf("round %d: %s is in neither of its states", round, c.ID())
				sameTree(t, "than before", now, states[i][at])
			}
		}
		// Repeated to the end, all are where they should be.
		if at == 0 {
			h.TryMoltctl("update", "create", "--from", appName(1), "--to", appName(2))
		} else {
			h.TryMoltctl("update", "rollback", "u"+lastUpdate(h))
			rollBackAll(h)
		}
		at = 1 - at
		for i, c := range containers {
			sameTree(t, fmt.Sprintf("round %d, %s", round, c.ID()), listed(t, c), states[i][at])
		}
		if t.Failed() {
			return
		}
	}
	for i, c := range containers {
		c.Start()
		expect(t, c, "cat /var/data/f200", fmt.Sprintln(i))
	}
}

// settled waits until no update is under way.
func settled(t *testing.T, h *harness.Harness) {
	t.Helper()
	for range 600 {
		if list := h.Moltctl("update", "ls"); !strings.Contains(list, "staging") && !strings.Contains(list, "staged") {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("an update is under way for ever:\n%s", h.Moltctl("update", "ls"))
}

// rollBackAll rolls back every update that is applied to any storage.
func rollBackAll(h *harness.Harness) {
	for line := range strings.SplitSeq(h.Moltctl("update", "ls"), "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && fields[1] == "applied" {
			h.TryMoltctl("update", "rollback", fields[0])
		}
	}
}

func same(a, b listing) bool {
	if len(a) != len(b) {
		return false
	}
	for path, entry := range a {
		if b[path] != entry {
			return false
		}
	}
	return true
}
