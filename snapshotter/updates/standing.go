// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates

import (
	"context"
	"errors"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
)

// Join has a storage wait for the latest standing update of the base that it stands on, which then is carried out as
// anything that a storage waits for.
func (rn *Runner) Join(ctx context.Context, storage string) error {
	var (
		to    dag.UpdateID
		joins bool
	)
	rn.state.Graph(func(g *dag.Graph) {
		st, _ := g.Storage(storage)
		for _, u := range g.Updates() {
			if u.Joins(g, st) {
				to, joins = u.ID, true
			}
		}
	})
	if !joins {
		return nil
	}
	log.G(ctx).WithFields(log.Fields{"storage": storage, "update": to.String()}).
		Info("a standing update takes in a storage")
	return rn.state.Do(dag.Record{
		Update: to, Storage: storage, State: dag.Planned, Now: clock.Now(),
		Reasons: []string{"it came to stand on the old base, and the update is a standing one"},
	})
}

// JoinStanding has the storages that came to stand on the old base of a standing update wait for it.
func (rn *Runner) JoinStanding(ctx context.Context) error {
	joining := map[string]bool{}
	rn.state.Graph(func(g *dag.Graph) {
		for _, u := range g.Updates() {
			for _, name := range u.Joining(g) {
				st, _ := g.Storage(name)
				joining[name] = contained(g, st)
			}
		}
	})
	var errs []error
	for name, contained := range joining {
		if contained {
			errs = append(errs, rn.joinOne(ctx, name))
		}
	}
	return errors.Join(errs...)
}

func (rn *Runner) joinOne(ctx context.Context, name string) error {
	unlock, err := rn.state.TryLock(ctx, name)
	// somebody is at work with it, perhaps the start that takes it in; it is looked at again
	if errdefs.IsUnavailable(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	return rn.Join(ctx, name)
}

// contained reports whether a storage is that of a container: one with a name, or one whose key containerd has a
// container for.
func contained(g *dag.Graph, st dag.Storage) bool {
	n, _ := g.Name(st.Key)
	return !st.Anonymous || n.Identity != dag.Unknown && !keys.Parse(st.Key).Extraction()
}

// MadeSince returns how many containers were made on the old base of an update since it began, and still stand there:
// storages of the sort that the update is of and that it did not take in.
func MadeSince(g *dag.Graph, u dag.Update) (count int) {
	for _, st := range g.Storages() {
		if st.Created.After(u.Created) && u.Covers(st) && contained(g, st) && !u.Took(st) &&
			g.SameBase(g.Base(st), u.From) {
			count++
		}
	}
	return count
}

func standsOn(g *dag.Graph, st dag.Storage, base dag.NodeID) bool {
	if g.SameBase(g.Base(st), base) {
		return true
	}
	if st.Pending == nil || st.Pending.Rollback {
		return false
	}
	u, ok := g.Update(st.Pending.Update)
	return ok && g.SameBase(u.To, base)
}
