// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"
)

// envTime is how long to soak, envSeed a seed that repeats the draws of each client, and not how they interleave.
const (
	envTime = "MOLT_SOAK"
	envSeed = "MOLT_SOAK_SEED"
)

// inTests is how long the soak takes among the other tests.
const inTests = 15 * time.Second

// clients is how many clients the daemon has at once.
const clients = 4

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestSoak does random things until the time is over, and says how much that was.
func TestSoak(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	duration, seed := inTests, rand.Uint64()
	if text := os.Getenv(envTime); text != "" {
		var err error
		duration, err = time.ParseDuration(text)
		must(t, err)
	}
	if text := os.Getenv(envSeed); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		must(t, err)
	}
	t.Logf("seed %d", seed)
	w := newWorld(t)
	all := make([]*client, clients)
	for i := range all {
		all[i] = newClient(w, seed, i+1)
	}
	w.soak(all, &killer{world: w, random: rand.New(rand.NewPCG(seed, 0))}, duration)
	if !t.Failed() {
		w.compareAll(all)
		w.checkSound()
	}
	t.Logf("soaked for %v: %v", duration, &w.counts)
}

// soak lets the clients go on by themselves, and the daemon die now and then, until the time is over or something is
// wrong. When it returns the daemon runs.
func (w *world) soak(all []*client, k *killer, duration time.Duration) {
	over := make(chan struct{})
	var working, killing sync.WaitGroup
	killing.Go(func() { k.run(over) })
	for _, c := range all {
		working.Go(func() { c.run(over) })
	}
	select {
	case <-time.After(duration):
	case <-w.ctx.Done():
	}
	close(over)
	killing.Wait()
	working.Wait()
}
