// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"os"
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// pulled commits an image layer on another one, with an annotation that it updates something; without one where that is
// empty.
func (f *fixture) pulled(name, parent, updates string) (key string) {
	f.t.Helper()
	extract, key := f.unpacking(name)
	var opts []snapshots.Opt
	if updates != "" {
		opts = append(opts, updateOf(updates))
	}
	f.deltaOf(extract, key, parent, opts, opts)
	return key
}

// removed removes a key and waits until its node is gone.
func (f *fixture) removed(key string) {
	f.t.Helper()
	id := f.node(key)
	f.must(f.Remove(f.t.Context(), key))
	f.State().Graph(func(g *dag.Graph) {
		if _, ok := g.Node(id); ok {
			f.t.Errorf("%v is there without its key", id)
		}
	})
}

// is checks the updates for storage web, in their order.
func (f *fixture) is(want ...dag.State) {
	f.t.Helper()
	var got []dag.State
	f.eventually(func() bool {
		got = nil
		for _, u := range f.updates() {
			if u.Underway() {
				return false
			}
			if o, in := u.Outcomes["test/web"]; in {
				got = append(got, o.State)
			}
		}
		return true
	}, "the updates go no further")
	if !slices.Equal(got, want) {
		f.t.Errorf("the updates are %v, not %v: %+v", got, want, f.updates())
	}
}

// TestAnnouncedAgain: an image that is pulled again, after its layers were removed, is announced once. The update leads
// to the layer that is there now, and is announced for the storages that have come since.
func TestAnnouncedAgain(t *testing.T) {
	f := newFixture(t)
	defer f.close()
	one := f.first()
	web := f.web(one)
	first := f.pulled("two", one, chainID("one"))
	f.is(dag.Announced)
	f.removed(first)
	f.container("db", one, "db", snapshots.WithLabels(map[string]string{snapshotter.LabelStorage: "db"}))
	again := f.pulled("two", one, "app:1")
	f.is(dag.Announced)
	u := *f.byCommit()
	if u.To != f.node(again) {
		t.Errorf("the update leads to %v, not to %v, which was unpacked again", u.To, f.node(again))
	}
	f.expectState(u, "db", dag.Announced)
	f.must(f.Updates().Apply(t.Context(), u.ID, nil))
	f.applied(u.ID)
	f.expect(web, "version", "2")
	f.sound()
}

// TestAnnouncedAgainByOthers: what was announced goes further in its own record when a client commits the same layer,
// and an update that is staged, with its layer, stays as it is.
func TestAnnouncedAgainByOthers(t *testing.T) {
	f := newFixture(t)
	defer f.close()
	one := f.first()
	web := f.web(one)
	f.removed(f.pulled("two", one, chainID("one")))
	client := func() string { return f.delta(chainID("two"), one, nil, []snapshots.Opt{updateOf(chainID("one"))}) }
	two := client()
	f.is(dag.Staged)
	staged := *f.byCommit()
	f.must(f.Remove(t.Context(), two))
	f.pulled("two", one, chainID("one"))
	f.is(dag.Staged)
	if u := *f.byCommit(); u.To != staged.To || u.Outcomes["test/web"].Delta != staged.Outcomes["test/web"].Delta {
		t.Errorf("what was staged is %+v, not %+v", u, staged)
	}
	f.must(f.Updates().Apply(t.Context(), staged.ID, nil))
	f.applied(staged.ID)
	f.expect(web, "version", "2")
	f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: staged.ID}))
	f.pulled("two", one, chainID("one"))
	f.is(dag.RolledBack, dag.Announced)
	f.sound()
}

// TestAnnouncedAgainWithdrawn: an update that an operator withdrew is not announced to him again by an image, but begun
// by a client.
func TestAnnouncedAgainWithdrawn(t *testing.T) {
	f := newFixture(t)
	defer f.close()
	one := f.first()
	f.web(one)
	two := f.pulled("two", one, chainID("one"))
	_, err := f.Rollbacks().Cancel(t.Context(), f.byCommit().ID, nil)
	f.must(err)
	f.removed(two)
	two = f.pulled("two", one, chainID("one"))
	f.is(dag.Withdrawn)
	f.removed(two)
	f.delta(chainID("two"), one, nil, []snapshots.Opt{updateOf(chainID("one"))})
	f.is(dag.Staged)
	f.sound()
}

