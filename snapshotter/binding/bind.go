// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package binding

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// Binder binds keys to storages.
type Binder struct {
	state   *state.State
	tracker *use.Tracker
	updates *updates.Updates
	host    Host // nil without a containerd
	policy  Policy
	holds   *holds
	labels  *Labels
}

// Claim is what a container asks for, and what containerd has on record of it.
type Claim struct {
	// Storage is the full name of the storage, empty when the container asks for none.
	Storage string
	// Container is what is known of the container, nil when it is not known.
	Container *dag.Container
}

// Identify returns what a key claims; the storage is empty when the key has none but its own. The answer of
// containerd is remembered: it is asked once, after the container was created, and when it cannot answer nothing is
// mounted.
func (bd *Binder) Identify(ctx context.Context, n dag.Name) (Claim, error) {
	if n.Identity == dag.Bound {
		return Claim{Storage: n.Storage}, nil
	}
	k := keys.Parse(n.Key)
	if n.Identity == dag.Plain || bd.host == nil || k.Namespace == "" || k.Extraction() {
		return Claim{}, nil
	}
	ask, cancel := context.WithTimeout(ctx, use.AskTimeout)
	defer cancel()
	claim, err := bd.host.Claim(ask, k.Namespace, k.Key)
	switch {
	case errdefs.IsNotFound(err):
		return Claim{}, nil // the container is still being created; it will ask for its mounts again when it starts
	case errdefs.IsInvalidArgument(err):
		return Claim{}, err
	case err != nil:
		return Claim{}, fmt.Errorf("ask containerd which storage container %q wants: %w: %w",
			k.Key, errdefs.ErrUnavailable, err)
	case claim.Storage == "":
		return Claim{}, bd.state.Do(dag.Identify{Key: n.Key})
	}
	return claim, nil
}

// pairing is a key that is about to be bound to a storage.
type pairing struct {
	key     string
	storage dag.Storage // as it is on record
	exists  bool
	stands  dag.NodeID // the base that the storage stands on
	asks    dag.NodeID // the base that the key asks for
	same    bool       // both are one base
	again   bool       // the last container of the storage asked for the same
	as      dag.Bind
}

// pair looks up what there is of a key and of the storage that it is to be bound to.
func (bd *Binder) pair(key string, claim Claim) (b pairing, err error) {
	bd.state.Graph(func(g *dag.Graph) {
		n, known := g.Name(key)
		if !known {
			err = fmt.Errorf("snapshot %q: %w", key, errdefs.ErrNotFound)
			return
		}
		b.key, b.asks = key, g.AskedOf(n)
		b.storage, b.exists = g.Storage(claim.Storage)
		b.stands = g.Base(b.storage)
		b.same = b.exists && g.SameBase(b.stands, b.asks)
		b.again = b.exists && g.AsksAgain(b.storage, b.asks)
		b.as = dag.Bind{
			Key: key, Storage: claim.Storage, Holder: b.storage.Key, Asked: g.Asking(b.asks),
			Container: claim.Container, Now: clock.Now(),
		}
	})
	return b, err
}

// Bind makes a storage the writable state of a key. What a container asks for counts when it changes: a container
// that asks for the base that the last one asked for gets the storage where it stands, also after an update took it
// elsewhere; one that asks for another base has the storage moved there. The caller holds the locks of the storage
// and of the one that the key has.
func (bd *Binder) Bind(ctx context.Context, key string, claim Claim) (err error) {
	b, err := bd.pair(key, claim)
	if err != nil {
		return err
	}
	own := b.exists && b.storage.Key == key
	switch {
	case own && b.storage.Asked == nil: // on record from an earlier version
		return bd.bindHere(b)
	case own && (b.same || b.again):
		return nil
	case b.exists:
		take := bd.tracker.Claim
		if own {
			take = bd.tracker.ClaimNow // this very call is the start of the container: only a mount or a task counts
		}
		c, u := use.Passing(ctx, b.storage, take)
		if !u.Free() {
			return fmt.Errorf("storage %q belongs to %s: %s: %w",
				claim.Storage, keys.Describe(b.storage.Key), bd.tracker.Named(ctx, u), errdefs.ErrFailedPrecondition)
		}
		defer func() { err = errors.Join(err, c.Close()) }()
	}
	switch {
	case !b.exists, b.same:
		return bd.bindHere(b)
	case b.again && bd.policy.Rebind == RebindOnChange:
		log.G(ctx).WithFields(log.Fields{"storage": b.storage.Name, "stands": b.stands.String(),
			"asked": b.asks.String()}).
			Info("container asks for the same base as before; the storage stays on the base that an update moved it to")
		return bd.bindHere(b)
	}
	return bd.bindElsewhere(ctx, b)
}

