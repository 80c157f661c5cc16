// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/binding"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// made makes a container on a base as kubelet does, starts it, writes, and removes it: the next attempt has another id.
func (f *fixture) made(attempt, base, storage string) {
	f.t.Helper()
	key := f.container(attempt, base, storage)
	f.write(key, "by-"+attempt, "was here")
	f.must(f.Remove(f.t.Context(), key))
}

// expectOn checks what base a storage stands on.
func (f *fixture) expectOn(storage, base string) {
	f.t.Helper()
	st := f.storage(storage)
	f.State().Graph(func(g *dag.Graph) {
		if !g.SameBase(g.Base(st), f.nodeIn(g, base)) {
			f.t.Errorf("storage %q stands on %v, not on %s", storage, g.Base(st), base)
		}
	})
}

func (f *fixture) nodeIn(g *dag.Graph, key string) dag.NodeID {
	n, _ := g.Name(key)
	return n.Node
}

// TestExplicitUpdateHolds: a container that is made again and again on the old image, as kubelet does when it crashes, does
// not undo an update that somebody asked for, also after restarts of the daemon and when the graph was rebuilt.
func TestExplicitUpdateHolds(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	f.made("attempt0", one, "web")
	u := f.update(one, two)
	for n := 1; n <= 5; n++ {
		f.made("attempt"+strconv.Itoa(n), one, "web")
		f.expectOn("web", two)
		switch n {
		case 2:
			f.reopen()
		case 3:
			f.loseDatabase()
		}
	}
	f.expectState(f.settled(u.ID), "web", dag.Applied)
	if all := f.updates(); len(all) != 1 {
		t.Errorf("there are %d updates, not one: %+v", len(all), all)
	}
	last := f.container("last", one, "web")
	f.expect(last, "version", "2")
	f.expect(last, "by-attempt4", "was here")
	f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: u.ID}))
	f.must(f.Remove(t.Context(), last))
	f.made("again", one, "web")
	f.expectOn("web", one)
}

// loseDatabase restarts the snapshotter without its database.
func (f *fixture) loseDatabase() {
	f.t.Helper()
	f.close()
	f.must(os.Remove(f.database()))
	f.open()
}

// TestChangedSpecification: a container that asks for another base than the last one has its storage moved there, forward and
// back, by an update of its own, and the record says why.
func TestChangedSpecification(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	f.made("first", one, "web")
	f.made("second", two, "web")
	f.expectOn("web", two)
	all := f.updates()
	if len(all) != 1 || all[0].Cause != dag.ByBind {
		t.Fatalf("the updates are %+v", all)
	}
	back := f.container("third", one, "web")
	f.expect(back, "version", "1")
	f.expect(back, "by-second", "was here")
	o := f.settled(all[0].ID).Outcomes["test/web"]
	if o.State != dag.RolledBack || len(o.Reasons) != 1 || !strings.Contains(o.Reasons[0], "third") {
		t.Errorf("the outcome is %+v", o)
	}
}

// TestAskedAfterUpdate: a specification that catches up with an explicit update changes nothing, and one that then goes back
// is followed.
func TestAskedAfterUpdate(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	f.made("first", one, "web")
	f.update(one, two)
	f.made("second", two, "web")
	f.expectOn("web", two)
	f.made("third", one, "web")
	f.expectOn("web", one)
}

// TestAskedForPulledAgain: an image that was removed and pulled again is the same wish.
func TestAskedForPulledAgain(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	f.made("first", one, "web")
	f.update(one, two)
	var origin string
	f.State().Graph(func(g *dag.Graph) {
		n, _ := g.Node(f.nodeIn(g, two))
		origin = n.Origin
	})
	f.must(f.Remove(t.Context(), two))
	f.must(f.Remove(t.Context(), one))
	again := f.layer("one", "", map[string]string{"version": "1"})
	f.made("second", again, "web")
	st := f.storage("web")
	f.State().Graph(func(g *dag.Graph) {
		if n, _ := g.Node(g.Base(st)); origin == "" || n.Origin != origin {
			t.Errorf("the storage stands on %+v", n)
		}
	})
}

// TestRebindToSpec: with this policy a container stands on the image that it names, whatever was updated.
func TestRebindToSpec(t *testing.T) {
	f := newFixture(t, snapshotter.WithRebind(binding.RebindToSpec))
	one, two := f.bases()
	f.made("first", one, "web")
	f.update(one, two)
	f.made("second", one, "web")
	f.expectOn("web", one)
}

// TestSpecificationNeverJoins: who moved by naming an image is no part of an update that an operator made from and to the same
// bases, and the rollback of that leaves the storage alone.
func TestSpecificationNeverJoins(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	f.made("p", one, "p")
	u := f.update(one, two, "test/p")
	f.made("jb1", one, "jb")
	f.made("jb2", two, "jb")
	if outcomes := f.settled(u.ID).Outcomes; len(outcomes) != 1 {
		t.Errorf("the operator's update is of %v", outcomes)
	}
	f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: u.ID}))
	f.expectOn("p", one)
	f.expectOn("jb", two)
	bind := f.updates()[1].ID
	err := f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: bind})
	refused(t, err, errdefs.ErrFailedPrecondition, "name the storage", "test/jb")
	f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: bind, Storages: []string{"test/jb"}}))
	f.expectOn("jb", one)
}

