// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
)

// The keys of layers, and of what becomes one.
const one, two, work = "test/1/one", "test/2/two", "test/3/work"

// onOne returns a snapshotter with a layer on which two storages stand, both free.
func onOne(t *testing.T, policy OnCommit) inside {
	i := newInside(t, WithOnCommit(CommitPolicy{Client: policy, Image: NotifyCommit, Written: IgnoreCommit}))
	i.layer(one, "", "file")
	for _, storage := range []string{"web", "db"} {
		i.bound("test/4/"+storage, one, storage)
		i.must(i.Remove(t.Context(), "test/4/"+storage))
	}
	return i
}

// update returns an update.
func (i inside) update(id dag.UpdateID) (u dag.Update) {
	i.state.Graph(func(g *dag.Graph) { u, _ = g.Update(id) })
	return u
}

// TestRemovedWhileCommitting: a storage that is removed when the update of a layer is determined already does not keep
// the layer from being committed, nor the update from being recorded for others.
func TestRemovedWhileCommitting(t *testing.T) {
	i := onOne(t, NotifyCommit)
	_, err := i.Prepare(t.Context(), work, one)
	i.must(err)
	n, err := i.name(work)
	i.must(err)
	var tries int
	updates, err := i.commit(t.Context(), dag.Commit{Key: work, Name: two, Now: clock.Now()}, func() begun {
		b := i.begun(t.Context(), n, two, map[string]string{LabelUpdateOf: "one"})
		if tries++; tries == 1 {
			i.must(i.RemoveStorage(t.Context(), "test/db"))
		}
		return b
	})
	i.must(err)
	if _, err := i.Stat(t.Context(), two); err != nil {
		t.Errorf("the layer is not there: %v", err)
	}
	if len(updates) != 1 || tries != 2 {
		t.Fatalf("after %d tries the updates are %v", tries, updates)
	}
	if u := i.update(updates[0]); u.Outcomes["test/web"].State != dag.Announced || len(u.Outcomes) != 1 {
		t.Errorf("the update is %+v", u)
	}
}

// TestProceedWhileStaging: an update that an operator asks for while it is being staged is applied, by the run
// that stages it.
func TestProceedWhileStaging(t *testing.T) {
	i := onOne(t, NotifyCommit)
	_, err := i.Prepare(t.Context(), work, one)
	i.must(err)
	i.must(i.Commit(t.Context(), two, work, snapshots.WithLabels(map[string]string{LabelUpdateOf: "one"})))
	const id = 1
	st, _ := i.state.Storage("test/web")
	u := i.update(id)
	i.must(i.state.Do(dag.Renew{Update: id, To: u.To, Storages: []string{"test/web"}, Until: dag.Staged, Now: clock.Now()}))
	u = i.update(id)
	i.must(i.state.Do(dag.Proceed{Update: id, Storages: []string{"test/web"}, Now: clock.Now()}))
	p, err := i.stageAhead(t.Context(), st, u)
	i.must(err)
	i.must(i.commitStaged(p, p.beside("test/web")))
	state := i.stateOf(id, "test/web")
	if state != dag.Staged || !i.update(id).Outcomes["test/web"].Underway() {
		t.Fatalf("it is %s: %+v", state, i.update(id))
	}
	i.runUpdate(t.Context(), id)
	if got := i.update(id).Outcomes["test/web"].State; got != dag.Applied {
		t.Errorf("the update is %s", got)
	}
	if got := i.update(id).Outcomes["test/db"].State; got != dag.Announced {
		t.Errorf("the update of a storage that was not asked for is %s", got)
	}
}

// TestStagedAndDamaged: a delta storage that was staged and is damaged is determined again.
func TestStagedAndDamaged(t *testing.T) {
	i := newInside(t, WithOnCommit(CommitPolicy{Client: StageCommit, Image: NotifyCommit, Written: IgnoreCommit}))
	i.layer(one, "", "conf")
	i.bound("test/4/web", one, "web")
	write := func(storage, content string) {
		i.must(os.WriteFile(filepath.Join(i.open(storage), "conf"), []byte(content), 0o600))
	}
	write("test/web", "x\n\na\n")
	i.must(i.Remove(t.Context(), "test/4/web"))
	_, err := i.Prepare(t.Context(), work, one)
	i.must(err)
	write(dag.AnonymousName(work), "b\n\nx\n")
	i.must(i.Commit(t.Context(), two, work, snapshots.WithLabels(map[string]string{LabelUpdateOf: "one"})))
	i.until(func() bool { return !i.update(1).Underway() })
	staged := i.update(1).Outcomes["test/web"]
	if staged.State != dag.Staged || staged.Delta == 0 {
		t.Fatalf("the update is %+v", staged)
	}
	i.must(i.state.Do(dag.Quarantine{Node: staged.Delta, Reason: "a test"}))
	i.must(i.Apply(t.Context(), 1, nil))
	i.until(func() bool { return !i.update(1).Underway() })
	if o := i.update(1).Outcomes["test/web"]; o.State != dag.Applied || o.Delta == staged.Delta {
		t.Errorf("the update is %+v", o)
	}
}

func (i inside) until(is func() bool) {
	i.t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			i.t.Fatal("it does not come to that")
		}
	}
}
