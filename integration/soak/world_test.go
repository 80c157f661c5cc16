// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// counts is what a run did.
type counts struct{ operations, refused, crashes, damages, comparisons int }

func (c counts) String() string {
	return fmt.Sprintf("%d operations (%d refused), %d crashes, %d of them with a damaged database, %d comparisons of a whole storage",
		c.operations, c.refused, c.crashes, c.damages, c.comparisons)
}

// world is a daemon and what must be in its storages.
type world struct {
	t        *testing.T
	d        *daemon
	random   *rand.Rand
	bases    [bases]string // the keys of the layers
	nodes    map[uint64]int
	storages map[string]storage
	numbers  int
	log      []string // the last operations
	counts
}

func newWorld(t *testing.T, random *rand.Rand) *world {
	t.Helper()
	w := &world{t: t, d: newDaemon(t), random: random, storages: map[string]storage{}, nodes: map[uint64]int{}}
	for i := range bases {
		extract := w.newKey(fmt.Sprintf(snapshots.UnpackKeyFormat, "1-AbC_", digest.FromString("base")))
		mounts, err := w.d.Prepare(t.Context(), extract, "")
		must(t, err)
		must(t, mount.WithTempMount(t.Context(), mounts, func(dir string) error { return write(dir, baseFiles(i)) }))
		w.bases[i] = w.newKey(digest.FromString(fmt.Sprintf("base%d", i)).String())
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

// newKey returns a key as containerd's metadata store makes it.
func (w *world) newKey(own string) string {
	w.numbers++
	return fmt.Sprintf("soak/%d/%s", w.numbers, own)
}

// step does something, perhaps with the daemon dying meanwhile, and compares what it concerned with the model.
func (w *world) step() {
	op := w.draw()
	if op.do == nil {
		return
	}
	w.operations++
	w.log = append(w.log, op.what)
	w.log = w.log[max(0, len(w.log)-40):]
	crash := w.random.IntN(3) == 0
	died := make(chan struct{})
	if crash {
		delay := time.Duration(w.random.IntN(60_000)) * time.Microsecond
		go func() { defer close(died); time.Sleep(delay); w.d.kill() }()
	}
	err := op.do(w.t.Context())
	if crash {
		<-died
		w.crashes++
		w.damage()
		w.d.start()
	}
	w.settle()
	switch {
	case err == nil && !crash:
		w.accept(op, op.after)
	case err != nil && !crash && !errdefs.IsFailedPrecondition(err):
		w.t.Errorf("%s: %v\nbefore that:\n%s", op.what, err, strings.Join(w.log, "\n"))
	case err != nil && !crash:
		w.refused++
		w.judge(op) // a part of it may be done: the key is removed, and the storage is not
	case err == nil && op.acknowledged:
		w.accept(op, op.after) // the daemon died afterwards
	default:
		w.judge(op)
	}
}

// damage does something to the database now and then, while the daemon is down.
func (w *world) damage() {
	path := filepath.Join(w.d.path("root"), "graph.db")
	info, err := os.Stat(path)
	must(w.t, err)
	switch w.random.IntN(20) {
	case 0:
		err = os.Remove(path)
	case 1:
		err = os.Truncate(path, w.random.Int64N(info.Size()))
	case 2:
		var content []byte
		content, err = os.ReadFile(path)
		must(w.t, err)
		for range 50 {
			content[w.random.IntN(len(content))] ^= byte(1 + w.random.IntN(255))
		}
		err = os.WriteFile(path, content, 0o600)
	default:
		return
	}
	must(w.t, err)
	w.log = append(w.log, "damaged the database")
	w.damages++
}

// settle waits until no update is under way.
func (w *world) settle() {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	for {
		r, err := api.Whole(w.d.ListUpdates(ctx, &api.ListUpdatesRequest{}))
		must(w.t, err)
		busy := slices.ContainsFunc(r.GetUpdates(), func(u *api.Update) bool { return u.GetState() == "staging" || u.GetState() == "staged" })
		if !busy {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// accept takes over what an operation came to, and compares it; nil for no change.
func (w *world) accept(op operation, after map[string][]storage) {
	for name, candidates := range after {
		if len(candidates) == 0 {
			delete(w.storages, name)
			continue
		}
		w.storages[name] = candidates[len(candidates)-1]
	}
	for _, name := range op.concerns {
		if _, ok := w.storages[name]; ok {
			w.compare(name, w.storages[name])
		}
	}
}

// judge finds out which of the states that an operation may have left is there: the one before it, the one after it, or one
// of those that it went through.
func (w *world) judge(op operation) {
	there := w.there()
	for _, name := range op.concerns {
		before, existed := w.storages[name]
		var candidates []storage
		if existed {
			candidates = append(candidates, before)
		}
		candidates = append(candidates, op.after[name]...)
		if !there[name] {
			if existed && len(op.after[name]) > 0 {
				w.t.Errorf("%s: storage %s is gone\nbefore that:\n%s", op.what, name, strings.Join(w.log, "\n"))
			}
			delete(w.storages, name)
			continue
		}
		got, err := w.look(name, candidates)
		if err != nil {
			w.t.Errorf("%s: look at %s: %v\nbefore that:\n%s", op.what, name, err, strings.Join(w.log, "\n"))
			return
		}
		i := slices.IndexFunc(candidates, func(s storage) bool { return difference(got, s.tree()) == "" })
		if i < 0 {
			w.t.Errorf("%s: storage %s is in none of %d states; beside the first:\n%s\nbefore that:\n%s",
				op.what, name, len(candidates), difference(got, candidates[0].tree()), strings.Join(w.log, "\n"))
			return
		}
		w.comparisons++
		key := w.keyOf(name)
		w.storages[name] = candidates[i].clone()
		s := w.storages[name]
		s.key = key
		w.storages[name] = s
	}
}

// there returns the names of the storages that the daemon has.
func (w *world) there() map[string]bool {
	r, err := api.Whole(w.d.ListStorages(w.t.Context(), &api.ListStoragesRequest{}))
	must(w.t, err)
	all := map[string]bool{}
	for _, s := range r.GetStorages() {
		all[strings.TrimPrefix(s.GetName(), "soak/")] = true
	}
	return all
}

// keyOf returns the key that has a storage.
func (w *world) keyOf(name string) string {
	r, err := api.Whole(w.d.GetStorage(w.t.Context(), &api.GetStorageRequest{Name: "soak/" + name}))
	must(w.t, err)
	return r.GetStorage().GetKey()
}

// asked returns the base that the last container of a storage asked for, -1 if that is the one that the storage stands on, or is
// not on record.
func (w *world) asked(name string) int {
	r, err := api.Whole(w.d.GetStorage(w.t.Context(), &api.GetStorageRequest{Name: "soak/" + name}))
	must(w.t, err)
	for id, base := range w.nodes {
		if r.GetStorage().GetAsksFor() == fmt.Sprintf("n%d", id) {
			return base
		}
	}
	return -1
}

// look reads a storage: through the key that has it, or through one on the base that it stands on.
func (w *world) look(name string, candidates []storage) (map[string]string, error) {
	if key := w.keyOf(name); key != "" {
		return w.seen(key)
	}
	_ = candidates
	r, err := api.Whole(w.d.GetStorage(w.t.Context(), &api.GetStorageRequest{Name: "soak/" + name}))
	if err != nil {
		return nil, err
	}
	base, ok := w.nodes[r.GetStorage().GetBase()]
	if !ok {
		return nil, fmt.Errorf("it stands on n%d, which is no base", r.GetStorage().GetBase())
	}
	key := w.newKey("look")
	if _, err := w.d.Prepare(w.t.Context(), key, w.bases[base], bound(name)); err != nil {
		return nil, err
	}
	got, err := w.seen(key)
	return got, errors.Join(err, w.d.Remove(w.t.Context(), key))
}

// bound gives a key a storage.
func bound(name string) snapshots.Opt {
	return snapshots.WithLabels(map[string]string{snapshotter.LabelStorage: name})
}

func (w *world) compare(name string, want storage) {
	got, err := w.look(name, []storage{want})
	if err != nil {
		w.t.Errorf("look at %s: %v\nbefore that:\n%s", name, err, strings.Join(w.log, "\n"))
		return
	}
	if d := difference(got, want.tree()); d != "" {
		w.t.Errorf("storage %s:\n%s\nbefore that:\n%s", name, d, strings.Join(w.log, "\n"))
	}
	w.comparisons++
}

// compareAll compares every storage with the model.
func (w *world) compareAll() {
	for _, name := range slices.Sorted(maps.Keys(w.storages)) {
		w.compare(name, w.storages[name])
	}
	for name := range w.there() {
		if _, ok := w.storages[name]; !ok {
			w.t.Errorf("there is a storage %s that nobody made", name)
		}
	}
}

// checkSound has the daemon check itself.
func (w *world) checkSound() {
	r, err := api.Whole(w.d.Check(w.t.Context(), &api.CheckRequest{Deep: true}))
	must(w.t, err)
	for _, p := range r.GetProblems() {
		if p.GetGrave() {
			w.t.Errorf("%s: %s\nbefore that:\n%s", p.GetSubject(), p.GetWhat(), strings.Join(w.log, "\n"))
		}
	}
}
