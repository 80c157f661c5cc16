// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// begin begins an update of all storages on a base.
func (f *fixture) begin(from, to string, allOrNothing bool) dag.UpdateID {
	f.t.Helper()
	id, err := f.Updates().Begin(f.t.Context(), updates.Request{From: f.node(from), To: f.node(to), Anonymous: true, AllOrNothing: allOrNothing})
	f.must(err)
	return id
}

// asked returns a channel that is ready as soon as the host is asked whether a container runs.
func (f *fixture) asked() <-chan struct{} {
	asked := make(chan struct{})
	f.host.whenAsked(func(context.Context) {
		f.host.whenAsked(nil)
		close(asked)
	})
	return asked
}

// TestNamedWhileUpdated: a storage that gets its name in the middle of an update is serviced under that. What waits for a
// container's mounts to be in place does not keep that container from being started.
func TestNamedWhileUpdated(t *testing.T) {
	for _, allOrNothing := range []bool{false, true} {
		t.Run(fmt.Sprint("all or nothing: ", allOrNothing), func(t *testing.T) {
			f := newFixture(t, snapshotter.WithGrace(time.Hour))
			one, two := f.bases()
			key := f.key("c")
			_, err := f.Prepare(t.Context(), key, one)
			f.must(err)
			asked := f.asked()
			id := f.begin(one, two, allOrNothing)
			<-asked
			f.host.set("c", "web")
			_, err = f.Mounts(t.Context(), key)
			f.must(err)
			f.Uses().TaskSeen("test", "c", time.Now())
			f.expectState(f.settled(id), "web", dag.Applied)
		})
	}
}

// TestStopIsNoAbort: an update that is under way when the daemon is stopped goes on when it is started again.
func TestStopIsNoAbort(t *testing.T) {
	for _, allOrNothing := range []bool{false, true} {
		t.Run(fmt.Sprint("all or nothing: ", allOrNothing), func(t *testing.T) {
			f := newFixture(t, snapshotter.WithGrace(time.Hour))
			one, two := f.bases()
			_, err := f.Mounts(t.Context(), f.container("web", one, "web"))
			f.must(err)
			asked := f.asked()
			id := f.begin(one, two, allOrNothing)
			<-asked
			f.reopen() // which does not know that nothing was mounted
			f.Uses().TaskSeen("test", "web", time.Now())
			f.expectState(f.settled(id), "web", dag.Applied)
		})
	}
}

// TestLimitedQuestions: containerd may hang itself, so that no question to it is without an end.
func TestLimitedQuestions(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	f.write(f.container("web", one, "web"), "own", "mine")
	var unlimited, asked atomic.Int32
	f.host.whenAsked(func(ctx context.Context) {
		asked.Add(1)
		if _, ok := ctx.Deadline(); !ok {
			unlimited.Add(1)
		}
	})
	f.update(one, two)
	if asked.Load() == 0 || unlimited.Load() > 0 {
		t.Errorf("%d of %d questions had no deadline", unlimited.Load(), asked.Load())
	}
}

// TestFailedBindIsOver: a container that is removed while its storage is being serviced leaves nothing under way.
func TestFailedBindIsOver(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	f.write(f.container("first", one, "web"), "own", "mine")
	second := f.container("second", two, "web")
	f.host.whenAsked(func(ctx context.Context) { f.must(f.Remove(ctx, second)); f.host.whenAsked(nil) })
	if _, err := f.Mounts(t.Context(), second); err == nil {
		t.Error("a key that was removed has mounts")
	}
	for _, u := range f.updates() {
		if u.State != dag.Aborted {
			t.Errorf("update %v is %s: %v", u.ID, u.State, u.Outcomes)
		}
	}
	f.expect(f.container("third", one, "web"), "own", "mine")
}