// bindHere binds a key to a storage where that stands. The key follows.
func (bd *Binder) bindHere(b pairing) error {
	b.as.Stay = true
	return bd.state.Do(b.as)
}

// bindElsewhere moves a free storage to the base that a key asks for: back, when it stood there before, and forward
// by an update otherwise.
func (bd *Binder) bindElsewhere(ctx context.Context, b pairing) error {
	if bd.stoodOn(b.storage, b.asks) {
		return bd.bindBack(ctx, b)
	}
	return bd.bindForward(ctx, b)
}

// bindForward updates a storage to the base that its container asks for. The update is one of its own, which no
// operator named: rolling back an operator's update leaves this storage alone.
func (bd *Binder) bindForward(ctx context.Context, b pairing) (err error) {
	// An operator may have withdrawn what was held.
	if held, ok := bd.holds.answer(b); ok && bd.updates.Runner.State(held.update, b.storage.Name) == dag.Held {
		return bd.bindHeld(ctx, b, held)
	}
	u, done, err := bd.updates.Runner.For(b.storage, b.asks)
	if err != nil {
		return err
	}
	defer done()
	staged, err := bd.updates.Stager.Ready(ctx, b.storage, u)
	defer func() { err = errors.Join(err, staged.Close()) }()
	if err != nil {
		return bd.updates.Runner.GiveUp(u.ID, b.storage.Name, err)
	}
	if len(staged.Holds) > 0 {
		if err := bd.state.Do(staged.Held(b.storage.Name)); err != nil {
			return err
		}
		held := holding{update: u.ID, reasons: staged.Holds}
		bd.holds.remember(b, held)
		return bd.bindHeld(ctx, b, held)
	}
	b.as.Stay = true // where it then stands is what the key asks for
	// The container that held the storage stays on the base that its key was prepared on: nothing asked for another
	// one.
	release := dag.Release{Storage: b.storage.Name}
	if err := bd.updates.Stager.Commit(staged, release, staged.Switched(b.storage.Name), b.as); err != nil {
		return bd.updates.Runner.GiveUp(u.ID, b.storage.Name, err)
	}
	return nil
}

// stoodOn reports whether a rollback point of a storage stands on a base.
func (bd *Binder) stoodOn(st dag.Storage, base dag.NodeID) (found bool) {
	bd.state.Graph(func(g *dag.Graph) {
		for _, p := range st.Points {
			n, _ := g.Node(p.Head)
			found = found || g.SameBase(n.Base, base)
		}
	})
	return found
}

// bindBack rolls a storage back, an update at a time, until it stands on a base from its history.
func (bd *Binder) bindBack(ctx context.Context, b pairing) error {
	st, owner := b.storage, keys.Parse(b.key).Key
	if bd.policy.OnReturn == Refuse {
		return fmt.Errorf("storage %q was updated from the base that container %q asks for to another one; "+
			"name the new image, roll the update back, or allow it by the rollback policy: %w",
			st.Name, owner, errdefs.ErrFailedPrecondition)
	}
	for {
		update := st.Points[len(st.Points)-1].Update
		if err := bd.bindBackOnce(ctx, st, owner); err != nil {
			return err
		}
		log.G(ctx).WithFields(log.Fields{"storage": st.Name, "update": update.String(), "key": b.key}).
			Warn("rolled back: the container asks for the base from before, and the last one did not")
		var there bool
		bd.state.Graph(func(g *dag.Graph) {
			st, _ = g.Storage(st.Name)
			there = g.SameBase(g.Base(st), b.asks)
		})
		if there {
			b.as.Holder = ""
			return bd.bindHere(b)
		}
	}
}

// bindBackOnce rolls the newest update of a storage back for a container.
func (bd *Binder) bindBackOnce(ctx context.Context, st dag.Storage, owner string) (err error) {
	staged, err := bd.updates.Stager.Rollback(ctx, st, bd.policy.OnReturn == CarryOver)
	defer func() { err = errors.Join(err, staged.Close()) }()
	if err != nil {
		return err
	}
	if len(staged.Holds) > 0 {
		return staged.CannotCarry(st.Name)
	}
	why := fmt.Sprintf("container %s was made on the base from before, which the one before it did not ask for", owner)
	return bd.updates.Stager.Commit(staged, dag.Release{Storage: st.Name}, staged.RolledBack(st.Name, why))
}