// TestAnnouncedChain: storages for which an update is announced are taken along by an update of that, from where they
// stand; one that has come to stand on the layer in between is moved from there.
func TestAnnouncedChain(t *testing.T) {
	for name, between := range map[string]bool{"from the first": false, "from the one between": true} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			defer f.close()
			one := f.first()
			web := f.web(one)
			two := f.pulled("two", one, chainID("one"))
			f.pulled("three", two, chainID("two"))
			f.is(dag.Aborted, dag.Announced)
			u := f.updates()[1]
			why := f.updates()[0].Outcomes["test/web"].Reasons
			if u.From != f.node(one) || u.FromRef != chainID("one") || u.Of != f.node(two) || why[0] != "superseded by u2" {
				t.Errorf("the updates are %+v", f.updates())
			}
			states := []dag.State{dag.Aborted, dag.Applied}
			if between {
				f.must(f.Remove(t.Context(), web))
				web = f.container("again", two, "web")
				f.expect(web, "version", "2")
				states = append(states, dag.Applied)
			}
			f.must(f.Updates().Apply(t.Context(), u.ID, nil))
			f.applied(u.ID)
			f.is(states...)
			if got, want := f.storage("web"), f.node(f.committed(chainID("three"))); func() (base dag.NodeID) {
				f.State().Graph(func(g *dag.Graph) { base = g.Base(got) })
				return base
			}() != want {
				t.Errorf("the storage does not stand on %v", want)
			}
			f.sound()
			f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: u.ID}))
			f.expect(web, "version", map[bool]string{false: "1", true: "2"}[between])
			f.sound()
		})
	}
}

// TestAnnouncedChainStaged: what is staged for the update that is superseded is nowhere afterwards.
func TestAnnouncedChainStaged(t *testing.T) {
	f, web, u := staged(t)
	defer f.close()
	f.delta("three", f.committed("two"), nil, []snapshots.Opt{updateOf("two")})
	f.is(dag.Aborted, dag.Staged)
	f.eventually(func() bool {
		_, err := os.Stat(f.dir(u.Outcomes["test/web"].Delta))
		return os.IsNotExist(err)
	}, "the delta storage is deleted")
	f.expect(web, "etc/conf", "a = 9\n\nb = 1\n\nc = 1\n")
	f.sound()
}

// TestAnnouncedChainByImage: what an image says takes nothing away from what a client has announced or staged.
func TestAnnouncedChainByImage(t *testing.T) {
	for name, want := range map[string]dag.State{"stage": dag.Staged, "notify": dag.Announced} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, snapshotter.WithOnCommit(updates.CommitPolicy{
				Client: updates.OnCommit(name), Image: updates.NotifyCommit, Written: updates.IgnoreCommit,
			}))
			defer f.close()
			one := f.first()
			web := f.web(one)
			two := f.delta(chainID("two"), one, nil, []snapshots.Opt{updateOf(chainID("one"))})
			f.is(want)
			f.pulled("three", two, chainID("two"))
			f.is(want, dag.Announced)
			f.must(f.Updates().Apply(t.Context(), 1, nil))
			f.applied(1)
			f.is(dag.Applied, dag.Announced)
			f.must(f.Updates().Apply(t.Context(), 2, nil))
			f.applied(2)
			f.expect(web, "version", "2")
			f.sound()
		})
	}
}

// TestAnnouncedCycle: a layer that says that it updates what is announced as its own update, and one that updates
// itself, are layers and nothing else.
func TestAnnouncedCycle(t *testing.T) {
	f := newFixture(t)
	defer f.close()
	one := f.first()
	f.web(one)
	two := f.pulled("two", one, chainID("one"))
	three := f.pulled("three", two, chainID("two"))
	f.is(dag.Aborted, dag.Announced)
	for name, says := range map[string]string{"one": "three", "two": "three", "four": "four"} {
		key := f.pulled(name, "", chainID(says))
		f.is(dag.Aborted, dag.Announced)
		if f.node(key) == 0 {
			t.Errorf("there is no layer %s", name)
		}
	}
	if to := f.updates()[1].To; to != f.node(three) {
		t.Errorf("the update leads to %v, not to %v", to, f.node(three))
	}
	f.sound()
}

