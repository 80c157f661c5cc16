// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// TestNoMountsWhileServiced: a container cannot get at its storage, be it one without a name, while side effects are being
// determined from what is in it.
func TestNoMountsWhileServiced(t *testing.T) {
	for _, claim := range []string{"web", ""} {
		t.Run("claim "+claim, func(t *testing.T) {
			f := newFixture(t)
			one, two := f.bases()
			key := f.container("c", one, claim)
			f.write(key, "own", "mine")
			var got error
			f.host.whenAsked(func(ctx context.Context) {
				f.host.whenAsked(nil)
				ctx, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				_, got = f.Mounts(ctx, key)
			})
			id, err := f.Updates().Begin(t.Context(), updates.Request{From: f.node(one), To: f.node(two), Anonymous: true})
			f.must(err)
			f.settled(id)
			refused(t, got, errdefs.ErrUnavailable, "serviced")
			f.expect(key, "version", "2")
		})
	}
}

// TestOneOfTwoGetsTheStorage: two containers that ask for one storage at the same moment do not both get it.
func TestOneOfTwoGetsTheStorage(t *testing.T) {
	f := newFixture(t, snapshotter.WithGrace(time.Hour))
	one, _ := f.bases()
	for round := range 50 {
		var keys [2]string
		for i := range keys {
			own := fmt.Sprintf("c%d-%d", round, i)
			keys[i] = f.container(own, one, fmt.Sprintf("s%d", round))
			f.Uses().TaskSeen("test", own, time.Now())
		}
		var (
			wg   sync.WaitGroup
			errs [2]error
		)
		for i, key := range keys {
			wg.Go(func() { _, errs[i] = f.Mounts(t.Context(), key) })
		}
		wg.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("round %d: the two containers got %v and %v", round, errs[0], errs[1])
		}
	}
}

// TestImpatientClient: servicing goes on when the client that caused it does not wait, and who comes next finds it done.
func TestImpatientClient(t *testing.T) {
	for name, before := range map[string]func(f *fixture, one, two string) (key string){
		"an update that waited": func(f *fixture, one, two string) string {
			key := f.container("web", one, "web")
			f.in(key, func(string) { f.expectState(f.update(one, two), "web", dag.Planned) })
			return key
		},
		"a container on another base": func(f *fixture, one, two string) string {
			f.write(f.container("first", one, "web"), "own", "mine")
			return f.container("second", two, "web")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			one, two := f.bases()
			key := before(f, one, two)
			ctx, cancel := context.WithCancel(t.Context())
			f.host.whenAsked(func(context.Context) { cancel() })
			if _, err := f.Mounts(ctx, key); err != nil && !errdefs.IsUnavailable(err) {
				t.Errorf("got error %v", err)
			}
			f.host.whenAsked(nil)
			f.expect(key, "version", "2")
			if all := f.updates(); len(all) != 1 || all[0].State != dag.Applied {
				t.Errorf("the updates are %v", all)
			}
		})
	}
}
