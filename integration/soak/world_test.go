// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// patience is how long something is waited for that must come. It is a sign that it never comes, and no measure.
const patience = 5 * time.Minute

// world is a daemon, the bases that all clients share, and what a run did.
type world struct {
	t      *testing.T
	ctx    context.Context // ends when something is wrong
	stop   context.CancelCauseFunc
	d      *daemon
	bases  [bases]string  // the keys of the layers
	nodes  map[uint64]int // bases by node
	deaths journal
	counts
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, d: newDaemon(t), nodes: map[uint64]int{}, deaths: journal{start: time.Now()}}
	w.ctx, w.stop = context.WithCancelCause(t.Context())
	t.Cleanup(func() { w.stop(nil) })
	w.underway.full = make(chan struct{}, 1)
	for i := range bases {
		unpack := fmt.Sprintf(snapshots.UnpackKeyFormat, "1-AbC_", digest.FromString("base"))
		extract := fmt.Sprintf("soak/%d/%s", 2*i+1, unpack)
		mounts, err := w.d.Prepare(t.Context(), extract, "")
		must(t, err)
		must(t, mount.WithTempMount(t.Context(), mounts, func(dir string) error { return write(dir, baseFiles(i)) }))
		w.bases[i] = fmt.Sprintf("soak/%d/%s", 2*i+2, digest.FromString(fmt.Sprintf("base%d", i)))
		must(t, w.d.Commit(t.Context(), w.bases[i], extract))
	}
	g, err := api.Whole(w.d.Graph(t.Context(), &api.GraphRequest{}))
	must(t, err)
	for _, n := range g.GetNames() {
		w.nodes[n.GetNode()] = slices.Index(w.bases[:], n.GetKey())
	}
	return w
}

func write(dir string, files map[string]string) error {
	for name, content := range files {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// node names the layer of a base.
func (w *world) node(base int) string {
	for id, b := range w.nodes {
		if b == base {
			return fmt.Sprintf("n%d", id)
		}
	}
	return ""
}

// steady calls fn, and calls it again as often as the daemon died in the meantime. It returns the error of a call that
// no death overlapped.
func (w *world) steady(fn func(context.Context) error) error {
	for {
		life, err := w.d.awake(w.ctx)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeoutCause(w.ctx, patience, fmt.Errorf("no answer within %v", patience))
		err = fn(ctx)
		cancel()
		if w.d.life() == life {
			return err
		}
	}
}

// there returns the names of the storages that the daemon has.
func (w *world) there() (all map[string]bool, err error) {
	err = w.steady(func(ctx context.Context) error {
		all = map[string]bool{}
		r, err := api.Whole(w.d.ListStorages(ctx, &api.ListStoragesRequest{}))
		for _, s := range r.GetStorages() {
			all[strings.TrimPrefix(s.GetName(), "soak/")] = true
		}
		return err
	})
	return all, err
}

// compareAll compares every storage with the model, and what was withdrawn with the records.
func (w *world) compareAll(all []*client) {
	known := map[string]bool{}
	for _, c := range all {
		if err := c.compareAll(); err != nil {
			c.fail(err)
			return
		}
		for name := range c.storages {
			known[name] = true
		}
	}
	there, err := w.there()
	must(w.t, err)
	for name := range there {
		if !known[name] {
			w.t.Errorf("there is a storage %s that nobody made", name)
		}
	}
}

// checkSound has the daemon check itself.
func (w *world) checkSound() {
	r, err := api.Whole(w.d.Check(w.ctx, &api.CheckRequest{Deep: true}))
	must(w.t, err)
	for _, p := range r.GetProblems() {
		if p.GetGrave() {
			w.t.Errorf("%s: %s\nthe deaths:\n%v", p.GetSubject(), p.GetWhat(), &w.deaths)
		}
	}
}
