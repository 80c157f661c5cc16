// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/snapshottertest"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// The keys of layers, and of what becomes one.
const one, two, work = "test/1/one", "test/2/two", "test/3/work"

// noticing is a policy for layers that a client says are updates.
func noticing(client updates.OnCommit) updates.CommitPolicy {
	return updates.CommitPolicy{Client: client, Image: updates.NotifyCommit, Written: updates.IgnoreCommit}
}

// onOne returns a snapshotter with a layer on which two storages stand, both free.
func onOne(t *testing.T, policy updates.OnCommit) snapshottertest.Inside {
	i := snapshottertest.New(t, snapshotter.WithOnCommit(noticing(policy)))
	i.Layer(one, "", "file")
	for _, storage := range []string{"web", "db"} {
		i.Bound("test/4/"+storage, one, storage)
		i.Must(i.Remove(t.Context(), "test/4/"+storage))
	}
	return i
}

// TestRemovedWhileCommitting: a storage that is removed when the update of a layer is determined already does not keep
// the layer from being committed, nor the update from being recorded for others.
func TestRemovedWhileCommitting(t *testing.T) {
	i := onOne(t, updates.NotifyCommit)
	_, err := i.Prepare(t.Context(), work, one)
	i.Must(err)
	var tries int
	recorded, err := updates.CommitLayer(
		t.Context(), i.Updates(), noticing(updates.NotifyCommit), dag.Commit{Key: work, Name: two, Now: clock.Now()},
		map[string]string{updates.LabelUpdateOf: "one"}, func() {
			if tries++; tries == 1 {
				i.Must(i.Storages().Remove(t.Context(), "test/db"))
			}
		})
	i.Must(err)
	if _, err := i.Stat(t.Context(), two); err != nil {
		t.Errorf("the layer is not there: %v", err)
	}
	if len(recorded) != 1 || tries != 2 {
		t.Fatalf("after %d tries the updates are %v", tries, recorded)
	}
	if u := i.Recorded(recorded[0]); u.Outcomes["test/web"].State != dag.Announced || len(u.Outcomes) != 1 {
		t.Errorf("the update is %+v", u)
	}
}

// TestProceedWhileStaging: an update that an operator asks for while it is being staged is applied, by the run
// that stages it.
func TestProceedWhileStaging(t *testing.T) {
	i := onOne(t, updates.NotifyCommit)
	_, err := i.Prepare(t.Context(), work, one)
	i.Must(err)
	i.Must(i.Commit(t.Context(), two, work, snapshots.WithLabels(map[string]string{updates.LabelUpdateOf: "one"})))
	const id = 1
	st, _ := i.State().Storage("test/web")
	u := i.Recorded(id)
	i.Must(i.State().Do(dag.Renew{Update: id, To: u.To, Storages: []string{"test/web"}, Until: dag.Staged, Now: clock.Now()}))
	u = i.Recorded(id)
	i.Must(i.State().Do(dag.Proceed{Update: id, Storages: []string{"test/web"}, Now: clock.Now()}))
	p, err := i.Updates().Stager().StageAhead(t.Context(), st, u)
	i.Must(err)
	i.Must(i.Updates().Stager().Commit(p, p.Beside("test/web")))
	state := i.Updates().State(id, "test/web")
	if state != dag.Staged || !i.Recorded(id).Outcomes["test/web"].Underway() {
		t.Fatalf("it is %s: %+v", state, i.Recorded(id))
	}
	i.Updates().Run(t.Context(), id)
	if got := i.Recorded(id).Outcomes["test/web"].State; got != dag.Applied {
		t.Errorf("the update is %s", got)
	}
	if got := i.Recorded(id).Outcomes["test/db"].State; got != dag.Announced {
		t.Errorf("the update of a storage that was not asked for is %s", got)
	}
}

// TestStagedAndDamaged: a delta storage that was staged and is damaged is determined again.
func TestStagedAndDamaged(t *testing.T) {
	i := snapshottertest.New(t, snapshotter.WithOnCommit(noticing(updates.StageCommit)))
	i.Layer(one, "", "conf")
	i.Bound("test/4/web", one, "web")
	write := func(storage, content string) {
		i.Must(os.WriteFile(filepath.Join(i.Open(storage), "conf"), []byte(content), 0o600))
	}
	write("test/web", "x\n\na\n")
	i.Must(i.Remove(t.Context(), "test/4/web"))
	_, err := i.Prepare(t.Context(), work, one)
	i.Must(err)
	write(dag.AnonymousName(work), "b\n\nx\n")
	i.Must(i.Commit(t.Context(), two, work, snapshots.WithLabels(map[string]string{updates.LabelUpdateOf: "one"})))
	i.Until(func() bool { return !i.Recorded(1).Underway() })
	staged := i.Recorded(1).Outcomes["test/web"]
	if staged.State != dag.Staged || staged.Delta == 0 {
		t.Fatalf("the update is %+v", staged)
	}
	i.Must(i.State().Do(dag.Quarantine{Node: staged.Delta, Reason: "a test"}))
	i.Must(i.Updates().Apply(t.Context(), 1, nil))
	i.Until(func() bool { return !i.Recorded(1).Underway() })
	if o := i.Recorded(1).Outcomes["test/web"]; o.State != dag.Applied || o.Delta == staged.Delta {
		t.Errorf("the update is %+v", o)
	}
}
