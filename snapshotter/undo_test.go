// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// outcomes are the states that an update of a storage can be in, each with what brings it about: it returns the update.
var outcomes = map[string]func(f *fixture, one, two string, while func(dag.UpdateID)){
	"planned": func(f *fixture, one, two string, while func(dag.UpdateID)) {
		f.in(f.container("web", one, "web"), func(string) { while(f.update(one, two).ID) })
	},
	"staging": func(f *fixture, one, two string, while func(dag.UpdateID)) {
		f.made("web", one, "web")
		unlock := f.busy()
		defer unlock()
		id, err := f.Updates().Begin(f.t.Context(), updates.Request{From: f.node(one), To: f.node(two)})
		f.must(err)
		while(id)
	},
	"applied": func(f *fixture, one, two string, while func(dag.UpdateID)) {
		f.made("web", one, "web")
		while(f.update(one, two).ID)
	},
	"waits for a rollback": func(f *fixture, one, two string, while func(dag.UpdateID)) {
		f.made("web", one, "web")
		u := f.update(one, two)
		f.in(f.container("again", one, "web"), func(string) {
			f.must(f.Rollbacks().Rollback(f.t.Context(), updates.RollbackRequest{Update: u.ID}))
			while(u.ID)
		})
	},
	"held": func(f *fixture, one, two string, while func(dag.UpdateID)) {
		f.conflicted(one)
		id, err := f.Updates().Begin(f.t.Context(), updates.Request{
			From: f.node(one), To: f.node(two), Options: servicing.Options{Policy: servicing.Policy{servicing.ConcernText: servicing.ActionHold}},
		})
		f.must(err)
		f.expectState(f.settled(id), "web", dag.Held)
		while(id)
	},
	"rolled back": func(f *fixture, one, two string, while func(dag.UpdateID)) {
		f.made("web", one, "web")
		u := f.update(one, two)
		f.must(f.Rollbacks().Rollback(f.t.Context(), updates.RollbackRequest{Update: u.ID}))
		while(u.ID)
	},
	"withdrawn": func(f *fixture, one, two string, while func(dag.UpdateID)) {
		f.in(f.container("web", one, "web"), func(string) {
			u := f.update(one, two)
			_, err := f.Rollbacks().Cancel(f.t.Context(), u.ID, nil)
			f.must(err)
			while(u.ID)
		})
	},
	"moved on": func(f *fixture, one, two string, while func(dag.UpdateID)) {
		three := f.layer("three", two, map[string]string{"version": "3"})
		f.made("web", one, "web")
		u := f.update(one, two)
		f.update(two, three)
		while(u.ID)
	},
	"removed": func(f *fixture, one, two string, while func(dag.UpdateID)) {
		f.made("web", one, "web")
		u := f.update(one, two)
		f.must(f.Storages().Remove(f.t.Context(), "test/web"))
		while(u.ID)
	},
}

// TestUndoEveryState: rollback and cancel, of all storages or of one by name, and their dry runs, have an answer for every state.
// An empty fate is a refusal that changes nothing.
func TestUndoEveryState(t *testing.T) {
	const (
		rollback = iota
		rollbackNamed
		cancel
		cancelNamed
	)
	for state, want := range map[string][4]updates.Fate{
		"planned":              {updates.Withdraws, updates.Withdraws, updates.Withdraws, updates.Withdraws},
		"staging":              {updates.Withdraws, updates.Withdraws, updates.Withdraws, updates.Withdraws},
		"held":                 {updates.Withdraws, updates.Withdraws, updates.Withdraws, updates.Withdraws},
		"applied":              {updates.RollsBack, updates.RollsBack, updates.Fails, updates.Fails},
		"waits for a rollback": {updates.Awaits, updates.Awaits, updates.WithdrawsRollback, updates.WithdrawsRollback},
		"moved on":             {updates.MovedOn, updates.MovedOn, updates.Fails, updates.Fails},
		"removed":              {updates.Ended, updates.Fails, updates.Ended, updates.Fails},
		"rolled back":          {"", "", "", ""},
		"withdrawn":            {"", "", "", ""},
	} {
		for how, fate := range want {
			t.Run(state+"/"+[]string{"rollback", "rollback --storage", "cancel", "cancel --storage"}[how], func(t *testing.T) {
				f := newFixture(t)
				one, two := f.bases()
				outcomes[state](f, one, two, func(id dag.UpdateID) {
					r := updates.RollbackRequest{Update: id}
					if how == rollbackNamed || how == cancelNamed {
						r.Storages = []string{"test/web"}
					}
					f.expectPreview(r, fate, how == rollback || how == rollbackNamed)
					var all []updates.Undone
					var err error
					if how == rollback || how == rollbackNamed {
						all, err = f.Rollbacks().Undo(t.Context(), r)
					} else {
						all, err = f.Rollbacks().Cancel(t.Context(), id, r.Storages)
					}
					f.expectFate(all, err, fate)
				})
				switch fate {
				case updates.Withdraws:
					f.made("next", one, "web")
					f.expectOn("web", one)
				case updates.WithdrawsRollback:
					f.made("next", one, "web")
					f.expectOn("web", two)
				case updates.Awaits:
					f.made("next", one, "web")
					f.expectOn("web", one)
				}
			})
		}
	}
}

