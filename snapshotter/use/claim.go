// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package use

import (
	"context"

	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/mounttable"
)

// Claim is a storage that was found to be free: its head cannot be mounted by anybody while it is held. The caller has
// the storage's lock from before the claim until after Close.
type Claim struct {
	tracker *Tracker
	head    dag.NodeID // 0 for none
}

// Close gives a head that is still open its work directory back, and deletes the work directory of one that was
// frozen. A second call does nothing.
func (c *Claim) Close() error {
	head := c.head
	if head == 0 {
		return nil
	}
	c.head = 0
	defer c.tracker.claims.Remove(head)
	if c.tracker.state.IsOpen(head) {
		return c.tracker.nodes.WorkDirs().Restore(head)
	}
	if err := c.tracker.nodes.WorkDirs().Drop(head); err != nil { // the storage has moved all the same
		log.L.WithError(err).Warn("a frozen node keeps its work directory; it is deleted later")
		c.tracker.kept.Add(head)
	}
	return nil
}

// Claim finds out whether a storage may be touched, and keeps it from being mounted if so. The caller holds the lock of
// the storage, so that no mounts are handed out in the meantime.
//
// A mount that was handed out long ago may still come, from a start that is slow. So the overlay's work directory is
// renamed away before anybody is asked: what is mounted by then is seen, and what comes later fails for want of it.
// Only when nothing was handed out for the time of grace is that done, so that an ordinary start does not fail. A
// storage without layers is a bind mount, which has no work directory and about which the kernel cannot be asked: there
// the grace and the mount tables decide.
//
// With assumeFree an operator answers for what nobody answers. A mount in a table or a task is not overridden.
func (t *Tracker) Claim(ctx context.Context, st dag.Storage, assumeFree bool) (c Claim, u Use) {
	if t.Recently(st.Key) {
		if _, u = t.seen(ctx, st); u.Free() || u.Assumable() {
			u = Use{Code: Starting, Container: keys.Parse(st.Key).Key}
		}
		return c, u
	}
	return t.ClaimNow(ctx, st, assumeFree)
}

// ClaimNow is claim without regard to mounts that were handed out a moment ago.
func (t *Tracker) ClaimNow(ctx context.Context, st dag.Storage, assumeFree bool) (c Claim, u Use) {
	c, table, u, err := t.beginClaim(ctx, st, assumeFree)
	if err != nil {
		return Claim{}, t.unclaimed(&c, unanswered(st, err))
	}
	if !u.Free() && (!assumeFree || !u.Assumable()) {
		return Claim{}, t.unclaimed(&c, u)
	}
	if !t.layered(st) {
		return c, Use{}
	}
	// A mount may have found the directory before it was renamed, and not have come further when the kernel was asked.
	if err := t.nodes.WorkDirs().Renew(st.Head); err != nil {
		return Claim{}, t.unclaimed(&c, unanswered(st, err))
	}
	if asked := t.asked(st, table); !asked.Free() && !assumeFree {
		return Claim{}, t.unclaimed(&c, asked)
	}
	return c, Use{}
}

// beginClaim has the work directory of a storage away, and returns how the storage is in use then. With assumeFree
// the kernel is asked even when somebody else gave no answer. The caller goes on with the claim or closes it, also
// after an error.
func (t *Tracker) beginClaim(
	ctx context.Context, st dag.Storage, assumeFree bool,
) (c Claim, table mounttable.Table, u Use, err error) {
	c = Claim{tracker: t, head: st.Head}
	t.claims.Add(st.Head)
	layered := t.layered(st)
	if layered {
		if err := t.nodes.WorkDirs().Withdraw(st.Head); err != nil {
			return c, table, u, err
		}
	}
	table, u = t.seen(ctx, st)
	if layered && (u.Free() || assumeFree && u.Assumable()) {
		if asked := t.asked(st, table); !asked.Free() {
			u = asked
		}
	}
	return c, table, u, nil
}

// unclaimed gives a claim up and returns how the storage is in use.
func (t *Tracker) unclaimed(c *Claim, u Use) Use {
	if err := c.Close(); err != nil {
		log.L.WithError(err).Error("failed to give a storage in use its work directory back; moltctl repair does")
	}
	return u
}

func unanswered(st dag.Storage, err error) Use {
	return Use{Code: Unknown, Container: keys.Parse(st.Key).Key, Err: err}
}

// layered reports whether a storage is mounted as an overlay.
func (t *Tracker) layered(st dag.Storage) (layered bool) {
	t.state.Graph(func(g *dag.Graph) { layered = len(g.Stack(st.Head))+len(g.Chain(g.Base(st))) > 1 })
	return layered
}
