// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/errtext"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/failpoint"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/nodes"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// Runner carries updates out: at once, in the background, or when a storage is free.
type Runner struct {
	state    *state.State
	nodes    *nodes.Dir
	tracker  *use.Tracker
	tasks    *background.Tasks
	stager   *Stager
	settings *Settings
	turns    chan struct{} // of the workers that service storages
	underway sync.Map      // by the id of an update that somebody runs, what ends that: a context.CancelFunc
	failed   *failures
	again    bool // something waits for a use of which nobody announces the end; only the maintenance has it
}

// notStaged leaves an update that was to be staged until the storage is no longer in use. An operator may ask for it
// before.
func (rn *Runner) notStaged(id dag.UpdateID, name string, u use.Use) error {
	return rn.state.Do(dag.Record{
		Update: id, Storage: name, State: dag.Announced, Use: string(u.Code), Now: clock.Now(),
		Reasons: []string{fmt.Sprintf("%s; its side effects are determined once it is free", u)},
	})
}

// giveUpBinds ends the updates that the start of a container had begun when the daemon stopped. The next start begins
// again: what a container asked for is not done in its absence.
func (rn *Runner) giveUpBinds() error {
	var records []dag.Transformation
	rn.state.Graph(func(g *dag.Graph) {
		for _, u := range g.Updates() {
			for name, o := range u.Outcomes {
				if u.Cause == dag.ByBind && (o.State == dag.Staging || o.State == dag.Staged) {
					records = append(records, dag.Record{
						Update: u.ID, Storage: name, State: dag.Aborted, Now: clock.Now(),
						Reasons: []string{"the daemon stopped while the container was being started; its next start " +
							"tries again"},
					})
				}
			}
		}
	})
	if len(records) == 0 {
		return nil
	}
	return rn.state.Do(records...)
}

// Run services the storages of an update that are not yet done. The context ends with the daemon; what is undone then
// goes on after a restart. A storage that is being serviced already is left alone.
func (rn *Runner) Run(ctx context.Context, id dag.UpdateID) {
	tried := map[task]bool{}
	for rn.runExclusively(ctx, id, tried) && len(rn.untried(id, tried)) > 0 {
		// It was asked to go on, see [dag.Proceed], while nobody else could take it.
	}
}

// task is what an update has to do for a storage: to come as far as that.
type task struct {
	storage string
	until   dag.State
}

// untried returns what an update has to do and that was not tried.
func (rn *Runner) untried(id dag.UpdateID, tried map[task]bool) (left []task) {
	for _, name := range rn.unfinished(id) {
		if t := (task{name, rn.goesUntil(id, name)}); !tried[t] {
			left = append(left, t)
		}
	}
	return left
}