// TestAnnouncedToWaiting: a storage that waits for an update to a layer is concerned by an update of that.
func TestAnnouncedToWaiting(t *testing.T) {
	f := newFixture(t)
	defer f.close()
	one := f.first()
	web := f.web(one)
	two := f.pulled("two", one, "")
	f.in(web, func(string) {
		f.expectState(f.update(one, two), "web", dag.Planned)
		f.pulled("three", two, chainID("two"))
	})
	u := *f.byCommit()
	f.must(f.Updates().Apply(t.Context(), u.ID, nil))
	f.applied(u.ID)
	f.sound()
}

// TestAnnouncedOfRemoved: a layer on which a storage stands is known by its chain ID after its image was removed.
func TestAnnouncedOfRemoved(t *testing.T) {
	f := newFixture(t)
	defer f.close()
	one := f.first()
	web := f.web(one)
	f.expect(web, "version", "1")
	f.must(f.Remove(t.Context(), web))
	f.must(f.Remove(t.Context(), one))
	f.pulled("two", "", chainID("one"))
	f.is(dag.Announced)
}

// TestAnnouncedOfImages: whatever images say that they update, containerd, whose write transaction waits, is asked for
// one image a layer and never to list all.
func TestAnnouncedOfImages(t *testing.T) {
	f := newFixture(t)
	defer f.close()
	one := f.first()
	f.web(one)
	before := f.host.listed.Load()
	f.pulled("nothing", one, "something that is not here")
	f.is()
	f.pulled("two", one, "app:1")
	f.is(dag.Announced)
	if times := f.host.listed.Load() - before; times != 0 {
		t.Errorf("all images were asked for %d times", times)
	}
}

// TestAnnouncedOfTwice: of a layer that was unpacked twice, the one on which the storage stands counts, whatever
// becomes of the other one.
func TestAnnouncedOfTwice(t *testing.T) {
	f := newFixture(t)
	defer f.close()
	one := f.first()
	web := f.web(one)
	f.must(f.Remove(t.Context(), web))
	f.must(f.Remove(t.Context(), one))
	again := f.first()
	two := f.pulled("two", "", "app:1")
	f.is(dag.Announced)
	f.removed(again)
	u := *f.byCommit()
	f.must(f.Updates().Apply(t.Context(), u.ID, nil))
	f.applied(u.ID)
	f.expect(f.container("web", two, "web"), "version", "2")
	f.sound()
}

// TestAnnouncedToRemoved: an update that was announced for a storage which is removed is applied to the others, and a
// new storage of that name has nothing to do with it.
func TestAnnouncedToRemoved(t *testing.T) {
	f := newFixture(t)
	defer f.close()
	one := f.first()
	f.web(one)
	db := f.container("db", one, "db", snapshots.WithLabels(map[string]string{snapshotter.LabelStorage: "db"}))
	f.pulled("two", one, chainID("one"))
	u := *f.byCommit()
	f.must(f.Remove(t.Context(), db))
	f.must(f.Storages().Remove(t.Context(), "test/db"))
	f.must(f.Updates().Apply(t.Context(), u.ID, nil))
	f.applied(u.ID)
	f.expectState(f.get(u.ID), "db", dag.Aborted)
	f.sound()
}

// TestAnnouncedAndBound: a container that asks for the new base by itself does what was announced.
func TestAnnouncedAndBound(t *testing.T) {
	f := newFixture(t)
	defer f.close()
	one := f.first()
	web := f.web(one)
	two := f.pulled("two", one, chainID("one"))
	f.must(f.Remove(t.Context(), web))
	f.expect(f.container("again", two, "web"), "version", "2")
	f.is(dag.Aborted, dag.Applied)
	if err := f.Updates().Apply(t.Context(), f.byCommit().ID, nil); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("applied although the storage is there: %v", err)
	}
	f.sound()
}
