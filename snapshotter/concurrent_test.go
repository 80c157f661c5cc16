// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// TestConcurrency: clients of all sorts at once. Each goroutine owns a container and knows what it wrote; updates, rollbacks
// and merges by others must never take any of it away. The seed is printed.
func TestConcurrency(t *testing.T) {
	f := newFixture(t, snapshotter.WithRetention(state.Retention{Points: 2}), snapshotter.WithGrace(10*time.Second))
	one, two := f.bases()
	three := f.layer("three", two, map[string]string{"version": "3"})
	bases := []string{one, two, three}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)

	var owners, operators sync.WaitGroup
	done := make(chan struct{})
	for i := range 4 {
		o := owner{f: f, name: fmt.Sprintf("c%d", i), bases: bases, random: rand.New(rand.NewPCG(seed, uint64(i)))}
		owners.Go(func() { o.live(25) })
	}
	for i := range 2 {
		random := rand.New(rand.NewPCG(seed, uint64(100+i)))
		operators.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					operate(f, bases, random)
				}
			}
		})
	}
	owners.Wait()
	close(done)
	operators.Wait()
}

// operate does what an operator, or containerd's garbage collector, may do at any time. It may be refused, for reasons that
// are no failure.
func operate(f *fixture, bases []string, random *rand.Rand) {
	ctx := f.t.Context()
	var err error
	switch random.IntN(6) {
	case 0:
		from, to := bases[random.IntN(3)], bases[random.IntN(3)]
		_, err = f.Updates().Begin(ctx, updates.Request{From: f.node(from), To: f.node(to)})
	case 1:
		var recorded []dag.Update
		f.State().Graph(func(g *dag.Graph) { recorded = g.Updates() })
		if len(recorded) > 0 {
			u := recorded[random.IntN(len(recorded))]
			err = f.Rollbacks().Rollback(ctx, updates.RollbackRequest{Update: u.ID, Carry: true})
		}
	case 2:
		_, err = f.Merger().Layers(ctx)
	case 3:
		err = f.Cleanup(ctx)
	case 4:
		err = f.Walk(ctx, func(_ context.Context, i snapshots.Info) error {
			if _, err := f.Usage(ctx, i.Name); !errdefs.IsNotFound(err) && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		})
	case 5:
		_, err = f.PreviewUpdate(ctx, updates.Request{From: f.node(bases[0]), To: f.node(bases[1])})
	}
	for _, expected := range []func(error) bool{errdefs.IsFailedPrecondition, errdefs.IsNotFound, errdefs.IsInvalidArgument, errdefs.IsAborted} {
		if err == nil || expected(err) {
			return
		}
	}
	f.t.Errorf("operation failed: %v", err)
}

// owner makes, uses and removes containers with one storage.
type owner struct {
	f      *fixture
	name   string
	own    string // key of the container, as containerd knows it
	bases  []string
	random *rand.Rand
	count  int
}

func (o *owner) live(rounds int) {
	key := ""
	for round := range rounds {
		if key == "" || o.random.IntN(3) == 0 {
			if key != "" {
				o.check(o.f.Remove(o.f.t.Context(), key))
			}
			o.own = fmt.Sprintf("%s-%d", o.name, round)
			key = fmt.Sprintf("test/%d/%s", 10000+round, o.own)
			o.f.host.set(o.own, o.name)
			_, err := o.f.Prepare(o.f.t.Context(), key, o.bases[o.random.IntN(3)])
			o.check(err)
		}
		mounts, err := o.f.Mounts(o.f.t.Context(), key)
		o.check(err)
		if err == nil {
			o.check(mount.WithTempMount(o.f.t.Context(), mounts, o.use))
		}
	}
}

// use looks whether all that was written is there, and writes more.
func (o *owner) use(dir string) error {
	o.f.Uses().TaskSeen("test", o.own, time.Now())
	for n := range o.count {
		data, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("w%d", n)))
		if err != nil {
			return err
		}
		if string(data) != o.name {
			return fmt.Errorf("w%d of %s holds %q", n, o.name, data)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("w%d", o.count)), []byte(o.name), 0o600); err != nil {
		return err
	}
	o.count++
	return nil
}

func (o *owner) check(err error) {
	if err != nil {
		o.f.t.Errorf("%s: %v", o.name, err)
	}
}
