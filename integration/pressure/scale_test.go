// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// many is how many of something a test makes: few of them unless MOLT_PRESSURE=full.
func many(few, full int) int {
	if os.Getenv("MOLT_PRESSURE") == "full" {
		return full
	}
	return few
}

// patience is a watchdog: far longer than anything here takes.
const patience = 5 * time.Minute

// until waits for something that comes about in the background.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s does not come about", what)
		}
	}
}

// entries counts what is in a directory below the root.
func (w *world) entries(dir string) int {
	w.t.Helper()
	all, err := os.ReadDir(filepath.Join(w.root(), dir))
	check(w.t, err)
	return len(all)
}

// TestManyContainers makes many storages on one base, updates all of them, and removes them.
func TestManyContainers(t *testing.T) {
	bounded(t)
	n := many(100, 2000)
	w := newWorldOn(t, t.TempDir(), n, snapshotter.WithRetention(state.Retention{Points: 1}))
	seen := 0
	check(t, w.Walk(t.Context(), func(context.Context, snapshots.Info) error { seen++; return nil }))
	if seen != n+2 {
		t.Errorf("walk shows %d keys, not %d", seen, n+2)
	}
	u, err := w.update()
	check(t, err)
	if len(u.Outcomes) != n {
		t.Errorf("%d storages were serviced, not %d", len(u.Outcomes), n)
	}
	w.intact("v2")
	w.sound()
	check(t, w.Close())
	w.open()
	w.intact("v2")
	for i, key := range w.keys {
		check(t, w.Remove(t.Context(), key))
		check(t, w.Storages().Remove(t.Context(), fmt.Sprintf("test/s%d", i)))
	}
	until(t, "the end of all storage nodes", func() bool {
		check(t, w.Cleanup(t.Context()))
		return w.entries("n") == 2 && w.entries("trash") == 0
	})
	w.sound()
}

// TestManyUpdates updates one storage again and again, writing in between, while the images before go.
func TestManyUpdates(t *testing.T) {
	bounded(t)
	const points = 3
	n := many(30, 500)
	w := newWorldOn(t, t.TempDir(), 1, snapshotter.WithRetention(state.Retention{Points: points}))
	key, from := w.keys[0], w.from
	last := "v1"
	for i := range n {
		check(t, w.in(key, func(dir string) error {
			return os.WriteFile(filepath.Join(dir, fmt.Sprint("own ", i)), []byte(fmt.Sprint("of round ", i)), 0o600)
		}))
		version := fmt.Sprintf("round %d", i)
		to := w.layer(version)
		u, err := w.move(from, to)
		check(t, err)
		for name, o := range u.Outcomes {
			// Where a container was just being made, with copies of all mounts, it is done at the next start.
			if o.State != dag.Applied && o.State != dag.Planned {
				t.Fatalf("%s in round %d: %v %v", name, i, o.State, o.Reasons)
			}
		}
		if i > 0 { // the name of the first base is needed to bind
			check(t, w.Remove(t.Context(), "test/2/"+last))
		}
		from, last = to, version
	}
	// Per state: its base, and what the storage and the update have there. The two first bases still have names.
	const most = (points+1)*3 + 2
	until(t, "a bounded number of nodes", func() bool {
		check(t, w.Cleanup(t.Context()))
		return w.entries("n") <= most && w.entries("trash") == 0
	})
	w.shallow(key, most)
	w.intact(last)
	check(t, w.in(key, func(dir string) error { return w.ownFiles(dir, n) }))
	w.sound()
	var newest dag.UpdateID
	recorded := 0
	until(t, "a bounded number of updates on record", func() bool {
		check(t, w.Cleanup(t.Context()))
		recorded = 0
		w.State().Graph(func(g *dag.Graph) {
			for _, u := range g.Updates() {
				newest, recorded = max(newest, u.ID), recorded+1
			}
		})
		return recorded <= 100
	})
	t.Logf("after %d updates: %d nodes, %d updates on record", n, w.entries("n"), recorded)
	check(t, w.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: newest}))
	w.intact(fmt.Sprintf("round %d", n-2))
	check(t, w.in(key, func(dir string) error { return w.ownFiles(dir, n) }))
}

// shallow checks how many nodes a key is mounted of.
func (w *world) shallow(key string, most int) {
	w.t.Helper()
	w.State().Graph(func(g *dag.Graph) {
		name, _ := g.Name(key)
		st, _ := g.Storage(name.Storage)
		if stack := g.Stack(st.Head); len(stack) > most {
			w.t.Errorf("%s is mounted of %d nodes", key, len(stack))
		}
	})
}

// ownFiles checks what was written in each round.
func (w *world) ownFiles(dir string, rounds int) error {
	var errs []error
	for i := range rounds {
		got, err := os.ReadFile(filepath.Join(dir, fmt.Sprint("own ", i)))
		if want := fmt.Sprint("of round ", i); string(got) != want {
			errs = append(errs, fmt.Errorf("round %d: %q, %w", i, got, err))
		}
	}
	return errors.Join(errs...)
}

// TestDeepStack updates a storage between bases of many layers, of which only the highest differ.
func TestDeepStack(t *testing.T) {
	bounded(t)
	const depth = 300
	w := newWorldOn(t, t.TempDir(), 0)
	parent := ""
	for i := range depth - 1 {
		version := fmt.Sprintf("layer %d", i)
		w.layerOn(parent, version, map[string]string{version: version, "top": version})
		parent = "test/2/" + version
	}
	old := w.layerOn(parent, "old", map[string]string{"top": "old"})
	base := w.layerOn(parent, "new", map[string]string{"top": "new"})
	const key = "test/10/deep"
	check(t, w.prepareOn("test/2/old", key, "deep"))
	check(t, w.in(key, func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "mine"), []byte("mine"), 0o600)
	}))
	w.shows(key, "old", depth-1)
	_, err := w.move(old, base)
	check(t, err)
	w.shows(key, "new", depth-1)
	w.sound()
}

// shows checks through a mount that all layers are there, in their order, and what the user wrote.
func (w *world) shows(key, top string, layers int) {
	w.t.Helper()
	check(w.t, w.in(key, func(dir string) error {
		want := map[string]string{"mine": "mine", "top": top}
		for i := range layers {
			name := fmt.Sprintf("layer %d", i)
			want[name] = name
		}
		var errs []error
		for file, content := range want {
			got, err := os.ReadFile(filepath.Join(dir, file))
			switch {
			case err != nil:
				errs = append(errs, err)
			case string(got) != content:
				errs = append(errs, fmt.Errorf("%s is %q, not %q", file, got, content))
			}
		}
		return errors.Join(errs...)
	}))
}