// TestRollbackAwayFromSpecification: a storage whose container has come to name the new base is only rolled back by name.
func TestRollbackAwayFromSpecification(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	f.made("a", one, "a")
	f.made("b", one, "b")
	u := f.update(one, two)
	f.made("b2", two, "b")
	all, err := f.Rollbacks().Undo(t.Context(), updates.RollbackRequest{Update: u.ID})
	f.must(err)
	expectFates(t, all, "test/a rolled back", "test/b needs its name")
	f.expectOn("b", two)
	f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: u.ID, Storages: []string{"test/b"}}))
	f.expectOn("b", one)
}

func expectFates(t *testing.T, all []updates.Undone, want ...string) {
	t.Helper()
	var got []string
	for _, one := range all {
		fate := one.Storage + " " + string(one.Fate)
		if one.By != 0 {
			fate += " by " + one.By.String()
		}
		got = append(got, fate)
	}
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		t.Errorf("the fates are %v, not %v", got, want)
	}
}

// holding makes conflicts in text hold an update.
var holding = snapshotter.WithServicing(servicing.Options{Policy: servicing.Policy{servicing.ConcernText: servicing.ActionHold}})

// conflicted makes a storage that is held when it is to stand on the second base.
func (f *fixture) conflicted(one string) {
	f.t.Helper()
	key := f.container("first", one, "web")
	f.write(key, "etc/conf", "a = 1\n\nb = 1\n\nc = 8\n")
	f.must(f.Remove(f.t.Context(), key))
}

// TestHeldAtBind: a container that cannot start because its storage is held gets the same answer each time, with one record of
// it; the engine is asked again when the storage may have changed, and always when a person asks.
func TestHeldAtBind(t *testing.T) {
	f := newFixture(t, holding)
	one, two := f.bases()
	f.conflicted(one)
	for n := range 7 {
		key := f.container("attempt"+strconv.Itoa(n), two, "web")
		_, err := f.Mounts(t.Context(), key)
		refused(t, err, errdefs.ErrFailedPrecondition, "held by update u1", "etc/conf", "moltctl update report", "--force")
		f.must(f.Remove(t.Context(), key))
	}
	if all := f.updates(); len(all) != 1 || all[0].Outcomes["test/web"].State != dag.Held {
		t.Fatalf("the updates are %+v", all)
	}
	fix := f.container("fix", one, "web")
	f.write(fix, "etc/conf", "a = 1\n\nb = 1\n\nc = 2\n")
	f.must(f.Remove(t.Context(), fix))
	f.made("fixed", two, "web")
	f.expectOn("web", two)
}

// TestHeldAtBindAfterRestart: the answer is not kept over a restart, and the record is used again.
func TestHeldAtBindAfterRestart(t *testing.T) {
	f := newFixture(t, holding)
	one, two := f.bases()
	f.conflicted(one)
	for range 3 {
		key := f.container("attempt", two, "web")
		_, err := f.Mounts(t.Context(), key)
		refused(t, err, errdefs.ErrFailedPrecondition, "held by update u1")
		f.must(f.Remove(t.Context(), key))
		f.reopen()
	}
	if all := f.updates(); len(all) != 1 {
		t.Errorf("there are %d updates: %+v", len(all), all)
	}
}

// TestHeldByPerson: a person who updates the storage by name asks the engine, whatever was answered before.
func TestHeldByPerson(t *testing.T) {
	f := newFixture(t, holding)
	one, two := f.bases()
	f.conflicted(one)
	key := f.container("second", two, "web")
	_, err := f.Mounts(t.Context(), key)
	refused(t, err, errdefs.ErrFailedPrecondition, "held")
	id, err := f.Updates().Begin(t.Context(), updates.Request{
		From: f.node(one), To: f.node(two), Storages: []string{"test/web"}, Options: servicing.Options{Force: true},
	})
	f.must(err)
	f.expectState(f.settled(id), "web", dag.Applied)
	f.expect(key, "version", "2")
}

// TestStartOnOldBase: with this policy the container starts where its storage stands, its record says so, and each start asks
// again.
func TestStartOnOldBase(t *testing.T) {
	f := newFixture(t, holding, snapshotter.WithOnHold(binding.StartOnOldBase))
	one, two := f.bases()
	f.conflicted(one)
	key := f.container("second", two, "web")
	f.expect(key, "version", "1")
	f.eventuallyMarked("second", "u1")
	f.write(key, "etc/conf", "a = 1\n\nb = 1\n\nc = 2\n")
	f.expect(key, "version", "2")
	if all := f.updates(); len(all) != 1 || all[0].Outcomes["test/web"].State != dag.Applied {
		t.Errorf("the updates are %+v", all)
	}
}

