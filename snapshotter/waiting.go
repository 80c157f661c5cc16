// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

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

// carryOutWaiting does what waits for storages that are no longer in use: a container that stopped may never be started
// again. Side effects that are to be determined ahead of time wait, too. What fails is left to the next start of the container, or of the daemon.
func (s *Snapshotter) carryOutWaiting(ctx context.Context) error {
	var waiting []dag.Storage
	waiting, s.again = s.due()
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
		running, err := s.tracker.Running(ctx, st.Key)
		if running { // its end is announced
			continue
		}
		if err != nil || table.Written(st.Head) {
			s.again = true
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
	s.state.Graph(func(g *dag.Graph) {
		stage := g.ToStage()
		for _, st := range g.Storages() {
			if st.Pending != nil || stage[st.Name] != 0 {
				waiting = append(waiting, st)
				names[st.Name] = true
			}
		}
	})
	s.failed.keep(names)
	for _, st := range waiting {
		switch {
		case st.Pending != nil && s.failed.has(st.Name, *st.Pending):
		case s.tracker.Recently(st.Key):
			soon = true
		default:
			due = append(due, st)
		}
	}
	return due, soon
}

// looksAgain reports whether something waits for a use of which nobody announces the end. Only the maintenance asks.
func (s *Snapshotter) looksAgain() bool { return s.again }

// carryOutFree does what waits for a storage, if that is free and nobody is at work with it.
func (s *Snapshotter) carryOutFree(ctx context.Context, name string) error {
	unlock, err := s.state.TryLock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	st, ok := s.state.Storage(name)
	if !ok {
		return nil
	}
	if st.Pending == nil {
		return s.stageFree(ctx, st)
	}
	c, u := s.tracker.Claim(ctx, st, !st.Pending.Rollback && s.assumesFree(st.Pending.Update))
	if !u.Free() {
		s.again = true
		return nil
	}
	if err := s.carry(ctx, st); err != nil && ctx.Err() == nil {
		s.failed.add(st.Name, *st.Pending)
		log.G(ctx).WithError(err).WithField("storage", name).
			Error("failed to carry out what waited for the storage; it is tried again at its next start")
	}
	return c.Close()
}

// stageFree determines the side effects on a storage that was in use when they were to be staged ahead of time, if it is free
// now. The caller holds its lock.
func (s *Snapshotter) stageFree(ctx context.Context, st dag.Storage) (err error) {
	var id dag.UpdateID
	s.state.Graph(func(g *dag.Graph) { id = g.ToStage()[st.Name] })
	if id == 0 {
		return nil
	}
	c, u := s.tracker.Claim(ctx, st, s.assumesFree(id))
	if !u.Free() {
		s.again = true
		return nil
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := s.state.Do(dag.Record{Update: id, Storage: st.Name, State: dag.Staging, Now: clock.Now()}); err != nil {
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

// assumesFree reports whether the operator who began an update answers for its storages being free.
func (s *Snapshotter) assumesFree(id dag.UpdateID) (assume bool) {
	s.state.Graph(func(g *dag.Graph) {
		u, _ := g.Update(id)
		assume = u.AssumeFree
	})
	return assume
}
