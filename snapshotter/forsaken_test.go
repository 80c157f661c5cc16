// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
)

// forget makes containerd know nothing of a key any longer, as if it was killed after it had removed the records of a
// container, and before it had the snapshot removed.
func (f *fixture) forget(own string) {
	f.host.mu.Lock()
	defer f.host.mu.Unlock()
	delete(f.host.claims, own)
	f.host.snapshots = slices.DeleteFunc(f.host.snapshots, func(k keys.Key) bool { return k.Key == own })
}

func (f *fixture) knows(key string) (known bool) {
	f.State().Graph(func(g *dag.Graph) { _, known = g.Name(key) })
	return known
}

// TestRemoveForsakenStorage: a key that containerd has forgotten keeps no storage from being removed.
func TestRemoveForsakenStorage(t *testing.T) {
	for _, storage := range []string{"web", ""} {
		f := newFixture(t)
		f.SetLeaving(time.Millisecond, 0)
		one, _ := f.bases()
		key := f.container("c", one, storage)
		f.write(key, "own", "mine")
		name := "test/web"
		if storage == "" {
			name = dag.AnonymousName(key)
		}
		f.forget("c")
		f.must(f.Storages().Remove(t.Context(), name))
		f.State().Graph(func(g *dag.Graph) {
			if _, there := g.Storage(name); there {
				t.Errorf("storage %q is still there", name)
			}
		})
		if f.knows(key) {
			t.Errorf("key %q is still there", key)
		}
	}
}

// TestRemoveNotForsaken: without an answer that containerd knows neither container nor snapshot, nothing is dropped.
func TestRemoveNotForsaken(t *testing.T) {
	for name, c := range map[string]struct {
		given func(f *fixture)
		says  []string
	}{
		"a container": {func(f *fixture) { f.host.set("c", "web") }, []string{`container "c"`, "remove that first"}},
		"a container that asks for what cannot be": {func(f *fixture) { f.host.set("c", "not/a/name") }, []string{`container "c"`, "remove that first"}},
		"a snapshot": {func(f *fixture) { f.host.snapshots = []keys.Key{{Namespace: "test", Key: "c"}} }, []string{"ctr -n test snapshots", "rm"}},
		"no answer":  {func(f *fixture) { f.host.err = errors.New("no connection") }, []string{"no connection", "--assume-free"}},
		"a new key":  {func(f *fixture) { f.SetLeaving(time.Millisecond, time.Hour) }, []string{"about to create", "try again"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.SetLeaving(time.Millisecond, 0)
			one, _ := f.bases()
			key := f.container("c", one, "web")
			f.write(key, "own", "mine")
			f.forget("c")
			c.given(f)
			refused(t, f.Storages().Remove(t.Context(), "test/web"), errdefs.ErrFailedPrecondition, append(c.says, "test/web")...)
			f.host.err = nil
			f.host.set("c", "web")
			f.expect(key, "own", "mine")
		})
	}
}

// appearing is a containerd that comes to know a key between two looks.
type appearing struct {
	*fakeHost
	asked atomic.Int32
}

func (h *appearing) Snapshots(context.Context) ([]keys.Key, error) {
	if h.asked.Add(1) == 1 {
		return nil, nil
	}
	return []keys.Key{{Namespace: "test", Key: "c"}}, nil
}

// TestRemoveWhileCreated: a key that containerd is about to write down is not dropped because of one look.
func TestRemoveWhileCreated(t *testing.T) {
	host := &appearing{fakeHost: &fakeHost{claims: map[string]string{}, running: map[string]bool{}}}
	f := newFixture(t, snapshotter.WithHost(host))
	f.SetLeaving(time.Millisecond, 0)
	one, _ := f.bases()
	key := f.container("c", one, "web")
	host.set("c", "web")
	f.write(key, "own", "mine")
	host.mu.Lock()
	delete(host.claims, "c")
	host.mu.Unlock()
	refused(t, f.Storages().Remove(t.Context(), "test/web"), errdefs.ErrFailedPrecondition, "test/web")
	if !f.knows(key) {
		t.Error("the key was dropped")
	}
}
