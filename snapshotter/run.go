// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/errtext"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/failpoint"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// runUpdate services the storages of an update that are not yet done. What the end of the context leaves undone, which is
// that of the daemon, goes on after a restart. What somebody else is at work with is left to them.
func (s *Snapshotter) runUpdate(ctx context.Context, id dag.UpdateID) {
	tried := map[task]bool{}
	for s.runExclusively(ctx, id, tried) && len(s.untried(id, tried)) > 0 {
		// It was asked to go on, see [dag.Proceed], while nobody else could take it.
	}
}

// task is what an update has to do for a storage: to come as far as that.
type task struct {
	storage string
	until   dag.State
}

// untried returns what an update has to do and that was not tried.
func (s *Snapshotter) untried(id dag.UpdateID, tried map[task]bool) (left []task) {
	for _, name := range s.unfinished(id) {
		if t := (task{name, s.goesUntil(id, name)}); !tried[t] {
			left = append(left, t)
		}
	}
	return left
}

// runExclusively is one run of an update. It reports false where that leaves nothing to be looked at again: somebody else runs
// it, it was ended, or it is done for all its storages together.
func (s *Snapshotter) runExclusively(ctx context.Context, id dag.UpdateID, tried map[task]bool) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if _, taken := s.underway.LoadOrStore(id, cancel); taken {
		return false
	}
	defer s.underway.Delete(id)
	entry := log.G(ctx).WithField("update", id.String())
	var together bool
	s.state.Graph(func(g *dag.Graph) {
		u, _ := g.Update(id)
		together = u.AllOrNothing
	})
	if together {
		if err := s.updateTogether(ctx, id); err != nil {
			entry.WithError(err).Warn("update given up for all its storages")
		}
		return false
	}
	for ctx.Err() == nil {
		// A storage may be given a name in the meantime, or be asked for, so that there are further tasks after the first round.
		tasks := s.untried(id, tried)
		if len(tasks) == 0 {
			return true
		}
		var wg sync.WaitGroup
		for _, t := range tasks {
			tried[t] = true
			s.turns <- struct{}{}
			wg.Go(func() {
				defer func() { <-s.turns }()
				state, err := s.updateOne(ctx, t.storage, id)
				entry := entry.WithFields(log.Fields{"storage": t.storage, "state": state})
				if err != nil {
					entry.WithError(err).Warn("storage not serviced")
					return
				}
				entry.Info("storage serviced")
			})
		}
		wg.Wait()
	}
	return false
}

// endRun ends the run of an update that has nothing left to do: its work on storages that were withdrawn is for nothing.
func (s *Snapshotter) endRun(id dag.UpdateID) {
	if len(s.unfinished(id)) > 0 {
		return
	}
	if end, working := s.underway.Load(id); working {
		if cancel, ok := end.(context.CancelFunc); ok {
			cancel()
		}
	}
}

// takeUp runs the updates that are not done and that nobody is at work with: a crash cut them short, or the disk was full when
// they were to be given up.
func (s *Snapshotter) takeUp() {
	var going []dag.UpdateID
	s.state.Graph(func(g *dag.Graph) {
		for _, u := range g.Updates() {
			// What a container asks for is done when it asks again, not in its absence.
			if _, underway := s.underway.Load(u.ID); !underway && u.Cause != dag.ByBind && u.Underway() {
				going = append(going, u.ID)
			}
		}
	})
	for _, id := range going {
		s.tasks.Go(func(ctx context.Context) { s.runUpdate(ctx, id) })
	}
}

// unfinished returns the storages whose side effects an update still has to determine, by name.
func (s *Snapshotter) unfinished(id dag.UpdateID) (names []string) {
	s.state.Graph(func(g *dag.Graph) {
		u, _ := g.Update(id)
		for name, o := range u.Outcomes {
			if o.Underway() {
				names = append(names, name)
			}
		}
	})
	slices.Sort(names)
	return names
}

