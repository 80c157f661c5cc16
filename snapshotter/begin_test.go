// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/binding"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

func newest() snapshotter.Opt { return snapshotter.WithNewContainers(binding.BeginOnNewest) }

// TestNewContainers: with newest, the storage of a new container begins where the update of its base leads, and says so (Fig. 3C);
// otherwise on the base that it names. A container that exists is not moved.
func TestNewContainers(t *testing.T) {
	label := snapshots.WithLabels(map[string]string{snapshotter.LabelStorage: "new"})
	for how, c := range map[string]struct {
		opts  []snapshotter.Opt
		claim string
		label []snapshots.Opt
		want  string
	}{
		"as named": {claim: "new", want: "1"}, "newest": {opts: []snapshotter.Opt{newest()}, claim: "new", want: "2"},
		"newest-by-label":       {opts: []snapshotter.Opt{newest()}, label: []snapshots.Opt{label}, want: "2"},
		"newest-without-name":   {opts: []snapshotter.Opt{newest()}, want: "2"},
		"as-named-by-label":     {label: []snapshots.Opt{label}, want: "1"},
		"as-named-without-name": {want: "1"},
	} {
		t.Run(how, func(t *testing.T) {
			f := newFixture(t, c.opts...)
			one, two := f.bases()
			old := f.container("old", one, "old")
			f.write(old, "own", "mine")
			u := f.update(one, two)
			f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: u.ID, Storages: []string{"test/old"}}))
			u = f.update(one, two)
			key := f.container("new", one, c.claim, c.label...)
			f.expect(key, "version", c.want)
			f.write(key, "own", "new")
			f.reopen()
			f.loseDatabase()
			f.expect(key, "version", c.want)
			f.expect(key, "own", "new")
			var st dag.Storage
			f.State().Graph(func(g *dag.Graph) {
				n, _ := g.Name(key)
				st, _ = g.Storage(n.Storage)
			})
			if placed := st.Placed != nil; placed != (c.want == "2") || st.Follows {
				t.Errorf("the storage says that it was placed: %+v, and follows: %v", st.Placed, st.Follows)
			}
			if st.Placed != nil && (st.Placed.From != f.node(one) || st.Placed.To != f.node(two) || st.Placed.Update < u.ID) {
				t.Errorf("placed %+v", *st.Placed)
			}
		})
	}
}

// TestNewestLeavesAloneWhatIsThere: a container that had its first start, one that is in use, and one in which something was
// written before it, stay where they are.
func TestNewestLeavesAloneWhatIsThere(t *testing.T) {
	f := newFixture(t, newest())
	one, two := f.bases()
	f.made("old", one, "old")
	empty := f.container("empty", one, "empty")
	f.expect(empty, "version", "1") // its first start
	written := f.key("written")
	_, err := f.Prepare(t.Context(), written, one)
	f.must(err)
	f.write(written, "own", "mine") // before containerd has a record of it
	f.host.set("written", "written")
	f.update(one, two, "test/old")
	f.expect(empty, "version", "1")
	f.expect(written, "version", "1")
	f.expect(written, "own", "mine")
	looked := f.key("looked")
	_, err = f.Prepare(t.Context(), looked, one)
	f.must(err)
	f.in(looked, func(string) { // a client looks while the container is being created, and goes on looking
		f.host.set("looked", "looked")
		f.expect(looked, "version", "1")
	})
	f.expect(looked, "version", "2") // nothing was written, so the next start is the first
	extract, _ := f.unpacking("three")
	_, err = f.Prepare(t.Context(), extract, one)
	f.must(err)
	f.expect(extract, "version", "1")
}

