// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/snapshottertest"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// TestRollbackWithdrawnMeanwhile: a rollback that is withdrawn after somebody began to carry it out does not happen,
// and is not waited for again, whether it succeeds or fails. One that was carried out first cannot be withdrawn.
func TestRollbackWithdrawnMeanwhile(t *testing.T) {
	i := snapshottertest.New(t)
	one := i.Layer("default/1/one", "", "a")
	two := i.Layer("default/2/two", one, "b")
	_, err := i.Prepare(t.Context(), "default/3/c", one)
	i.Must(err)
	name := dag.AnonymousName("default/3/c")
	look := func() (st dag.Storage, base dag.NodeID) {
		i.State().Graph(func(g *dag.Graph) {
			st, _ = g.Storage(name)
			base = g.Base(st)
		})
		return st, base
	}
	var from, to dag.Name
	i.State().Graph(func(g *dag.Graph) {
		from, _ = g.Name(one)
		to, _ = g.Name(two)
	})
	id := i.State().NewUpdate()
	i.Must(i.State().Do(dag.BeginUpdate{ID: id, From: from.Node, To: to.Node, Storages: []string{name}, Now: clock.Now()}))
	if state, err := i.Updates().One(t.Context(), name, id); err != nil || state != dag.Applied {
		t.Fatal(state, err)
	}
	unlock, err := i.State().LockStorages(t.Context(), []string{name}) // so that nobody carries it out in the background
	i.Must(err)
	t.Cleanup(unlock)
	await := dag.AwaitRollback{Update: id, Storage: name, Reason: "in use", Now: clock.Now()}
	withdraw := func() {
		t.Helper()
		all, err := i.Rollbacks().Cancel(t.Context(), id, nil)
		if err != nil || len(all) != 1 || all[0].Fate != updates.WithdrawsRollback {
			t.Fatal(all, err)
		}
	}
	expectStays := func() {
		t.Helper()
		if st, base := look(); base != to.Node || st.Pending != nil {
			t.Errorf("the storage stands on %v and waits for %v", base, st.Pending)
		}
	}

	i.Must(i.State().Do(await))
	st, _ := look()
	withdraw()
	if state, err := i.Updates().RollbackWaiting(t.Context(), st); err != nil || state != dag.Withdrawn {
		t.Errorf("it came to %q, %v", state, err)
	}
	expectStays()

	i.Must(i.State().Do(await))
	st, _ = look()
	i.Must(i.State().Do(dag.Quarantine{Node: from.Node, Reason: "a test breaks it"}))
	if _, err := i.Updates().RollbackWaiting(t.Context(), st); err == nil || !strings.Contains(err.Error(), "a test breaks it") {
		t.Errorf("it failed with %v", err)
	}
	if st, _ := look(); st.Pending == nil {
		t.Error("it is no longer waited for after it failed")
	}
	withdraw()
	if state, err := i.Updates().RollbackWaiting(t.Context(), st); err != nil || state != dag.Withdrawn {
		t.Errorf("it came to %q, %v", state, err)
	}
	expectStays()
	i.Must(i.State().Do(dag.Quarantine{Node: from.Node}))

	i.Must(i.State().Do(await))
	st, _ = look()
	// What cancel finds waiting is carried out before it is withdrawn.
	fates, err := i.Rollbacks().CancelFates(id)
	i.Must(err)
	if state, err := i.Updates().RollbackWaiting(t.Context(), st); err != nil || state != dag.RolledBack {
		t.Errorf("it came to %q, %v", state, err)
	}
	all := i.Rollbacks().CancelFor(id, fates)
	if one := all[0]; one.Fate != updates.Fails || !errdefs.IsFailedPrecondition(one.Err) || !strings.Contains(one.Err.Error(), "already carried out") {
		t.Errorf("it came to %+v", one)
	}
	if _, err := i.Rollbacks().Cancel(t.Context(), id, nil); !errors.Is(err, errdefs.ErrFailedPrecondition) {
		t.Errorf("cancel after it: %v", err)
	}
	if _, base := look(); base != from.Node {
		t.Errorf("it stands on %v", base)
	}
}