// runExclusively is one run of an update. It reports false where that leaves nothing to be looked at again: somebody
// else runs it, it was ended, or it is done for all its storages together.
func (rn *Runner) runExclusively(ctx context.Context, id dag.UpdateID, tried map[task]bool) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if _, taken := rn.underway.LoadOrStore(id, cancel); taken {
		return false
	}
	defer rn.underway.Delete(id)
	entry := log.G(ctx).WithField("update", id.String())
	var together bool
	rn.state.Graph(func(g *dag.Graph) {
		u, _ := g.Update(id)
		together = u.AllOrNothing
	})
	if together {
		if err := rn.updateTogether(ctx, id); err != nil {
			entry.WithError(err).Warn("update given up for all its storages")
		}
		return false
	}
	for ctx.Err() == nil {
		// A storage may be given a name in the meantime, or be asked for, so that there are further tasks after the
		// first round.
		tasks := rn.untried(id, tried)
		if len(tasks) == 0 {
			return true
		}
		var wg sync.WaitGroup
		for _, t := range tasks {
			tried[t] = true
			select {
			case rn.turns <- struct{}{}:
			case <-ctx.Done(): // the daemon ends, or nobody wants the update any longer
				wg.Wait()
				return false
			}
			wg.Go(func() {
				defer func() { <-rn.turns }()
				state, err := rn.updateOne(ctx, t.storage, id)
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

// endRun ends the run of an update that has nothing left to do: its work on storages that were withdrawn is for
// nothing.
func (rn *Runner) endRun(id dag.UpdateID) {
	if len(rn.unfinished(id)) > 0 {
		return
	}
	if end, working := rn.underway.Load(id); working {
		if cancel, ok := end.(context.CancelFunc); ok {
			cancel()
		}
	}
}

// TakeUp runs the updates that are not done and that nobody is at work with: a crash cut them short, or the disk was
// full when they were to be given up.
func (rn *Runner) TakeUp() {
	var going []dag.UpdateID
	rn.state.Graph(func(g *dag.Graph) {
		for _, u := range g.Updates() {
			// What a container asks for is done when it asks again, not in its absence.
			if _, underway := rn.underway.Load(u.ID); !underway && u.Cause != dag.ByBind && u.Underway() {
				going = append(going, u.ID)
			}
		}
	})
	for _, id := range going {
		rn.tasks.Go(func(ctx context.Context) { rn.Run(ctx, id) })
	}
}

// unfinished returns the storages whose side effects an update still has to determine, by name.
func (rn *Runner) unfinished(id dag.UpdateID) (names []string) {
	rn.state.Graph(func(g *dag.Graph) {
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

// updateOne services one storage, or leaves it to be serviced at its next start when it is in use. A missing storage
// needs no record: ending or renaming it updated the outcome.
func (rn *Runner) updateOne(ctx context.Context, name string, id dag.UpdateID) (state dag.State, err error) {
	state = dag.Staging
	err = rn.tracker.WhenFree(ctx, name, rn.assumesFree(id), func(st dag.Storage, u use.Use) (err error) {
		if state, err = rn.concerned(st, id); err != nil {
			return rn.GiveUp(id, name, err)
		}
		switch {
		case state.Final():
			return nil
		case u.Free():
			state, err = rn.updateFree(ctx, st, id)
			return err
		}
		if rn.goesUntil(id, name) == dag.Staged {
			state = dag.Announced
			return rn.notStaged(id, name, u)
		}
		state = dag.Planned
		waits := dag.Record{
			Update: id, Storage: name, State: state, Reasons: []string{u.Waiting("updated")}, Use: string(u.Code),
			Now: clock.Now(),
		}
		if err := rn.state.Do(waits); err != nil {
			return rn.GiveUp(id, name, err)
		}
		return nil
	})
	return state, err
}

// goesUntil returns how far an update goes for a storage by itself; empty for all the way.
func (rn *Runner) goesUntil(id dag.UpdateID, storage string) (until dag.State) {
	rn.state.Graph(func(g *dag.Graph) {
		u, _ := g.Update(id)
		until = u.Outcomes[storage].Until
	})
	return until
}

// concerned returns how far an update has come for a storage. The error says why the update no longer concerns it: the
// storage may have been moved since the update began.
func (rn *Runner) concerned(st dag.Storage, id dag.UpdateID) (state dag.State, err error) {
	rn.state.Graph(func(g *dag.Graph) {
		u, _ := g.Update(id)
		state = u.Outcomes[st.Name].State
		waits := st.Pending != nil && st.Pending.Update == id
		if !state.Final() && !waits && !standsOn(g, st, u.From) && !u.StartsAt(g, g.Base(st)) {
			err = fmt.Errorf("storage %q stands on %v meanwhile: %w", st.Name, g.Base(st),
				errdefs.ErrFailedPrecondition)
		}
	})
	return state, err
}

// updateFree services a storage that is free and whose lock the caller holds, as far as the update goes for it.
func (rn *Runner) updateFree(ctx context.Context, st dag.Storage, id dag.UpdateID) (state dag.State, err error) {
	var u dag.Update
	rn.state.Graph(func(g *dag.Graph) { u, _ = g.Update(id) })
	stage, change, done := rn.stager.Ready, (*Staged).Switched, dag.Applied
	if u.Outcomes[st.Name].Until == dag.Staged {
		stage, change, done = rn.stager.stageAhead, (*Staged).beside, dag.Staged
	}
	p, err := stage(ctx, st, u)
	defer func() { err = errors.Join(err, p.Close()) }()
	switch {
	case err != nil && ctx.Err() != nil:
		return dag.Staging, err
	case err != nil:
		return rn.updateFailed(st, id, err)
	case len(p.Holds) > 0:
		return dag.Held, rn.state.Do(p.Held(st.Name))
	}
	failpoint.UpdateStaged.Hit()
	switch err := rn.stager.Commit(p, change(p, st.Name)); {
	case err != nil && rn.State(id, st.Name) == dag.Withdrawn:
		return dag.Withdrawn, nil
	case err != nil:
		return rn.updateFailed(st, id, err)
	}
	return done, nil
}

// updateFailed records why an update failed for a storage. One that was waiting for it goes on waiting when the
// reason may pass: nobody is there to begin the update again.
func (rn *Runner) updateFailed(st dag.Storage, id dag.UpdateID, why error) (dag.State, error) {
	waits := st.Pending != nil && st.Pending.Update == id
	if !waits || !mayPass(why) {
		return dag.Aborted, rn.GiveUp(id, st.Name, why)
	}
	reason := errtext.Of(why) + "; it will be tried again at its next start"
	again := dag.Record{Update: id, Storage: st.Name, State: dag.Planned, Reasons: []string{reason}, Now: clock.Now()}
	return dag.Planned, errors.Join(why, rn.state.Do(again))
}

// mayPass reports whether something failed because of a shortage that may pass.
func mayPass(err error) bool {
	return slices.ContainsFunc([]unix.Errno{unix.ENOSPC, unix.EDQUOT, unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EIO},
		func(lack unix.Errno) bool { return errors.Is(err, lack) })
}

// Error implements error.
func (e *keptBackError) Error() string { return fmt.Sprintf("storage %q: %v", e.storage, e.why) }

// Unwrap returns the reason.
func (e *keptBackError) Unwrap() error { return e.why }

// GiveUp records that an update failed for a storage, which stands where it stood, and returns why.
func (rn *Runner) GiveUp(update dag.UpdateID, storage string, why error) error {
	r := dag.Record{
		Update: update, Storage: storage, State: dag.Aborted, Reasons: []string{errtext.Of(why)}, Now: clock.Now(),
	}
	if err := rn.state.Do(r); err != nil && rn.State(update, storage) != dag.Withdrawn {
		log.L.WithError(err).WithField("storage", storage).Error("failed to record that an update was given up")
	}
	return fmt.Errorf("update %v of storage %q: %w", update, storage, why)
}

// State returns how far an update has come for a storage, empty if that is no part of it.
func (rn *Runner) State(id dag.UpdateID, storage string) (state dag.State) {
	rn.state.Graph(func(g *dag.Graph) {
		u, _ := g.Update(id)
		state = u.Outcomes[storage].State
	})
	return state
}

// assumesFree reports whether the operator who began an update answers for its storages being free.
func (rn *Runner) assumesFree(id dag.UpdateID) (assume bool) {
	rn.state.Graph(func(g *dag.Graph) {
		u, _ := g.Update(id)
		assume = u.AssumeFree
	})
	return assume
}