// TestNewestAfterRollback: no new container is given a base whose update was rolled back (Fig. 4A), also while storages in use
// still wait for that, and not an update that needed no storages.
func TestNewestAfterRollback(t *testing.T) {
	f := newFixture(t, newest())
	one, two := f.bases()
	f.expect(f.container("before", one, "a"), "version", "1")
	u := f.update(one, two)
	busy := f.container("after", one, "b")
	f.in(busy, func(dir string) {
		got, err := os.ReadFile(dir + "/version")
		f.must(err)
		if string(got) != "2" {
			t.Errorf("a new container shows %q", got)
		}
		all, err := f.Rollbacks().Undo(t.Context(), updates.RollbackRequest{Update: u.ID})
		f.must(err)
		expectFates(t, all, "test/a rolled back", "test/b begun there")
		f.expect(f.container("next", one, "c"), "version", "1")
	})
	again := f.update(one, two, "test/c")
	f.expect(f.container("yet", one, "d"), "version", "2")
	f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: again.ID}))
	f.expect(f.container("last", one, "e"), "version", "1")
}

// TestRollbackOfUpdateWithoutStorages: an update that no storage needed is undone, too, once.
func TestRollbackOfUpdateWithoutStorages(t *testing.T) {
	f := newFixture(t, newest())
	one, two := f.bases()
	u := f.update(one, two)
	f.expect(f.container("a", one, "a"), "version", "2")
	all, err := f.Rollbacks().Undo(t.Context(), updates.RollbackRequest{Update: u.ID})
	f.must(err)
	expectFates(t, all, " ends", "test/a begun there")
	f.expect(f.container("b", one, "b"), "version", "1")
	_, err = f.Rollbacks().Undo(t.Context(), updates.RollbackRequest{Update: u.ID})
	refused(t, err, errdefs.ErrFailedPrecondition, "applied to no storage")
	all, err = f.Rollbacks().Undo(t.Context(), updates.RollbackRequest{Update: u.ID, WithNew: true})
	f.must(err)
	expectFates(t, all, " ends", "test/a taken along by u2")
	f.expectOn("a", one)
}

// TestStandingUpdate: what comes to stand on the old base is taken in, at its start or in the background, until the update ends;
// also after a restart, and after the graph was rebuilt from the records.
func TestStandingUpdate(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	f.made("first", one, "first")
	id, err := f.Updates().Begin(t.Context(), updates.Request{From: f.node(one), To: f.node(two), Standing: true})
	f.must(err)
	f.settled(id)
	f.expectOn("first", two)
	f.expect(f.container("second", one, "second"), "version", "2") // at its start
	label := snapshots.WithLabels(map[string]string{snapshotter.LabelStorage: "third"})
	f.container("third", one, "", label) // never started
	f.eventually(func() bool {
		st := f.storage("third")
		base := dag.NodeID(0)
		f.State().Graph(func(g *dag.Graph) { base = g.Base(st) })
		return base == f.node(two)
	}, "the storage is taken in, in the background")
	f.expect(f.container("plain", one, ""), "version", "1") // the update is of storages with a name
	f.loseDatabase()
	f.expect(f.container("fourth", one, "fourth"), "version", "2")
	u := f.settled(id)
	for _, name := range []string{"first", "second", "third", "fourth"} {
		f.expectState(u, name, dag.Applied)
	}
	all, err := f.Rollbacks().Cancel(t.Context(), id, nil)
	f.must(err)
	expectFates(t, all, " ends")
	f.expect(f.container("fifth", one, "fifth"), "version", "1")
	f.expectOn("first", two)
}

// TestStandingUpdateEnds with its rollback as a whole. A storage that is rolled back by name is not taken in again.
func TestStandingUpdateEnds(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	f.made("a", one, "a")
	f.made("b", one, "b")
	id, err := f.Updates().Begin(t.Context(), updates.Request{From: f.node(one), To: f.node(two), Standing: true})
	f.must(err)
	f.settled(id)
	f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: id, Storages: []string{"test/a"}}))
	f.expect(f.container("again", one, "a"), "version", "1")
	f.expect(f.container("new", one, "c"), "version", "2")
	f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: id}))
	for _, name := range []string{"b", "c"} {
		f.expectOn(name, one)
	}
	f.expect(f.container("late", one, "d"), "version", "1")
}

