// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package binding

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// leaving is how long containerd may take to drop the key of a container that is gone.
const leaving = 15 * time.Second

// looks is how often, while that is waited for, containerd is asked what it knows.
const looks = 5

// removeFree removes a storage that is not in use. Keys of containers that are gone may still refer to it. containerd
// drops them when it collects garbage, which is waited for. What it knew neither when asked first nor when asked last,
// it has forgotten (it was killed while it removed a container), and such a key is dropped together with the storage.
func (s *Storages) removeFree(ctx context.Context, name string) error {
	var (
		deadline = time.Now().Add(s.leaving)
		asked    time.Time
		unknown  = 0 // the looks in a row in which containerd knew no key
	)
	for {
		err := s.state.Do(dag.RemoveStorage{Name: name, Now: clock.Now()})
		if !errdefs.IsFailedPrecondition(err) {
			return err
		}
		last := !asked.IsZero() && !time.Now().Before(deadline)
		if last || time.Since(asked) >= s.leaving/looks {
			asked = time.Now()
			holders := s.keysOf(name)
			switch left := s.lookFor(ctx, name, holders); {
			case left.err == nil:
				unknown++
				err = fmt.Errorf("storage %q: containerd has only just let go of its container; try again: %w",
					name, errdefs.ErrFailedPrecondition)
			case !left.leaving:
				return left.err
			default:
				unknown, err = 0, left.err
			}
			if last && unknown > 1 {
				return s.dropForsaken(ctx, name, holders)
			}
		}
		if last {
			return err
		}
		if err := background.Sleep(ctx, s.leaving/150); err != nil {
			return fmt.Errorf("wait for containerd to let go of storage %q: %w", name, err)
		}
	}
}

// keysOf returns the keys that refer to a storage.
func (s *Storages) keysOf(storage string) (holders []string) {
	s.state.Graph(func(g *dag.Graph) {
		for _, n := range g.Names() {
			if n.Storage == storage {
				holders = append(holders, n.Key)
			}
		}
	})
	return holders
}

// look is what containerd says of the keys of a storage.
type look struct {
	err     error // why they cannot be dropped, nil if containerd knows none of them
	leaving bool  // this may pass by itself
}

// lookFor asks containerd whether it knows any of the keys that refer to a storage, as a snapshot or as a container's.
func (s *Storages) lookFor(ctx context.Context, storage string, holders []string) look {
	held := func(key, why string, args ...any) error {
		return fmt.Errorf("storage %q belongs to %s, %s: %w",
			storage, keys.Describe(key), fmt.Sprintf(why, args...), errdefs.ErrFailedPrecondition)
	}
	for _, key := range holders {
		k := keys.Parse(key)
		if s.host == nil || k.Namespace == "" {
			return look{err: held(key, "and without containerd.address in the configuration molt cannot ask "+
				"whether that is gone; remove it first")}
		}
		ask, cancel := context.WithTimeout(ctx, use.AskTimeout)
		_, err := s.host.Claim(ask, k.Namespace, k.Key)
		cancel()
		switch {
		case err == nil || errdefs.IsInvalidArgument(err):
			return look{err: held(key, "remove that first")}
		case !errdefs.IsNotFound(err):
			return look{err: held(key, "and containerd cannot be asked whether that is gone (%v); "+
				"start containerd and try again", err)}
		}
	}
	if len(holders) == 0 {
		return look{}
	}
	ask, cancel := context.WithTimeout(ctx, use.AskTimeout)
	defer cancel()
	known, err := s.host.Snapshots(ask)
	if err != nil {
		return look{err: held(holders[0], "and containerd cannot be asked for its snapshots (%v); "+
			"start containerd and try again", err)}
	}
	for _, key := range holders {
		k := keys.Parse(key)
		switch {
		case slices.Contains(known, k):
			return look{leaving: true, err: held(key, "of which containerd still has the snapshot; remove it: "+
				"ctr -n %s snapshots --snapshotter molt rm %q", k.Namespace, k.Key)}
		case s.young.is(key):
			return look{leaving: true, err: held(key, "which containerd does not know, but may be about to create; "+
				"try again in %v", s.young.bound.Round(time.Second))}
		}
	}
	return look{}
}

// dropForsaken removes a storage with the keys that refer to it and that containerd has forgotten, in one change. The
// caller holds the lock of the storage, so that no other key is bound to it.
func (s *Storages) dropForsaken(ctx context.Context, storage string, holders []string) error {
	var changes []dag.Transformation
	for _, key := range holders {
		changes = append(changes, dag.Remove{Key: key, Now: clock.Now()})
	}
	anonymous := false
	s.state.Graph(func(g *dag.Graph) {
		st, _ := g.Storage(storage)
		anonymous = st.Anonymous
	})
	if !anonymous { // else it ends with its key
		changes = append(changes, dag.RemoveStorage{Name: storage, Now: clock.Now()})
	}
	if err := s.state.Do(changes...); err != nil {
		return err
	}
	for _, key := range holders {
		s.tracker.Released(key, clock.Now())
		log.G(ctx).WithFields(log.Fields{"storage": storage, "key": key}).
			Warn("dropped a key that containerd no longer knows, with its storage")
	}
	return nil
}

// Making notes that a key is being made.
func (s *Storages) Making(key string) { s.young.made(key) }

// SetPatience sets how long containerd may take to drop the key of a container that is gone, and for how long a new
// key may be one that containerd has not written down yet.
func (s *Storages) SetPatience(leaving, creating time.Duration) {
	s.leaving, s.young.bound = leaving, creating
}

// young knows which keys were made so recently that containerd may not have written down that it has them: it does so
// after the snapshotter has made them. Keys from before this process count from its start. Only monotonic time counts.
type young struct {
	bound time.Duration
	start time.Time

	mu sync.Mutex
	at map[string]time.Time
}

// creating is how many times the grace containerd may take to write down that it has a key.
const creating = 12

func newYoung(grace time.Duration) *young {
	return &young{bound: creating * grace, start: time.Now(), at: map[string]time.Time{}}
}

// made notes that a key is being made.
func (y *young) made(key string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for k, at := range y.at {
		if time.Since(at) >= y.bound {
			delete(y.at, k)
		}
	}
	y.at[key] = time.Now()
}

func (y *young) is(key string) bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	at, made := y.at[key]
	if !made {
		at = y.start
	}
	return time.Since(at) < y.bound
}