// TestTellingOneUpdate: what one update was told is not applied to storages that come to the same base later on.
func TestTellingOneUpdate(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	f.write(f.container("a", one, "a"), "own", "mine")
	f.write(f.container("b", one, "b"), "own", "mine")
	id, err := f.Updates().Begin(t.Context(), updates.Request{
		From: f.node(one), To: f.node(two), Storages: []string{"test/a"}, Options: servicing.Options{Force: true},
	})
	f.must(err)
	f.settled(id)
	f.expect(f.container("later", two, "b"), "version", "2")
	for _, u := range f.updates() {
		if _, ok := u.Outcomes["test/b"]; ok == (u.ID == id) {
			t.Errorf("update %v has outcomes %v", u.ID, u.Outcomes)
		}
	}
}

// TestWorkersAreShared: however many updates are under way, no more storages are serviced at once than configured.
func TestWorkersAreShared(t *testing.T) {
	f := newFixture(t, snapshotter.WithWorkers(1))
	one, two := f.bases()
	var ids []dag.UpdateID
	for n := range 4 {
		name := fmt.Sprint("c", n)
		f.write(f.container(name, one, name), "own", "mine")
	}
	var active, most atomic.Int32
	f.host.whenAsked(func(context.Context) {
		if n := active.Add(1); n > most.Load() {
			most.Store(n)
		}
		time.Sleep(10 * time.Millisecond) // for others to come
		active.Add(-1)
	})
	for n := range 4 {
		id, err := f.Updates().Begin(t.Context(), updates.Request{From: f.node(one), To: f.node(two), Storages: []string{fmt.Sprint("test/c", n)}})
		f.must(err)
		ids = append(ids, id)
	}
	for _, id := range ids {
		f.settled(id)
	}
	if most.Load() != 1 {
		t.Errorf("%d storages were serviced at once", most.Load())
	}
}

// TestRollbackThatFails: a rollback that waited and cannot be carried out keeps no container from starting, goes on waiting,
// and the record of the update says why.
func TestRollbackThatFails(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	key := f.container("web", one, "web")
	f.write(key, "own", "mine")
	u := f.update(one, two)
	f.in(key, func(string) {
		f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: u.ID, Carry: true}))
	})
	odd := filepath.Join(f.dir(f.storage("web").Head), "fs", "odd")
	f.must(os.Mkdir(odd, 0o755))
	f.must(unix.Setxattr(odd, "trusted.overlay.redirect", []byte("elsewhere"), 0))
	f.expect(key, "version", "2")
	u = f.settled(u.ID)
	if reasons := fmt.Sprint(u.Outcomes["test/web"].Reasons); f.storage("web").Pending == nil || !contains(reasons, "redirect", "tried again") {
		t.Errorf("the storage is %+v, the outcome %v", f.storage("web"), u.Outcomes)
	}
	f.must(os.Remove(odd))
	f.expect(key, "version", "1")
	f.expect(key, "own", "mine")
}

// TestOthersGoOn: while a storage is being serviced, however long that takes, containerd is answered: all that concerns other
// containers, and Walk, Stat and Remove of the very key, too.
func TestOthersGoOn(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	web, other := f.container("web", one, "web"), f.container("other", one, "")
	_, err := f.Mounts(t.Context(), web)
	f.must(err)
	asked, release := make(chan struct{}), make(chan struct{})
	f.host.whenAsked(func(context.Context) {
		f.host.whenAsked(nil)
		close(asked)
		<-release
	})
	id, err := f.Updates().Begin(t.Context(), updates.Request{From: f.node(one), To: f.node(two)})
	f.must(err)
	<-asked
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n := 0
	f.must(f.Walk(ctx, func(context.Context, snapshots.Info) error { n++; return nil }))
	if n != 4 {
		t.Errorf("Walk shows %d names", n)
	}
	_, err = f.Stat(ctx, web)
	f.must(err)
	_, err = f.Mounts(ctx, other)
	f.must(err)
	_, err = f.View(ctx, f.key("view"), two)
	f.must(err)
	_, err = f.Prepare(ctx, f.key("new"), two)
	f.must(err)
	f.must(f.Remove(ctx, other))
	f.must(f.Remove(ctx, web))
	close(release)
	f.settled(id)
	f.expect(f.container("again", two, "web"), "version", "2")
}
