// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/errtext"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// updateTogether services storages so that all of them switch in one transaction, or none does.
func (rn *Runner) updateTogether(ctx context.Context, id dag.UpdateID) error {
	err := rn.whenAllFree(ctx, id)
	if err == nil || ctx.Err() != nil {
		return err
	}
	errs := []error{err}
	for _, name := range rn.unfinished(id) {
		reason := notStarted(name, err)
		errs = append(errs, rn.state.Do(dag.Record{
			Update: id, Storage: name, State: dag.Aborted, Reasons: []string{reason}, Now: clock.Now(),
		}))
	}
	return errors.Join(errs...)
}

// keptBackError is why an update of several storages together did not begin: one of them is in use, or is held.
type keptBackError struct {
	storage string
	why     error
}

// notStarted returns why one of several storages was not updated together with the others. The storage that kept all
// of them back has the whole reason; the others name it.
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
func (rn *Runner) whenAllFree(ctx context.Context, id dag.UpdateID) error {
	for {
		names := rn.unfinished(id)
		for _, name := range names {
			err := rn.tracker.WhenFree(ctx, name, rn.assumesFree(id), func(_ dag.Storage, u use.Use) error {
				if !u.Free() {
					return &keptBackError{name, fmt.Errorf("%s: %w", u, errdefs.ErrFailedPrecondition)}
				}
				return nil
			})
			if err != nil && !errdefs.IsNotFound(err) {
				return err
			}
		}
		if done, err := rn.switchTogether(ctx, id, names); done || err != nil {
			return err
		}
	}
}

// switchTogether services storages that were found to be free. It reports false when that has changed in the meantime.
func (rn *Runner) switchTogether(ctx context.Context, id dag.UpdateID, names []string) (done bool, err error) {
	var (
		parts   []*state.Draft
		changes []dag.Transformation
		claims  []use.Claim
	)
	unlock, err := rn.state.LockStorages(ctx, names)
	if err != nil {
		return false, err
	}
	defer unlock()
	if !slices.Equal(names, rn.unfinished(id)) {
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
		p, c, u, err := rn.stageTogether(ctx, name, id)
		claims = append(claims, c)
		if p != nil {
			parts = append(parts, p.Draft)
		}
		if u.Soon() || err != nil {
			return false, err
		}
		changes = append(changes, p.Switched(name))
	}
	if err := rn.state.CommitAll(parts, changes...); err != nil {
		return false, err
	}
	rn.tasks.Kick()
	return true, nil
}

// stageTogether stages the side effects on one of several storages, all of whose locks the caller holds. The caller
// closes what it gets, also after an error.
func (rn *Runner) stageTogether(
	ctx context.Context, name string, id dag.UpdateID,
) (p *Staged, c use.Claim, u use.Use, err error) {
	var (
		st     dag.Storage
		update dag.Update
	)
	rn.state.Graph(func(g *dag.Graph) {
		st, _ = g.Storage(name)
		update, _ = g.Update(id)
	})
	if _, err := rn.concerned(st, id); err != nil {
		return p, c, u, err
	}
	if c, u = rn.tracker.Claim(ctx, st, update.AssumeFree); !u.Free() {
		if !u.Soon() {
			err = &keptBackError{name, fmt.Errorf("%s: %w", rn.tracker.Named(ctx, u), errdefs.ErrFailedPrecondition)}
		}
		return p, c, u, err
	}
	if p, err = rn.stager.Ready(ctx, st, update); err != nil {
		return p, c, u, err
	}
	if len(p.Holds) > 0 {
		err = &keptBackError{name, fmt.Errorf("it is held: %s: %w", strings.Join(p.Holds, "; "),
			errdefs.ErrFailedPrecondition)}
		return p, c, u, err
	}
	return p, c, u, nil
}
