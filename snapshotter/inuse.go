// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/mounttable"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// claim is a storage that was found to be free: its head cannot be mounted by anybody while it is held. The caller has
// the storage's lock from before the claim until after Close.
type claim struct {
	s    *Snapshotter
	head dag.NodeID // 0 for none
}

// Close gives a head that is still open its work directory back, and deletes that of one that was frozen. A second call
// does nothing.
func (c *claim) Close() error {
	head := c.head
	if head == 0 {
		return nil
	}
	c.head = 0
	defer c.s.uses.release(head)
	if c.s.isOpen(head) {
		return c.s.nodes.RestoreWork(head)
	}
	if err := c.s.nodes.DropWork(head); err != nil { // the storage has moved all the same
		log.L.WithError(err).Warn("a frozen node keeps its work directory; it is deleted later")
		c.s.kept.add(head)
	}
	return nil
}

// isOpen reports whether the graph has a node that is not frozen.
func (s *Snapshotter) isOpen(id dag.NodeID) (open bool) {
	s.Graph(func(g *dag.Graph) {
		n, ok := g.Node(id)
		open = ok && !n.Frozen
	})
	return open
}

// claim finds out whether a storage may be touched, and keeps it from being mounted if so. The caller holds the lock of
// the storage, so that no mounts are handed out in the meantime.
//
// A mount that was handed out long ago may still come, from a start that is slow. So the overlay's work directory is
// renamed away before anybody is asked: what is mounted by then is seen, and what comes later fails for want of it.
// Only when nothing was handed out for the time of grace is that done, so that an ordinary start does not fail. A
// storage without layers is a bind mount, which has no work directory and about which the kernel cannot be asked: there
// the grace and the mount tables decide.
//
// With assumeFree an operator answers for what nobody answers. A mount in a table or a task is not overridden.
func (s *Snapshotter) claim(ctx context.Context, st dag.Storage, assumeFree bool) (c claim, u use.Use) {
	if s.handed.recently(st.Key) {
		if _, u = s.seen(ctx, st); u.Free() || u.Assumable() {
			u = use.Use{Code: use.Starting, Container: keys.Parse(st.Key).Key}
		}
		return c, u
	}
	return s.claimNow(ctx, st, assumeFree)
}

// claimNow is claim without regard to mounts that were handed out a moment ago.
func (s *Snapshotter) claimNow(ctx context.Context, st dag.Storage, assumeFree bool) (c claim, u use.Use) {
	c, table, u, err := s.beginClaim(ctx, st, assumeFree)
	if err != nil {
		return claim{}, s.unclaimed(&c, unanswered(st, err))
	}
	if !u.Free() && (!assumeFree || !u.Assumable()) {
		return claim{}, s.unclaimed(&c, u)
	}
	if !s.layered(st) {
		return c, use.Use{}
	}
	// A mount may have found the directory before it was renamed, and not have come further when the kernel was asked.
	if err := s.nodes.RenewWork(st.Head); err != nil {
		return claim{}, s.unclaimed(&c, unanswered(st, err))
	}
	if asked := s.asked(st, table); !asked.Free() && !assumeFree {
		return claim{}, s.unclaimed(&c, asked)
	}
	return c, use.Use{}
}

// beginClaim has the work directory of a storage away, and returns how the storage is in use then. With assumeFree the kernel is
// asked even when somebody else gave no answer. The caller goes on with the claim or closes it, also after an error.
func (s *Snapshotter) beginClaim(
	ctx context.Context, st dag.Storage, assumeFree bool,
) (c claim, table mounttable.Table, u use.Use, err error) {
	c = claim{s: s, head: st.Head}
	s.uses.hold(st.Head)
	layered := s.layered(st)
	if layered {
		if err := s.nodes.WithdrawWork(st.Head); err != nil {
			return c, table, u, err
		}
	}
	table, u = s.seen(ctx, st)
	if layered && (u.Free() || assumeFree && u.Assumable()) {
		if asked := s.asked(st, table); !asked.Free() {
			u = asked
		}
	}
	return c, table, u, nil
}

// unclaimed gives a claim up and returns how the storage is in use.
func (s *Snapshotter) unclaimed(c *claim, u use.Use) use.Use {
	if err := c.Close(); err != nil {
		log.L.WithError(err).Error("failed to give a storage in use its work directory back; moltctl repair does")
	}
	return u
}

func unanswered(st dag.Storage, err error) use.Use {
	return use.Use{Code: use.Unknown, Container: keys.Parse(st.Key).Key, Err: err}
}

// layered reports whether a storage is mounted as an overlay.
func (s *Snapshotter) layered(st dag.Storage) (layered bool) {
	s.Graph(func(g *dag.Graph) { layered = len(g.Stack(st.Head))+len(g.Chain(g.Base(st))) > 1 })
	return layered
}

// seen returns what the mount tables and containerd show of a storage. What cannot be asked counts as a use.
func (s *Snapshotter) seen(ctx context.Context, st dag.Storage) (mounttable.Table, use.Use) {
	table, tableErr := mounttable.Read(s.nodes.Published())
	u := use.Use{Container: keys.Parse(st.Key).Key}
	running, err := s.running(ctx, st.Key)
	switch {
	case running:
		u.Code = use.Running
	case tableErr == nil && table.Written(st.Head):
		u.Code, u.Places = use.Mounted, table.Places(st.Head)
	case tableErr != nil:
		u.Code, u.Err = use.Unknown, tableErr
	case err != nil:
		u.Code, u.Err = use.Unknown, err
	case s.blind(ctx):
		u.Code = use.Blind
	}
	return table, u
}

