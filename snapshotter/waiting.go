// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/mounttable"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// uses is what is known of how nodes are used, apart from the mounts that were handed out.
type uses struct {
	kernel *use.Kernel
	blind  atomic.Bool // the processes of the host are out of sight
	// held is whether something waits for a use of which nobody announces the end. Only the maintenance reads and
	// writes it.
	held bool

	mu      sync.Mutex
	claimed map[dag.NodeID]bool
	failed  map[string]dag.Pending // by storage: what could not be carried out in the background
}

func newUses(kernel *use.Kernel) *uses {
	return &uses{kernel: kernel, claimed: map[dag.NodeID]bool{}, failed: map[string]dag.Pending{}}
}

func (u *uses) hold(id dag.NodeID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.claimed[id] = true
}

func (u *uses) release(id dag.NodeID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.claimed, id)
}

// holds reports whether a node is claimed: its work directory is not where it should be.
func (u *uses) holds(id dag.NodeID) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.claimed[id]
}

func (u *uses) fail(storage string, p dag.Pending) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.failed[storage] = p
}

func (u *uses) hasFailed(storage string, p dag.Pending) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.failed[storage] == p
}

// forget drops what is noted of storages that no longer wait.
func (u *uses) forget(waiting map[string]bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	maps.DeleteFunc(u.failed, func(storage string, _ dag.Pending) bool { return !waiting[storage] })
}