// TestStandingUpdateHolds: a storage that is held starts where it stands, is not tried at each start, and is told.
func TestStandingUpdateHolds(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	id, err := f.Updates().Begin(t.Context(), updates.Request{
		From: f.node(one), To: f.node(two), Standing: true,
		Options: servicing.Options{Policy: servicing.Policy{servicing.ConcernText: servicing.ActionHold}},
	})
	f.must(err)
	key := f.key("web")
	_, err = f.Prepare(t.Context(), key, one)
	f.must(err)
	f.write(key, "etc/conf", "a = 1\n\nb = 1\n\nc = 8\n") // before containerd has a record of the container
	f.host.set("web", "web")
	f.expect(key, "version", "1")
	u := f.settled(id)
	f.expectState(u, "web", dag.Held)
	f.expect(key, "version", "1")
	f.expect(f.container("again", one, "web"), "version", "1")
	if after := f.settled(id); !after.Outcomes["test/web"].Time.Equal(u.Outcomes["test/web"].Time) {
		t.Error("the held storage was tried again")
	}
}

func TestStandingUpdateIsOfAll(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	f.made("a", one, "a")
	for _, r := range []updates.Request{{Storages: []string{"test/a"}}, {AllOrNothing: true}} {
		r.From, r.To, r.Standing = f.node(one), f.node(two), true
		_, err := f.Updates().Begin(t.Context(), r)
		refused(t, err, errdefs.ErrInvalidArgument, "standing")
	}
}

// TestMadeSince counts the containers of the sort that an update is of which were made on its old base since.
func TestMadeSince(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	f.made("a", one, "a")
	f.made("left", one, "left")
	u := f.update(one, two, "test/a")
	f.made("b", one, "b")
	f.made("c", one, "c")
	f.made("d", two, "d")
	f.expect(f.container("plain", one, ""), "version", "1")
	f.State().Graph(func(g *dag.Graph) {
		u, _ = g.Update(u.ID)
		if got := updates.MadeSince(g, u); got != 2 {
			t.Errorf("%d containers were made on the old base since", got)
		}
		u.Anonymous = true
		if got := updates.MadeSince(g, u); got != 3 {
			t.Errorf("%d containers, with those that have no storage, were made on the old base since", got)
		}
	})
}

// TestRollbackNamesAndTakesAlong: what was begun on the new base is named, and stays; or it is taken along by the engine, with
// what was written in it (Fig. 4A).
func TestRollbackNamesAndTakesAlong(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	f.made("old", one, "old")
	u := f.update(one, two)
	key := f.container("new", two, "new")
	f.write(key, "own", "mine")
	f.write(key, "etc/conf", "a = 9\n\nb = 1\n\nc = 2\n")
	f.expect(f.container("plain", two, ""), "version", "2")
	busy := f.container("busy", two, "busy")
	f.in(busy, func(string) {
		r := updates.RollbackRequest{Update: u.ID}
		previews, err := f.PreviewRollback(t.Context(), r)
		f.must(err)
		var fates []updates.Undone
		for _, p := range previews {
			fates = append(fates, *p.Undone)
		}
		expectFates(t, fates, "test/old rolled back", "test/busy begun there", "test/new begun there")
		all, err := f.Rollbacks().Undo(t.Context(), r)
		f.must(err)
		expectFates(t, all, "test/old rolled back", "test/busy begun there", "test/new begun there")
		f.expectOn("new", two)
		r.WithNew = true
		previews, err = f.PreviewRollback(t.Context(), r)
		f.must(err)
		if len(previews) != 2 || previews[1].Report == nil || previews[0].Waits.Free() {
			t.Errorf("the dry run shows %+v", previews)
		}
		all, err = f.Rollbacks().Undo(t.Context(), r)
		f.must(err)
		expectFates(t, all, " ends", "test/busy waits by u2", "test/new taken along by u2")
	})
	f.expectOn("new", one)
	f.expect(key, "version", "1")
	f.expect(key, "own", "mine")
	f.expect(key, "etc/conf", "a = 9\n\nb = 1\n\nc = 1\n")
	f.expect(busy, "version", "1")
	_, err := f.Rollbacks().Undo(t.Context(), updates.RollbackRequest{Update: u.ID, WithNew: true, Storages: []string{"test/old"}})
	refused(t, err, errdefs.ErrInvalidArgument, "as a whole")
}

