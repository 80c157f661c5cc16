// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag

import (
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

// TestForget: the record of an update is dropped only when nothing can come of it any longer.
func TestForget(t *testing.T) {
	g := New()
	apply := func(ts ...Transformation) {
		t.Helper()
		c, err := g.Plan(ts...)
		if err != nil {
			t.Fatal(err)
		}
		g.Apply(c)
		if err := g.Check(); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(what string) {
		t.Helper()
		if _, err := g.Plan(Forget{Update: 1}); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("%s: the update was forgotten: %v", what, err)
		}
	}
	now := time.Now()
	layer := func(name string, id NodeID) {
		apply(Prepare{Key: "x", Kind: Active, Open: id, Now: now}, Commit{Key: "x", Name: name, Now: now})
	}
	layer("one", 1)
	layer("two", 2)
	apply(Prepare{Key: "k", Kind: Active, Parent: "one", Open: 3, Now: now}, Bind{Key: "k", Storage: "s", Now: now})
	apply(BeginUpdate{ID: 1, From: 1, To: 2, Cause: "test", Storages: []string{"s"}, Now: now})
	refused("under way")
	apply(Record{Update: 1, Storage: "s", State: Planned, Now: now})
	refused("waited for")
	apply(Switch{Update: 1, Storage: "s", Head: 3, Open: 4, Now: now})
	refused("a rollback point is there")
	apply(Rollback{Update: 1, Storage: "s", Head: 4, Open: 5, Now: now})
	refused("the state set aside is there")
	apply(Retire{Storage: "s", Keep: 0})
	apply(Forget{Update: 1})
	if _, ok := g.Update(1); ok {
		t.Error("the update is still there")
	}
	if _, err := g.Plan(Forget{Update: 1}); !errdefs.IsNotFound(err) {
		t.Errorf("forgotten twice: %v", err)
	}

	apply(BeginUpdate{ID: 1, From: 1, To: 2, Cause: "test", Now: now})
	refused("new containers stand on its base")
	apply(Remove{Key: "two", Now: now})
	apply(Forget{Update: 1})
}

// TestForgetKeepsTheWay: updates by which a new container finds the newest base are not forgotten when the layers
// between are merged.
func TestForgetKeepsTheWay(t *testing.T) {
	g := New()
	apply := func(ts ...Transformation) {
		t.Helper()
		c, err := g.Plan(ts...)
		if err != nil {
			t.Fatal(err)
		}
		g.Apply(c)
	}
	now := time.Now()
	for id, parent := range []string{"", "1", "2"} {
		name := string(rune('1' + id))
		apply(Prepare{Key: "x", Kind: Active, Parent: parent, Open: NodeID(id + 1), Now: now})
		apply(Commit{Key: "x", Name: name, Now: now})
	}
	apply(Prepare{Key: "k", Kind: Active, Parent: "3", Open: 4, Now: now}, Bind{Key: "k", Storage: "s", Now: now})
	apply(Prepare{Key: "by", Kind: Active, Parent: "1", Open: 5, Now: now}, Bind{Key: "by", Storage: "t", Now: now})
	apply(BeginUpdate{ID: 1, From: 1, To: 2, Cause: "test", Now: now})
	apply(BeginUpdate{ID: 2, From: 2, To: 3, Cause: "test", Storages: []string{"s"}, Now: now})
	apply(Record{Update: 2, Storage: "s", State: Aborted, Now: now})
	apply(BeginUpdate{ID: 3, From: 2, To: 3, Cause: "test", Now: now})
	apply(Remove{Key: "k", Now: now}, Remove{Key: "3", Now: now}, Remove{Key: "2", Now: now})
	apply(Merge{Pair: Pair{Lower: 2, Upper: 3}, Into: 6, Now: now})
	if got := g.Newest(1); got != 6 {
		t.Fatalf("the newest base is %v", got)
	}
	apply(Forget{Update: 2})
	for _, id := range []UpdateID{1, 3} {
		if _, err := g.Plan(Forget{Update: id}); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("update %v was forgotten: %v", id, err)
		}
	}
	apply(RemoveStorage{Name: "s", Now: now})
	apply(Forget{Update: 3})
	apply(Forget{Update: 1})
}
