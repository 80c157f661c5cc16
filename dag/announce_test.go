// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"slices"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// announce begins an update that goes no further than that by itself.
func (w *world) announce(update dag.UpdateID, from, to string, until dag.State, storages ...string) {
	w.Helper()
	w.do(dag.BeginUpdate{
		ID: update, From: w.id(from), To: w.id(to), Cause: dag.ByCommit, Until: until, Storages: storages, Now: w.now(),
	})
}

func (w *world) state(update dag.UpdateID, storage string) dag.State {
	u, _ := w.g.Update(update)
	return u.Outcomes[storage].State
}

func newAnnounced(t *testing.T, until dag.State) *world {
	w := newWorld(t)
	w.layer("a", "")
	w.layer("b", "a")
	w.container("c", "a", "w")
	w.announce(1, "a", "b", until, "c")
	return w
}

// TestProceedWhileStaging: an update that is asked to go on while it is being staged is staged, and has to move the
// storage then.
func TestProceedWhileStaging(t *testing.T) {
	w := newAnnounced(t, dag.Staged)
	w.do(dag.Proceed{Update: 1, Now: w.now()})
	w.do(dag.Stage{Update: 1, Storage: "c", Head: w.head("c"), Delta: w.id("d"), Open: w.id("x"), Now: w.now()})
	u, _ := w.g.Update(1)
	if o := u.Outcomes["c"]; o.State != dag.Staged || !o.Underway() {
		t.Errorf("the update is %+v", o)
	}
	taken := w.switched(1, "c", "d", "y")
	taken.Ahead = 1
	w.do(taken)
	if got := w.state(1, "c"); got != dag.Applied {
		t.Errorf("the update is %s", got)
	}
}

// TestAnnouncedIsNoHistory: what is announced is not forgotten as long as it can be asked for.
func TestAnnouncedIsNoHistory(t *testing.T) {
	w := newAnnounced(t, dag.Announced)
	w.refuse(errdefs.ErrFailedPrecondition, "still needed", dag.Forget{Update: 1})
	w.remove("b")
	w.do(dag.Forget{Update: 1})
}

// TestAnnouncedEnds: an announcement ends with its storage, and when another update takes the storage to the same
// layer; one that leads elsewhere stays.
func TestAnnouncedEnds(t *testing.T) {
	w := newAnnounced(t, dag.Announced)
	w.layer("other", "a")
	w.announce(2, "a", "other", dag.Announced, "c")
	w.begin(3, "a", "b", "c")
	w.apply(3, "c", "", "x")
	if got := []dag.State{w.state(1, "c"), w.state(2, "c")}; !slices.Equal(got, []dag.State{dag.Aborted, dag.Announced}) {
		t.Errorf("the announcements are %v", got)
	}
	w.remove("k-c")
	w.do(dag.RemoveStorage{Name: "c", Now: w.now()})
	if got := w.state(2, "c"); got != dag.Aborted {
		t.Errorf("without its storage the announcement is %s", got)
	}
	w.refuse(errdefs.ErrFailedPrecondition, "neither announced nor staged", dag.Proceed{Update: 2, Now: w.now()})
}

// TestRenew: an update that has moved nothing leads to the layer that was unpacked again; one that has moved a storage
// stays.
func TestRenew(t *testing.T) {
	w := newAnnounced(t, dag.Announced)
	w.container("e", "a", "v")
	w.layer("b2", "a")
	w.do(dag.Renew{Update: 1, To: w.id("b2"), Storages: []string{"e"}, Until: dag.Announced, Now: w.now()})
	if u, _ := w.g.Update(1); u.To != w.id("b2") || w.state(1, "e") != dag.Announced {
		t.Errorf("the update is %+v", u)
	}
	w.do(dag.Proceed{Update: 1, Storages: []string{"c"}, Now: w.now()})
	w.apply(1, "c", "", "x")
	w.layer("b3", "a")
	w.do(dag.Renew{Update: 1, To: w.id("b3"), Now: w.now()})
	if u, _ := w.g.Update(1); u.To != w.id("b2") {
		t.Errorf("an update that was applied leads to %v", u.To)
	}
	w.refuse(errdefs.ErrNotFound, "update u9", dag.Renew{Update: 9, To: w.id("b3"), Now: w.now()})
	none := dag.Renew{Update: 1, To: w.id("b3"), Storages: []string{"none"}, Now: w.now()}
	w.refuse(errdefs.ErrNotFound, "storage", none)
	w.refuse(errdefs.ErrNotFound, "layer", dag.Renew{Update: 1, To: 99, Now: w.now()})
}