// asked returns what the kernel says of the head of a storage that no mount table shows.
func (s *Snapshotter) asked(st dag.Storage, table mounttable.Table) use.Use {
	busy, err := s.uses.kernel.Ask(s.nodes.FS(st.Head))
	switch {
	case !busy && err == nil:
		return use.Use{}
	case errors.Is(err, use.ErrUnable):
		return use.Use{} // check reports it; the mount tables decide
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return use.Use{} // removing a storage is what makes room
	case err != nil:
		return unanswered(st, err)
	}
	u := use.Use{Code: use.Unseen, Container: keys.Parse(st.Key).Key}
	if places := table.Resembling(s.nodes.FS(st.Head)); len(places) > 0 {
		u.Code, u.Places = use.Mounted, places
	}
	return u
}

// blind reports whether the processes of the host are known to be out of sight.
func (s *Snapshotter) blind(ctx context.Context) bool {
	if s.host == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	visible, err := s.host.Visible(ctx)
	if err == nil {
		s.uses.blind.Store(!visible)
	}
	return s.uses.blind.Load()
}

// lookedAt returns how a storage is in use now, free when somebody is at work with it. With assumeFree it is free as well when an
// operator may answer for that. What is claimed for the look is given back.
func (s *Snapshotter) lookedAt(ctx context.Context, name string, assumeFree bool) (u use.Use) {
	unlock, err := s.tryLock(ctx, name)
	if err != nil {
		return use.Use{}
	}
	defer unlock()
	// The storage may have another container, or another head, than when it was looked up without its lock.
	st, ok := s.storageNamed(name)
	if !ok {
		return use.Use{}
	}
	c, u := s.claim(ctx, st, false)
	if assumeFree && u.Assumable() {
		// A claim would renew the work directory, which may be that of a mount: it is no more than looked at.
		if c, _, u, err = s.beginClaim(ctx, st, true); err != nil {
			u = unanswered(st, err)
		} else if u.Assumable() {
			u = use.Use{}
		}
	}
	if err := c.Close(); err != nil {
		log.G(ctx).WithError(err).WithField("storage", name).Error("failed to give a storage its work directory back")
	}
	return u
}

func (s *Snapshotter) storageNamed(name string) (st dag.Storage, ok bool) {
	s.Graph(func(g *dag.Graph) { st, ok = g.Storage(name) })
	return st, ok
}

// named returns a use with the processes behind it, for people to read.
func (s *Snapshotter) named(ctx context.Context, u use.Use) use.Use {
	if u.Code != use.Mounted && u.Code != use.Unseen {
		return u
	}
	table, err := mounttable.Read(s.nodes.Published())
	if err != nil {
		log.G(ctx).WithError(err).Debug("the processes that use a storage were not looked for")
		return u
	}
	return u.Named(table)
}

// running asks containerd whether a key has a live task. Keys that containerd did not make are nobody's; without an
// answer it is an error.
func (s *Snapshotter) running(ctx context.Context, key string) (bool, error) {
	k := keys.Parse(key)
	if key == "" || k.Extraction() || s.host == nil || k.Namespace == "" {
		return false, nil
	}
	// containerd itself may be waiting, for a shim that hangs.
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return s.host.Running(ctx, k.Namespace, k.Key)
}

// whenFree calls fn with a storage, and its lock, as soon as the storage is free or known to be in use for longer than
// the grace time. The lock is not held while that is waited for: the start of the storage's container needs it. What fn
// freezes can no longer be mounted to be written.
func (s *Snapshotter) whenFree(ctx context.Context, name string, assumeFree bool, fn func(dag.Storage, use.Use) error) error {
	for {
		var change <-chan struct{}
		err := s.locked(ctx, name, func(st dag.Storage) error {
			c, u := s.claim(ctx, st, assumeFree)
			if u.Soon() {
				change = s.handed.change(st.Key)
				return nil
			}
			return errors.Join(fn(st, s.named(ctx, u)), c.Close())
		})
		if err != nil || change == nil {
			return err
		}
		if err := wait(ctx, change); err != nil {
			return fmt.Errorf("wait for storage %q to be free: %w", name, err)
		}
	}
}

// wait waits for a channel to be ready. It fails with errdefs.ErrUnavailable when the context ends first.
func wait(ctx context.Context, ready <-chan struct{}) error {
	select {
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errdefs.ErrUnavailable, context.Cause(ctx))
	case <-ready:
		return nil
	}
}

// TaskSeen notes that containerd had a task for a container at a time: whatever mounts were handed out for it before
// have been mounted by then, so that from now on the mount tables show whether they are in use. Storages that wait are
// looked at.
func (s *Snapshotter) TaskSeen(namespace, container string, at time.Time) {
	var taken []string
	waits := false
	s.Graph(func(g *dag.Graph) {
		waits = len(g.ToStage()) > 0
		for _, st := range g.Storages() {
			waits = waits || st.Pending != nil
			if k := keys.Parse(st.Key); k.Namespace == namespace && k.Key == container {
				taken = append(taken, st.Key)
			}
		}
	})
	for _, key := range taken {
		s.handed.released(key, at)
	}
	if waits {
		s.tasks.Kick()
	}
}
