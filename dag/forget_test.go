// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag

import (
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

// TestForget: the record of an update is dropped only when nothing can come of it any more.
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
