// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates

import (
	"context"
	"errors"
	"maps"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/mounttable"
)

// CarryOut does what waits for the storage of a key, whose lock the caller holds, to be free. What cannot be done is
// recorded with the update, and does not keep the container from starting where it stands.
func (rn *Runner) CarryOut(ctx context.Context, key string) {
	st, ok := rn.state.StorageOf(key)
	if !ok || st.Pending == nil || st.Key != key {
		return
	}
	// This very call is the start of the container, so only a mount or a task counts.
	c, u := rn.tracker.ClaimNow(ctx, st, false)
	if !u.Free() {
		return
	}
	if err := errors.Join(rn.carry(ctx, st), c.Close()); err != nil {
		log.G(ctx).WithError(err).WithFields(log.Fields{"storage": st.Name, "update": st.Pending.Update.String()}).
			Error("failed to carry out what waited for the storage; the container starts where it stood")
	}
}

// failures are what could not be carried out in the background, by storage.
type failures struct {
	mu sync.Mutex
	of map[string]dag.Pending
}

func newFailures() *failures { return &failures{of: map[string]dag.Pending{}} }

func (f *failures) add(storage string, p dag.Pending) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.of[storage] = p
}

func (f *failures) has(storage string, p dag.Pending) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.of[storage] == p
}

// keep drops what is noted of storages that no longer wait.
func (f *failures) keep(waiting map[string]bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.of, func(storage string, _ dag.Pending) bool { return !waiting[storage] })
}

// CarryOutWaiting does what waits for storages that are no longer in use: a container that stopped may never be
// started again. Side effects that are to be determined ahead of time wait, too. What fails is left to the next start
// of the container, or of the daemon.
func (rn *Runner) CarryOutWaiting(ctx context.Context) error {
	var waiting []dag.Storage
	waiting, rn.again = rn.due()
	if len(waiting) == 0 {
		return nil
	}
	// One look for all of them: one that is mounted now may be looked at another time, the others are claimed, which
	// looks again.
	table, err := mounttable.Read(rn.nodes.Published())
	if err != nil {
		return err
	}
	var errs []error
	for _, st := range waiting {
		running, err := rn.tracker.Running(ctx, st.Key)
		if running { // its end is announced
			continue
		}
		if err != nil || table.Written(st.Head) {
			rn.again = true
			continue
		}
		err = rn.carryOutFree(ctx, st.Name)
		if !errdefs.IsNotFound(err) && !errdefs.IsUnavailable(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// due returns the storages for which something waits and that may be looked at now. It reports whether there are others
// that are to be looked at soon: nobody announces that a mount which was handed out a moment ago does not come. What
// failed is left to the next start of the container.
func (rn *Runner) due() (due []dag.Storage, soon bool) {
	names := map[string]bool{}
	var waiting []dag.Storage
	rn.state.Graph(func(g *dag.Graph) {
		stage := g.ToStage()
		for _, st := range g.Storages() {
			if st.Pending != nil || stage[st.Name] != 0 {
				waiting = append(waiting, st)
				names[st.Name] = true
			}
		}
	})
	rn.failed.keep(names)
	for _, st := range waiting {
		switch {
		case st.Pending != nil && rn.failed.has(st.Name, *st.Pending):
		case rn.tracker.Recently(st.Key):
			soon = true
		default:
			due = append(due, st)
		}
	}
	return due, soon
}

// LooksAgain reports whether something waits for a use of which nobody announces the end. Only the maintenance asks.
func (rn *Runner) LooksAgain() bool { return rn.again }

// carryOutFree does what waits for a storage, if that is free and nobody is at work with it.
func (rn *Runner) carryOutFree(ctx context.Context, name string) error {
	unlock, err := rn.state.TryLock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	st, ok := rn.state.Storage(name)
	if !ok {
		return nil
	}
	if st.Pending == nil {
		return rn.stageFree(ctx, st)
	}
	c, u := rn.tracker.Claim(ctx, st, !st.Pending.Rollback && rn.assumesFree(st.Pending.Update))
	if !u.Free() {
		rn.again = true
		return nil
	}
	if err := rn.carry(ctx, st); err != nil && ctx.Err() == nil {
		rn.failed.add(st.Name, *st.Pending)
		log.G(ctx).WithError(err).WithField("storage", name).
			Error("failed to carry out what waited for the storage; it is tried again at its next start")
	}
	return c.Close()
}

// stageFree determines the side effects on a storage that was in use when they were to be staged ahead of time, if it
// is free now. The caller holds its lock.
func (rn *Runner) stageFree(ctx context.Context, st dag.Storage) (err error) {
	var id dag.UpdateID
	rn.state.Graph(func(g *dag.Graph) { id = g.ToStage()[st.Name] })
	if id == 0 {
		return nil
	}
	c, u := rn.tracker.Claim(ctx, st, rn.assumesFree(id))
	if !u.Free() {
		rn.again = true
		return nil
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := rn.state.Do(dag.Record{Update: id, Storage: st.Name, State: dag.Staging, Now: clock.Now()}); err != nil {
		return err
	}
	state, err := rn.updateFree(ctx, st, id)
	if err != nil {
		return err
	}
	log.G(ctx).WithFields(log.Fields{"storage": st.Name, "update": id.String(), "state": state}).
		Info("the side effects on the storage were determined, now that it is free")
	return nil
}

// carry carries out what waits for a free storage, whose lock the caller holds.
func (rn *Runner) carry(ctx context.Context, st dag.Storage) (err error) {
	var state dag.State
	if st.Pending.Rollback {
		state, err = rn.rollbackWaiting(ctx, st)
	} else {
		state, err = rn.updateFree(ctx, st, st.Pending.Update)
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