// TestWithNewTellsWhatStays: what cannot be taken along stays, and it is said why.
func TestWithNewTellsWhatStays(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	f.made("old", one, "old")
	id, err := f.Updates().Begin(t.Context(), updates.Request{
		From: f.node(one), To: f.node(two),
		Options: servicing.Options{Policy: servicing.Policy{servicing.ConcernText: servicing.ActionHold}},
	})
	f.must(err)
	f.expectState(f.settled(id), "old", dag.Applied)
	key := f.container("new", two, "new")
	f.write(key, "etc/conf", "a = 1\n\nb = 1\n\nc = 9\n")
	all, err := f.Rollbacks().Undo(t.Context(), updates.RollbackRequest{Update: id, WithNew: true})
	f.must(err)
	expectFates(t, all, "test/old rolled back", "test/new failed by u2")
	refused(t, all[1].Failure(id), errdefs.ErrFailedPrecondition, "held", "update report", "test/new")
	f.expectOn("new", two)
}

// TestRollbackDiscards: with it, what was written since and the delta storage are gone at once; without it, both are there, and
// the record goes on naming the delta storage (claim 2).
func TestRollbackDiscards(t *testing.T) {
	for _, discard := range []bool{false, true} {
		for _, waits := range []bool{false, true} {
			t.Run(fmt.Sprintf("discard-%v-waits-%v", discard, waits), func(t *testing.T) {
				f := newFixture(t)
				one, two := f.bases()
				key := f.container("web", one, "web")
				f.write(key, "etc/conf", "a = 9\n\nb = 1\n\nc = 1\n")
				u := f.update(one, two)
				delta := u.Outcomes["test/web"].Delta
				f.write(key, "since", "s")
				since := f.storage("web").Head
				r := updates.RollbackRequest{Update: u.ID, Discard: discard}
				roll := func() { f.must(f.Rollbacks().Rollback(t.Context(), r)) }
				if waits {
					f.in(key, func(string) { roll() })
				} else {
					roll()
				}
				f.expect(key, "since", "")
				f.expect(key, "etc/conf", "a = 9\n\nb = 1\n\nc = 1\n")
				f.reopen()
				f.State().Graph(func(g *dag.Graph) {
					u, _ = g.Update(u.ID)
					for _, id := range []dag.NodeID{delta, since} {
						if _, there := g.Node(id); there == discard {
							t.Errorf("node %v is there: %v", id, there)
						}
					}
				})
				if got := u.Outcomes["test/web"]; got.State != dag.RolledBack || delta == 0 || got.Delta != delta {
					t.Errorf("the delta storage was %v, and the outcome is %+v", delta, got)
				}
				if discard {
					f.must(f.Cleanup(t.Context()))
					if _, err := os.Stat(f.dir(since)); !os.IsNotExist(err) {
						t.Errorf("the directory of what was written since is still there: %v", err)
					}
				}
				f.host.snapshots = f.known()
				f.expectSound()
			})
		}
	}
	f := newFixture(t)
	one, two := f.bases()
	f.made("web", one, "web")
	u := f.update(one, two)
	_, err := f.Rollbacks().Undo(t.Context(), updates.RollbackRequest{Update: u.ID, Discard: true, Carry: true})
	refused(t, err, errdefs.ErrInvalidArgument, "not both")
}