// eventuallyMarked waits until the record of a container is labelled with an update, or with none.
func (f *fixture) eventuallyMarked(container, update string) {
	f.t.Helper()
	f.eventually(func() bool { return f.marked(container) == update }, "container %s is labelled with %q", container, update)
}

func (f *fixture) marked(container string) string {
	f.host.mu.Lock()
	defer f.host.mu.Unlock()
	return f.host.marked[container]
}

// TestHeldLabelGoes: the label of a container that started on the old base stays while its storage is held, over restarts and an
// absence of containerd, and goes when it is no longer held, whatever ended that.
func TestHeldLabelGoes(t *testing.T) {
	for name, end := range map[string]func(f *fixture, key, one, two string){
		"its next start": func(f *fixture, key, _, _ string) {
			f.write(key, "etc/conf", "a = 1\n\nb = 1\n\nc = 2\n")
			f.expect(key, "version", "2")
		},
		"a person who goes on in spite of it": func(f *fixture, _, one, two string) {
			id, err := f.Updates().Begin(t.Context(), updates.Request{
				From: f.node(one), To: f.node(two), Storages: []string{"test/web"}, Options: servicing.Options{Force: true},
			})
			f.must(err)
			f.expectState(f.settled(id), "web", dag.Applied)
		},
		"cancel": func(f *fixture, _, _, _ string) {
			_, err := f.Rollbacks().Cancel(t.Context(), 1, []string{"test/web"})
			f.must(err)
		},
		"rollback": func(f *fixture, _, _, _ string) {
			f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: 1, Storages: []string{"test/web"}}))
		},
		"a container in its place": func(f *fixture, _, one, _ string) { f.expect(f.container("other", one, "web"), "version", "1") },
		"its key":                  func(f *fixture, key, _, _ string) { f.must(f.Remove(t.Context(), key)) },
	} {
		for _, restarted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/restarted=%v", name, restarted), func(t *testing.T) {
				f := newFixture(t, holding, snapshotter.WithOnHold(binding.StartOnOldBase))
				one, two := f.bases()
				f.conflicted(one)
				key := f.container("second", two, "web")
				f.expect(key, "version", "1")
				f.eventuallyMarked("second", "u1")
				if restarted {
					f.reopen()
				}
				f.must(f.Unmark(t.Context()))
				if got := f.marked("second"); got != "u1" {
					t.Fatalf("while it is held its label is %q", got)
				}
				end(f, key, one, two)
				f.eventuallyMarked("second", "")
			})
		}
	}
	t.Run("while containerd is away", func(t *testing.T) {
		f := newFixture(t, holding, snapshotter.WithOnHold(binding.StartOnOldBase))
		one, two := f.bases()
		f.conflicted(one)
		f.expect(f.container("second", two, "web"), "version", "1")
		f.eventuallyMarked("second", "u1")
		f.close()
		f.host.err = errdefs.ErrUnavailable
		f.open()
		f.must(f.Unmark(t.Context()))
		_, err := f.Rollbacks().Cancel(t.Context(), 1, []string{"test/web"})
		f.must(err)
		f.must(f.Unmark(t.Context()))
		if got := f.marked("second"); got != "u1" {
			t.Errorf("its label is %q", got)
		}
		f.host.mu.Lock()
		f.host.err = nil
		f.host.mu.Unlock()
		f.must(f.Unmark(t.Context()))
		if got := f.marked("second"); got != "" {
			t.Errorf("its label is still %q", got)
		}
	})
}

// TestAuditOfHeld: an audit of a storage whose update is held compares it with the base that it would be on, and with the one
// that it is on once that is gone.
func TestAuditOfHeld(t *testing.T) {
	f := newFixture(t, holding)
	base := func(name, version, conf string) string {
		return f.layer(name, "", map[string]string{
			"etc/conf":                 conf,
			"var/lib/dpkg/status":      "Package: a\nStatus: install ok installed\nVersion: " + version + "\nArchitecture: all\n\n",
			"var/lib/dpkg/info/a.list": "/.\n/usr\n/usr/a\n", "usr/a": version,
		})
	}
	one, two := base("one", "1", "a = 1\n"), base("two", "2", "a = 2\n")
	web := f.container("web", one, "web")
	f.write(web, "etc/conf", "a = 3\n")
	u := f.update(one, two, "test/web")
	f.expectState(u, "web", dag.Held)
	audited := func() (got []string) {
		r, err := f.Inspector().Audit(t.Context(), "test/web")
		f.must(err)
		for _, p := range r.Packages {
			got = append(got, fmt.Sprintf("%s: %s, %s", p.Name, p.Seen, p.Base))
		}
		return got
	}
	if got := audited(); !slices.Equal(got, []string{"a: 1, 2"}) {
		t.Errorf("held, it has %q", got)
	}
	f.must(f.Remove(t.Context(), two))
	f.must(f.Cleanup(t.Context()))
	if got := audited(); len(got) > 0 {
		t.Errorf("with the new base gone it has %q", got)
	}
}
