// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// killer lets the daemon die while all clients have something under way, and starts it again.
type killer struct {
	*world
	random *rand.Rand
}

// run kills until the soak is over.
func (k *killer) run(over <-chan struct{}) {
	for {
		delay := time.Duration(k.random.IntN(60_000)) * time.Microsecond
		pause := time.Duration(k.random.IntN(3_000)) * time.Millisecond
		if !k.pass(over, time.After(pause)) {
			return
		}
		select { // one from before the pause says nothing
		case <-k.underway.full:
		default:
		}
		if !k.passFull(over) || !k.pass(over, time.After(delay)) {
			return
		}
		if err := k.die(); err != nil {
			k.t.Errorf("let the daemon die: %v", err)
			k.stop(err)
			return
		}
	}
}

// passFull waits until all clients have something under way, and reports whether the soak goes on.
func (k *killer) passFull(over <-chan struct{}) bool {
	select {
	case <-k.underway.full:
		return true
	case <-over:
		return false
	}
}

func (k *killer) pass(over <-chan struct{}, timer <-chan time.Time) bool {
	select {
	case <-timer:
		return true
	case <-over:
		return false
	}
}

// die kills the daemon, damages its database now and then, and starts it.
func (k *killer) die() error {
	k.deaths.note("the daemon dies")
	if err := k.d.kill(); err != nil {
		return err
	}
	k.crashes.Add(1)
	how, err := k.damage()
	if err != nil {
		return fmt.Errorf("damage the database: %w", err)
	}
	if how != "" {
		k.damages.Add(1)
		k.deaths.note("damaged the database: %s", how)
	}
	if err := k.d.start(k.ctx); err != nil {
		return err
	}
	k.deaths.note("the daemon is back")
	return nil
}

// damage does something to the database now and then, while the daemon is down, and says what.
func (k *killer) damage() (how string, err error) {
	path := filepath.Join(k.d.path("root"), "graph.db")
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	switch k.random.IntN(20) {
	case 0:
		return "removed", os.Remove(path)
	case 1:
		return "truncated", os.Truncate(path, k.random.Int64N(info.Size()))
	case 2:
		content, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		for range 50 {
			content[k.random.IntN(len(content))] ^= byte(1 + k.random.IntN(255))
		}
		return "bytes changed", os.WriteFile(path, content, 0o600)
	}
	return "", nil
}