// updateOne services one storage, or leaves it to be serviced at its next start when it is in use. That there is no such
// storage any more needs no record: whoever ended it, or gave it another name, has seen to that.
func (s *Snapshotter) updateOne(ctx context.Context, name string, id dag.UpdateID) (state dag.State, err error) {
	state = dag.Staging
	err = s.tracker.WhenFree(ctx, name, s.assumesFree(id), func(st dag.Storage, u use.Use) (err error) {
		if state, err = s.concerned(st, id); err != nil {
			return s.giveUp(id, name, err)
		}
		switch {
		case state.Final():
			return nil
		case u.Free():
			state, err = s.updateFree(ctx, st, id)
			return err
		}
		if s.goesUntil(id, name) == dag.Staged {
			state = dag.Announced
			return s.notStaged(id, name, u)
		}
		state = dag.Planned
		waits := dag.Record{
			Update: id, Storage: name, State: state, Reasons: []string{u.Waiting("updated")}, Use: string(u.Code), Now: clock.Now(),
		}
		if err := s.state.Do(waits); err != nil {
			return s.giveUp(id, name, err)
		}
		return nil
	})
	return state, err
}

// goesUntil returns how far an update goes for a storage by itself; empty for all the way.
func (s *Snapshotter) goesUntil(id dag.UpdateID, storage string) (until dag.State) {
	s.state.Graph(func(g *dag.Graph) {
		u, _ := g.Update(id)
		until = u.Outcomes[storage].Until
	})
	return until
}

// concerned returns how far an update has come for a storage, and why it does not concern it any more: it may have been
// moved since the update began.
func (s *Snapshotter) concerned(st dag.Storage, id dag.UpdateID) (state dag.State, err error) {
	s.state.Graph(func(g *dag.Graph) {
		u, _ := g.Update(id)
		state = u.Outcomes[st.Name].State
		waits := st.Pending != nil && st.Pending.Update == id
		if !state.Final() && !waits && !standsOn(g, st, u.From) && !u.StartsAt(g, g.Base(st)) {
			err = fmt.Errorf("storage %q stands on %v meanwhile: %w", st.Name, g.Base(st), errdefs.ErrFailedPrecondition)
		}
	})
	return state, err
}

// updateFree services a storage that is free and whose lock the caller holds, as far as the update goes for it.
func (s *Snapshotter) updateFree(ctx context.Context, st dag.Storage, id dag.UpdateID) (state dag.State, err error) {
	var u dag.Update
	s.state.Graph(func(g *dag.Graph) { u, _ = g.Update(id) })
	stage, change, done := s.ready, (*staged).switched, dag.Applied
	if u.Outcomes[st.Name].Until == dag.Staged {
		stage, change, done = s.stageAhead, (*staged).beside, dag.Staged
	}
	p, err := stage(ctx, st, u)
	defer func() { err = errors.Join(err, p.Close()) }()
	switch {
	case err != nil && ctx.Err() != nil:
		return dag.Staging, err
	case err != nil:
		return s.updateFailed(st, id, err)
	case len(p.holds) > 0:
		return dag.Held, s.state.Do(p.held(st.Name))
	}
	failpoint.UpdateStaged.Hit()
	switch err := s.commitStaged(p, change(p, st.Name)); {
	case err != nil && s.stateOf(id, st.Name) == dag.Withdrawn:
		return dag.Withdrawn, nil
	case err != nil:
		return s.updateFailed(st, id, err)
	}
	return done, nil
}

// updateFailed records why an update failed for a storage. One that was waiting for it goes on waiting when the reason may pass:
// nobody is there to begin the update again.
func (s *Snapshotter) updateFailed(st dag.Storage, id dag.UpdateID, why error) (dag.State, error) {
	waits := st.Pending != nil && st.Pending.Update == id
	if !waits || !mayPass(why) {
		return dag.Aborted, s.giveUp(id, st.Name, why)
	}
	reason := errtext.Of(why) + "; it will be tried again at its next start"
	return dag.Planned, errors.Join(why, s.state.Do(dag.Record{Update: id, Storage: st.Name, State: dag.Planned, Reasons: []string{reason}, Now: clock.Now()}))
}

// mayPass tells whether something failed for want of what there may be enough of later.
func mayPass(err error) bool {
	return slices.ContainsFunc([]unix.Errno{unix.ENOSPC, unix.EDQUOT, unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EIO},
		func(lack unix.Errno) bool { return errors.Is(err, lack) })
}