// carryOutWaiting does what waits for storages that are no longer in use: a container that stopped may never be started
// again. Side effects that are to be determined ahead of time wait, too. What fails is left to the next start of the container, or of the daemon.
func (s *Snapshotter) carryOutWaiting(ctx context.Context) error {
	var waiting []dag.Storage
	waiting, s.uses.held = s.due()
	if len(waiting) == 0 {
		return nil
	}
	// One look for all of them: one that is mounted now may be looked at another time, the others are claimed, which
	// looks again.
	table, err := mounttable.Read(s.nodes.Published())
	if err != nil {
		return err
	}
	var errs []error
	for _, st := range waiting {
		running, err := s.running(ctx, st.Key)
		if running { // its end is announced
			continue
		}
		if err != nil || table.Written(st.Head) {
			s.uses.held = true
			continue
		}
		err = s.carryOutFree(ctx, st.Name)
		if !errdefs.IsNotFound(err) && !errdefs.IsUnavailable(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// due returns the storages for which something waits and that may be looked at now. It reports whether there are others
// that are to be looked at soon: nobody announces that a mount which was handed out a moment ago does not come. What
// failed is left to the next start of the container.
func (s *Snapshotter) due() (due []dag.Storage, soon bool) {
	names := map[string]bool{}
	var waiting []dag.Storage
	s.Graph(func(g *dag.Graph) {
		stage := g.ToStage()
		for _, st := range g.Storages() {
			if st.Pending != nil || stage[st.Name] != 0 {
				waiting = append(waiting, st)
				names[st.Name] = true
			}
		}
	})
	s.uses.forget(names)
	for _, st := range waiting {
		switch {
		case st.Pending != nil && s.uses.hasFailed(st.Name, *st.Pending):
		case s.handed.recently(st.Key):
			soon = true
		default:
			due = append(due, st)
		}
	}
	return due, soon
}

// carryOutFree does what waits for a storage, if that is free and nobody is at work with it.
func (s *Snapshotter) carryOutFree(ctx context.Context, name string) error {
	unlock, err := s.tryLock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	st, ok := s.storageNamed(name)
	if !ok {
		return nil
	}
	if st.Pending == nil {
		return s.stageFree(ctx, st)
	}
	c, u := s.claim(ctx, st, !st.Pending.Rollback && s.assumesFree(st.Pending.Update))
	if !u.Free() {
		s.uses.held = true
		return nil
	}
	if err := s.carry(ctx, st); err != nil && ctx.Err() == nil {
		s.uses.fail(st.Name, *st.Pending)
		log.G(ctx).WithError(err).WithField("storage", name).
			Error("failed to carry out what waited for the storage; it is tried again at its next start")
	}
	return c.Close()
}

// stageFree determines the side effects on a storage that was in use when they were to be staged ahead of time, if it is free
// now. The caller holds its lock.
func (s *Snapshotter) stageFree(ctx context.Context, st dag.Storage) (err error) {
	var id dag.UpdateID
	s.Graph(func(g *dag.Graph) { id = g.ToStage()[st.Name] })
	if id == 0 {
		return nil
	}
	c, u := s.claim(ctx, st, s.assumesFree(id))
	if !u.Free() {
		s.uses.held = true
		return nil
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := s.do(dag.Record{Update: id, Storage: st.Name, State: dag.Staging, Now: clock.Now()}); err != nil {
		return err
	}
	state, err := s.updateFree(ctx, st, id)
	if err != nil {
		return err
	}
	log.G(ctx).WithFields(log.Fields{"storage": st.Name, "update": id.String(), "state": state}).
		Info("the side effects on the storage were determined, now that it is free")
	return nil
}

// tryLock takes the lock of a storage, unless somebody is at work with it.
func (s *Snapshotter) tryLock(ctx context.Context, name string) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, atWork)
	defer cancel()
	return s.locks.lock(ctx, "storage "+name)
}

// carry carries out what waits for a free storage, whose lock the caller holds.
func (s *Snapshotter) carry(ctx context.Context, st dag.Storage) (err error) {
	var state dag.State
	if st.Pending.Rollback {
		state, err = s.rollbackWaiting(ctx, st)
	} else {
		state, err = s.updateFree(ctx, st, st.Pending.Update)
	}
	if err != nil {
		return err
	}
	entry := log.G(ctx).WithFields(log.Fields{"storage": st.Name, "update": st.Pending.Update.String(), "state": state})
	if state == dag.Withdrawn {
		entry.Info("an operator withdrew what waited for the storage; it stays where it stands")
	} else {
		entry.Info("carried out what waited for the storage")
	}
	return nil
}

// checkSight looks for what keeps it from being found out whether storages are in use.
func (s *Snapshotter) checkSight(ctx context.Context) (found []Problem) {
	if err := s.uses.kernel.Able(); err != nil {
		found = append(found, Problem{
			Subject: "kernel",
			What: fmt.Sprintf("it cannot be asked whether a storage is in use, "+
				"so that only the mount tables and containerd are (%v)", err),
		})
	}
	if s.blind(ctx) {
		found = append(found, Problem{
			Subject: "daemon", Grave: true,
			What: "it does not see the processes of the host and what they have mounted, " +
				"so that every storage counts as in use; run it in the pid namespace of the host",
		})
	}
	return found
}

// UseOpt changes how an operation on a storage decides whether it is in use.
type UseOpt func(*bool)

// AssumeFree has the operator answer for the storage not being in use where nobody else can. A mount that is seen, and
// a task that runs, are not overridden.
func AssumeFree() UseOpt { return func(assume *bool) { *assume = true } }

func assumed(opts []UseOpt) (assume bool) {
	for _, opt := range opts {
		opt(&assume)
	}
	return assume
}

// assumesFree reports whether the operator who began an update answers for its storages being free.
func (s *Snapshotter) assumesFree(id dag.UpdateID) (assume bool) {
	s.Graph(func(g *dag.Graph) {
		u, _ := g.Update(id)
		assume = u.AssumeFree
	})
	return assume
}

// restoreWork gives open nodes the work directories that a crash left renamed away.
func (s *Snapshotter) restoreWork() error {
	var heads []dag.NodeID
	s.Graph(func(g *dag.Graph) {
		for _, st := range g.Storages() {
			heads = append(heads, st.Head)
		}
	})
	var errs []error
	for _, head := range heads {
		errs = append(errs, s.nodes.RestoreWork(head))
	}
	return errors.Join(errs...)
}

// dropKept deletes the work directories of frozen nodes that could not be deleted when these were frozen.
func (s *Snapshotter) dropKept() error {
	var errs []error
	for _, id := range s.kept.list() {
		if err := s.nodes.DropWork(id); err != nil {
			errs = append(errs, err)
			continue
		}
		s.kept.remove(id)
	}
	return errors.Join(errs...)
}

// dropWork deletes the work directories of frozen nodes, which an earlier version or a crash left.
func (s *Snapshotter) dropWork(ctx context.Context) {
	var frozen []dag.NodeID
	s.Graph(func(g *dag.Graph) {
		for _, n := range g.Nodes() {
			if n.Frozen {
				frozen = append(frozen, n.ID)
			}
		}
	})
	for _, id := range frozen {
		if ctx.Err() != nil {
			return
		}
		if ready, away := s.nodes.HasWork(id); !ready && !away {
			continue
		}
		if err := s.nodes.DropWork(id); err != nil {
			log.G(ctx).WithError(err).WithField("node", id.String()).Warn("failed to delete the work directory of a frozen node; it is tried again")
			s.kept.add(id)
		}
	}
}
