// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
)

// envTime is how long to soak, envSeed a seed to repeat a run with.
const (
	envTime = "MOLT_SOAK"
	envSeed = "MOLT_SOAK_SEED"
)

// inTests is how long the soak takes among the other tests.
const inTests = 15 * time.Second

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
	w := newWorld(t, rand.New(rand.NewPCG(seed, 0)))
	for end := time.Now().Add(duration); time.Now().Before(end) && !t.Failed(); {
		w.step()
	}
	w.compareAll()
	w.checkSound()
	t.Logf("soaked for %v: %s", duration, w.counts)
}

// in calls fn with the mounted directory of a key.
func (w *world) in(key string, fn func(dir string) error) error {
	mounts, err := w.d.Mounts(w.t.Context(), key)
	if err != nil {
		return err
	}
	return mount.WithTempMount(w.t.Context(), mounts, fn)
}

// seen reads what a key shows.
func (w *world) seen(key string) (map[string]string, error) {
	all := map[string]string{}
	err := w.in(key, func(dir string) error {
		return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			all[strings.TrimPrefix(path, dir+"/")] = string(content)
			return err
		})
	})
	return all, err
}