// updateTogether services storages so that all of them switch in one transaction, or none does.
func (s *Snapshotter) updateTogether(ctx context.Context, id dag.UpdateID) error {
	err := s.whenAllFree(ctx, id)
	if err == nil || ctx.Err() != nil {
		return err
	}
	errs := []error{err}
	for _, name := range s.unfinished(id) {
		reason := notStarted(name, err)
		errs = append(errs, s.state.Do(dag.Record{Update: id, Storage: name, State: dag.Aborted, Reasons: []string{reason}, Now: clock.Now()}))
	}
	return errors.Join(errs...)
}

// keptBackError is why an update of several storages together did not begin: one of them is in use, or is held.
type keptBackError struct {
	storage string
	why     error
}

// Error implements error.
func (e *keptBackError) Error() string { return fmt.Sprintf("storage %q: %v", e.storage, e.why) }

// Unwrap returns the reason.
func (e *keptBackError) Unwrap() error { return e.why }

// notStarted returns why one of several storages was not updated together with the others. The storage that kept all of them
// back has the whole reason; the others name it.
func notStarted(name string, err error) string {
	kept, ok := errors.AsType[*keptBackError](err)
	switch {
	case !ok:
		return errtext.Of(err)
	case kept.storage == name:
		return errtext.Of(kept.why)
	}
	return fmt.Sprintf("not started, because of storage %q", kept.storage)
}

// whenAllFree waits until all storages of an update are free and then services them, unless one is in use for longer.
func (s *Snapshotter) whenAllFree(ctx context.Context, id dag.UpdateID) error {
	for {
		names := s.unfinished(id)
		for _, name := range names {
			err := s.tracker.WhenFree(ctx, name, s.assumesFree(id), func(_ dag.Storage, u use.Use) error {
				if !u.Free() {
					return &keptBackError{name, fmt.Errorf("%s: %w", u, errdefs.ErrFailedPrecondition)}
				}
				return nil
			})
			if err != nil && !errdefs.IsNotFound(err) {
				return err
			}
		}
		if done, err := s.switchTogether(ctx, id, names); done || err != nil {
			return err
		}
	}
}

// switchTogether services storages that were found to be free. It reports false when that has changed meanwhile.
func (s *Snapshotter) switchTogether(ctx context.Context, id dag.UpdateID, names []string) (done bool, err error) {
	var (
		parts   []*state.Draft
		changes []dag.Transformation
		claims  []use.Claim
	)
	unlock, err := s.state.LockStorages(ctx, names)
	if err != nil {
		return false, err
	}
	defer unlock()
	if !slices.Equal(names, s.unfinished(id)) {
		return false, nil
	}
	defer func() {
		for _, p := range parts {
			err = errors.Join(err, p.Close())
		}
		for _, c := range claims {
			err = errors.Join(err, c.Close())
		}
	}()
	for _, name := range names {
		p, c, u, err := s.stageTogether(ctx, name, id)
		claims = append(claims, c)
		if p != nil {
			parts = append(parts, p.Draft)
		}
		if u.Soon() || err != nil {
			return false, err
		}
		changes = append(changes, p.switched(name))
	}
	if err := s.state.CommitAll(parts, changes...); err != nil {
		return false, err
	}
	s.tasks.Kick()
	return true, nil
}

// stageTogether stages the side effects on one of several storages, all of whose locks the caller holds. The caller closes
// what it gets, also after an error.
func (s *Snapshotter) stageTogether(ctx context.Context, name string, id dag.UpdateID) (p *staged, c use.Claim, u use.Use, err error) {
	var (
		st     dag.Storage
		update dag.Update
	)
	s.state.Graph(func(g *dag.Graph) {
		st, _ = g.Storage(name)
		update, _ = g.Update(id)
	})
	if _, err := s.concerned(st, id); err != nil {
		return p, c, u, err
	}
	if c, u = s.tracker.Claim(ctx, st, update.AssumeFree); !u.Free() {
		if !u.Soon() {
			err = &keptBackError{name, fmt.Errorf("%s: %w", s.tracker.Named(ctx, u), errdefs.ErrFailedPrecondition)}
		}
		return p, c, u, err
	}
	if p, err = s.ready(ctx, st, update); err != nil {
		return p, c, u, err
	}
	if len(p.holds) > 0 {
		err = &keptBackError{name, fmt.Errorf("it is held: %s: %w", strings.Join(p.holds, "; "), errdefs.ErrFailedPrecondition)}
		return p, c, u, err
	}
	return p, c, u, nil
}