func (f *fixture) expectPreview(r updates.RollbackRequest, want updates.Fate, rollback bool) {
	f.t.Helper()
	if !rollback {
		return // cancel has no dry run of its own: its fates are those of the rollback
	}
	previews, err := f.PreviewRollback(f.t.Context(), r)
	var all []updates.Undone
	for _, p := range previews {
		all = append(all, *p.Undone)
	}
	if want == updates.Awaits {
		want = updates.RollsBack
	}
	f.expectFate(all, err, want)
}

func (f *fixture) expectFate(all []updates.Undone, err error, want updates.Fate) {
	f.t.Helper()
	switch {
	case want == "" && !errdefs.IsFailedPrecondition(err):
		f.t.Errorf("it was not refused: %+v, %v", all, err)
	case want == "":
	case err != nil || len(all) != 1 || all[0].Fate != want:
		f.t.Errorf("got %+v, %v, not %q", all, err, want)
	case (all[0].Err != nil) != (want == updates.Fails):
		f.t.Errorf("got error %v for %q", all[0].Err, want)
	}
}

// busy keeps a storage from being serviced: somebody asks containerd about it, and the answer does not come.
func (f *fixture) busy() (release func()) {
	hold := make(chan struct{})
	f.host.whenAsked(func(ctx context.Context) {
		select {
		case <-hold:
		case <-ctx.Done():
		}
	})
	return sync.OnceFunc(func() { f.host.whenAsked(nil); close(hold) })
}

// TestCancelWinsUntilApplied: whatever the moment, an update that is cancelled is either withdrawn, and nothing has moved, or
// applied, and the answer says so.
func TestCancelWinsUntilApplied(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	withdrawn, applied := 0, 0
	for n := range 40 {
		f.made("c", one, "web")
		id, err := f.Updates().Begin(t.Context(), updates.Request{From: f.node(one), To: f.node(two)})
		f.must(err)
		time.Sleep(time.Duration(n) * time.Millisecond / 4)
		all, err := f.Rollbacks().Cancel(t.Context(), id, nil)
		f.must(err)
		u := f.settled(id)
		switch state := u.Outcomes["test/web"].State; {
		case state == dag.Withdrawn && all[0].Fate == updates.Withdraws:
			withdrawn++
			f.expectOn("web", one)
		case state == dag.Applied && all[0].Fate == updates.Fails && contains(all[0].Err.Error(), "already applied", "use rollback"):
			applied++
			f.expectOn("web", two)
			f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: id}))
		default:
			t.Fatalf("it is %s, and cancel said %+v", state, all)
		}
	}
	t.Logf("%d withdrawn, %d applied", withdrawn, applied)
}

// TestCancelRollback: a rollback that waits can be withdrawn, and asked for again, until it is carried out. Then cancel says so, and
// what to do.
func TestCancelRollback(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	f.made("web", one, "web")
	f.made("db", one, "db")
	id := f.update(one, two).ID
	await := func(key string, carry bool) {
		t.Helper()
		all, err := f.Rollbacks().Undo(t.Context(), updates.RollbackRequest{Update: id, Storages: []string{"test/web"}, Carry: carry})
		f.must(err)
		expectFates(t, all, "test/web waits")
	}
	cancel := func(storages []string, want ...string) {
		t.Helper()
		all, err := f.Rollbacks().Cancel(t.Context(), id, storages)
		f.must(err)
		expectFates(t, all, want...)
	}
	carriedOut := func(storages ...string) {
		t.Helper()
		_, err := f.Rollbacks().Cancel(t.Context(), id, storages)
		refused(t, err, errdefs.ErrFailedPrecondition, `the rollback of update u1 of storage "test/web" is already carried out`,
			"moltctl update create --storage test/web --to IMAGE")
	}
	key := f.container("again", one, "web")
	f.in(key, func(string) {
		await(key, true)
		cancel(nil, "test/db failed", "test/web rollback withdrawn")
		cancel([]string{"test/web"}, "test/web failed")
	})
	f.expect(key, "version", "2")
	f.reopen()
	f.expect(key, "version", "2")
	if o := f.updates()[0].Outcomes["test/web"]; o.State != dag.Applied || o.Use != "" || !contains(o.Reasons[0], "withdrew its rollback") {
		t.Errorf("on record is %+v", o)
	}
	f.in(key, func(string) { await(key, false) })
	f.expect(key, "version", "1")
	carriedOut("test/web")
	cancel(nil, "test/db failed", "test/web is rolled back")
	f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: id, Storages: []string{"test/db"}}))
	if _, err := f.Rollbacks().Cancel(t.Context(), id, nil); !errdefs.IsFailedPrecondition(err) || !contains(err.Error(), "is already carried out") {
		t.Errorf("cancel after both: %v", err)
	}
}

// TestCancelAllOrNothing: an update that moves all storages together is withdrawn for all of them.
func TestCancelAllOrNothing(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	f.made("a", one, "a")
	f.made("b", one, "b")
	release := f.busy()
	id, err := f.Updates().Begin(t.Context(), updates.Request{From: f.node(one), To: f.node(two), AllOrNothing: true})
	f.must(err)
	all, err := f.Rollbacks().Cancel(t.Context(), id, nil)
	release()
	f.must(err)
	expectFates(t, all, "test/a withdrawn", "test/b withdrawn")
	f.settled(id)
	f.expectOn("a", one)
	f.expectOn("b", one)
}
