// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package binding

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/failpoint"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/locks"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// Rehomer prepares the keys of containers again on the base that their storage stands on.
type Rehomer struct {
	state   *state.State
	tracker *use.Tracker
	tasks   *background.Tasks
	host    Host         // nil without a containerd
	locks   *locks.Keyed // of containers whose key is prepared again
	start   func(ctx context.Context, key string) error
}

// Home is where a container is to stand: its record, the parent of its key, and the base of its storage are one fact,
// because commit, diff and checkpoint pair them.
type Home struct {
	Namespace, Container string
	// Key is containerd's key of the container's snapshot.
	Key string
	// Image is what the record is to name, Layer the chain ID of that image.
	Image, Layer string
	// Record is for the host.
	Record json.RawMessage
}

// Rehome removes the key of a stopped container, prepares it again on the base that its storage stands on, and has
// containerd's record of the container follow. The storage stays as it is, with its history, also an anonymous one. The
// intent is on record first: whatever is killed in between, the next start of the daemon finishes it.
//
// It fails with errdefs.ErrFailedPrecondition while the container runs, and when its storage stands on another base.
func (rh *Rehomer) Rehome(ctx context.Context, to Home) error {
	storage, err := rh.storageToRehome(ctx, to)
	if err != nil {
		return err
	}
	err = rh.tracker.WhenFree(ctx, storage, false, func(st dag.Storage, u use.Use) error {
		if !u.Free() {
			return fmt.Errorf("container %q cannot be refreshed: %s; stop it first: %w", to.Container, u,
				errdefs.ErrFailedPrecondition)
		}
		if err := rh.standsOnImage(st, to); err != nil {
			return err
		}
		return rh.state.Do(dag.BeginRehoming{
			Storage: storage, Namespace: to.Namespace, Container: to.Container, Record: to.Record,
		})
	})
	if err != nil {
		return err
	}
	failpoint.RehomeBegun.Hit()
	_, err = background.Outlive(ctx, rh.tasks, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, rh.Finish(ctx, keys.Key{Namespace: to.Namespace, Key: to.Key})
	})
	return err
}

// storageToRehome returns the storage of a container.
func (rh *Rehomer) storageToRehome(ctx context.Context, to Home) (string, error) {
	names := NamesByKey(rh.state)[keys.Key{Namespace: to.Namespace, Key: to.Key}]
	for _, n := range names {
		if n.Kind == dag.Active && n.Identity == dag.Unknown { // it was never started: its storage is not known yet
			if err := rh.start(ctx, n.Key); err != nil {
				return "", err
			}
		}
	}
	var found string
	rh.state.Graph(func(g *dag.Graph) {
		for _, n := range names {
			n, _ := g.Name(n.Key)
			if st, ok := g.Storage(n.Storage); ok && st.Key == n.Key {
				found = st.Name
			}
		}
		if st, ok := g.Rehomed(to.Namespace, to.Container); ok {
			found = st.Name
		}
	})
	if found == "" {
		return "", fmt.Errorf("container %q has no storage of its own, another container has it; start it once "+
			"first: %w",
			to.Container, errdefs.ErrFailedPrecondition)
	}
	return found, nil
}

// standsOnImage refuses to re-home a container to an image that its storage does not stand on.
func (rh *Rehomer) standsOnImage(st dag.Storage, to Home) (err error) {
	rh.state.Graph(func(g *dag.Graph) {
		if base, _ := g.Node(g.Base(st)); base.Origin != keys.Origin(to.Namespace, to.Layer) {
			err = fmt.Errorf("storage %q of container %q does not stand on %s; update it first: "+
				"moltctl update create --storage %s --to %s: %w",
				st.Name, to.Container, to.Image, st.Name, to.Image, errdefs.ErrFailedPrecondition)
		}
	})
	return err
}

// Waiting returns the storage that waits for a key, empty if none does.
func (rh *Rehomer) Waiting(key string) (storage string) {
	k := keys.Parse(key)
	if k.Namespace == "" || k.Extraction() {
		return ""
	}
	st, _ := rh.rehomed(k)
	return st.Name
}

func (rh *Rehomer) rehomed(key keys.Key) (st dag.Storage, ok bool) {
	rh.state.Graph(func(g *dag.Graph) { st, ok = g.Rehomed(key.Namespace, key.Key) })
	return st, ok
}

// Take gives the key that was just prepared for a container the storage that waits for it, and calls then with the
// locks of both storages.
func (rh *Rehomer) Take(ctx context.Context, key, storage string, then func() error) (err error) {
	unlock, err := rh.state.LockStorages(ctx, []string{dag.AnonymousName(key), storage})
	if err != nil {
		return err
	}
	defer unlock()
	var (
		st    dag.Storage
		asked *dag.Asked
		ok    bool
	)
	rh.state.Graph(func(g *dag.Graph) {
		n, _ := g.Name(key)
		st, ok = g.Storage(storage)
		asked = g.Asking(g.AskedOf(n))
	})
	if !ok {
		return fmt.Errorf("storage %q: %w", storage, errdefs.ErrNotFound)
	}
	take := rh.tracker.Claim
	if st.Rehoming != nil && st.Rehoming.Placed {
		take = rh.tracker.ClaimNow // the container is being started: only a mount or a task counts
	}
	c, u := take(ctx, st, false)
	if !u.Free() {
		return fmt.Errorf("storage %q: %s: %w", storage, rh.tracker.Named(ctx, u), errdefs.ErrUnavailable)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := rh.state.Do(dag.Rehome{Key: key, Storage: storage, Asked: asked, Now: clock.Now()}); err != nil {
		return err
	}
	return then()
}

// Finish does what is left of a re-homing.
func (rh *Rehomer) Finish(ctx context.Context, key keys.Key) error {
	unlock, err := rh.locks.Lock(ctx, "rehoming "+key.Namespace+"/"+key.Key)
	if err != nil {
		return err
	}
	defer unlock()
	st, ok := rh.rehomed(key)
	if !ok {
		return nil
	}
	r := st.Rehoming
	if err := rh.host.Rehome(ctx, r.Namespace, r.Container, r.Record); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	// An anonymous storage has another name now.
	if st, ok = rh.rehomed(key); ok {
		return rh.state.Do(dag.EndRehoming{Storage: st.Name, Now: clock.Now()})
	}
	return nil
}

// rehomeAgain is how long a re-homing that cannot be finished waits for its next try.
const rehomeAgain = 2 * time.Second

// resumeRehomings finishes what a crash cut short, and tries until it is done: a container whose key is removed
// cannot start.
func (rh *Rehomer) resumeRehomings(ctx context.Context) {
	for ctx.Err() == nil {
		var errs []error
		for _, key := range rh.rehomings() {
			err := rh.Finish(ctx, key)
			if err != nil {
				log.G(ctx).WithError(err).WithField("container", key.Key).
					Error("failed to finish the re-homing of a container; it is tried again")
			}
			errs = append(errs, err)
		}
		if errors.Join(errs...) == nil || background.Sleep(ctx, rehomeAgain) != nil {
			return
		}
	}
}

// Resume finishes in the background what a stop of the daemon cut short.
func (rh *Rehomer) Resume() {
	if rh.host != nil && len(rh.rehomings()) > 0 {
		rh.tasks.Go(rh.resumeRehomings)
	}
}

func (rh *Rehomer) rehomings() (all []keys.Key) {
	rh.state.Graph(func(g *dag.Graph) {
		for name := range g.Rehomings() {
			st, _ := g.Storage(name)
			all = append(all, keys.Key{Namespace: st.Rehoming.Namespace, Key: st.Rehoming.Container})
		}
	})
	return all
}
