// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"errors"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
)

// TestRollbackWithdrawnMeanwhile: a rollback that is withdrawn after somebody began to carry it out does not happen, and is not
// waited for again, whether it succeeds or fails. One that was carried out first cannot be withdrawn.
func TestRollbackWithdrawnMeanwhile(t *testing.T) {
	i := newInside(t)
	one := i.layer("default/1/one", "", "a")
	two := i.layer("default/2/two", one, "b")
	_, err := i.Prepare(t.Context(), "default/3/c", one)
	i.must(err)
	name := dag.AnonymousName("default/3/c")
	look := func() (st dag.Storage, base dag.NodeID) {
		i.state.Graph(func(g *dag.Graph) {
			st, _ = g.Storage(name)
			base = g.Base(st)
		})
		return st, base
	}
	var from, to dag.Name
	i.state.Graph(func(g *dag.Graph) {
		from, _ = g.Name(one)
		to, _ = g.Name(two)
	})
	id := i.state.NewUpdate()
	i.must(i.state.Do(dag.BeginUpdate{ID: id, From: from.Node, To: to.Node, Storages: []string{name}, Now: clock.Now()}))
	if state, err := i.updateOne(t.Context(), name, id); err != nil || state != dag.Applied {
		t.Fatal(state, err)
	}
	unlock, err := i.state.LockStorages(t.Context(), []string{name}) // so that nobody carries it out in the background
	i.must(err)
	t.Cleanup(unlock)
	await := dag.AwaitRollback{Update: id, Storage: name, Reason: "in use", Now: clock.Now()}
	withdraw := func() {
		t.Helper()
		all, err := i.Cancel(t.Context(), id, nil)
		if err != nil || len(all) != 1 || all[0].Fate != WithdrawsRollback {
			t.Fatal(all, err)
		}
	}
	expectStays := func() {
		t.Helper()
		if st, base := look(); base != to.Node || st.Pending != nil {
			t.Errorf("the storage stands on %v and waits for %v", base, st.Pending)
		}
	}

	i.must(i.state.Do(await))
	st, _ := look()
	withdraw()
	if state, err := i.rollbackWaiting(t.Context(), st); err != nil || state != dag.Withdrawn {
		t.Errorf("it came to %q, %v", state, err)
	}
	expectStays()

	i.must(i.state.Do(await))
	st, _ = look()
	i.must(i.state.Do(dag.Quarantine{Node: from.Node, Reason: "a test breaks it"}))
	if _, err := i.rollbackWaiting(t.Context(), st); err == nil || !strings.Contains(err.Error(), "a test breaks it") {
		t.Errorf("it failed with %v", err)
	}
	if st, _ := look(); st.Pending == nil {
		t.Error("it is no longer waited for after it failed")
	}
	withdraw()
	if state, err := i.rollbackWaiting(t.Context(), st); err != nil || state != dag.Withdrawn {
		t.Errorf("it came to %q, %v", state, err)
	}
	expectStays()
	i.must(i.state.Do(dag.Quarantine{Node: from.Node}))

	i.must(i.state.Do(await))
	st, _ = look()
	// What cancel finds waiting is carried out before it is withdrawn.
	fates, err := i.fates(RollbackRequest{Update: id}, cancelFate, false)
	i.must(err)
	if state, err := i.rollbackWaiting(t.Context(), st); err != nil || state != dag.RolledBack {
		t.Errorf("it came to %q, %v", state, err)
	}
	all := i.undo(RollbackRequest{Update: id}, fates, cancelFate, func(one Undone) Undone { return one })
	if one := all[0]; one.Fate != Fails || !errdefs.IsFailedPrecondition(one.Err) || !strings.Contains(one.Err.Error(), "already carried out") {
		t.Errorf("it came to %+v", one)
	}
	if _, err := i.Cancel(t.Context(), id, nil); !errors.Is(err, errdefs.ErrFailedPrecondition) {
		t.Errorf("cancel after it: %v", err)
	}
	if _, base := look(); base != from.Node {
		t.Errorf("it stands on %v", base)
	}
}
