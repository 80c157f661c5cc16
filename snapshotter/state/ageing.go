// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
)

// Retention says how long the states that a storage can return to are kept.
type Retention struct {
	// Points is how many states of a storage are kept at most.
	Points int
	// Age is how long a state is kept; 0 means without limit.
	Age time.Duration
	// Trash is how long the directories of removed nodes are kept before they are deleted.
	Trash time.Duration
}

// Ageing decides what is old enough to be forgotten, and forgets it.
type Ageing struct {
	*clock.Clock
	state     *State
	retention Retention
	expiries  func(settings json.RawMessage) []time.Time
	retiring  sync.Mutex // held while a state is forgotten for its age: one at a time

	mu     sync.Mutex
	forgot bool          // a state of a storage, for its age
	at     time.Duration // when that was, on the monotonic clock
	doubts bool          // it was logged that the clock is doubted
}

func newAgeing(s *State, o Options) *Ageing {
	c, err := clock.Open(filepath.Join(s.nodes.Records(), "clock"), o.Clock)
	if err != nil {
		log.L.WithError(err).
			Warnf("nothing is forgotten for its age before the clock has gone on evenly for %v", clock.Settled)
	}
	return &Ageing{Clock: c, state: s, retention: o.Retention, expiries: o.Expiries}
}

// close keeps what is known of the time. To lose it makes the next start more careful, and is no error.
func (a *Ageing) close() {
	if err := a.Save(); err != nil {
		log.L.WithError(err).Warn("failed to keep what is believed of the time")
	}
}

// Moment returns what is known of the time. When nothing can be known, nothing is old.
func (a *Ageing) Moment() clock.Moment {
	m, err := a.Look()
	if err != nil {
		log.L.WithError(err).Warn("what is believed of the time is not certain, or not kept for the next start")
	}
	return m
}

// due reports whether a state of a storage may be forgotten for its age now: one at a time, so that a person who sees
// the log can still do something.
func (a *Ageing) due(m clock.Moment) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.forgot || m.Up-a.at >= background.Every
}

func (a *Ageing) forgotten(m clock.Moment) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forgot, a.at = true, m.Up
}

// doubted reports whether it is to be logged that the clock is doubted, or no longer is.
func (a *Ageing) doubted(doubts bool) (changed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	changed = a.doubts != doubts
	a.doubts = doubts
	return changed
}

// Retire forgets the states of storages that retention does not keep: at once what is beyond their number, and what is
// too old by a time that has certainly been reached, one state at a time.
func (a *Ageing) Retire(ctx context.Context) error {
	var all []dag.Storage
	a.state.Graph(func(g *dag.Graph) { all = g.Storages() })
	var errs []error
	for _, st := range all {
		t := dag.Retire{Storage: st.Name, Keep: a.retention.Points}
		if len(t.Forgets(st)) > 0 {
			_, err := a.retireStorage(ctx, t)
			errs = append(errs, err)
		}
	}
	m := a.Moment()
	if doubts := len(a.doubtful(m)) > 0; a.doubted(doubts) && doubts {
		log.G(ctx).WithFields(log.Fields{"clock": m.Wall, "certain": m.Sure}).Warn(doubt)
	}
	if a.retention.Age > 0 && !m.Sure.IsZero() {
		errs = append(errs, a.retireOldest(ctx, m))
	}
	return errors.Join(errs...)
}

// retireOldest forgets the oldest state of all storages that is too old.
func (a *Ageing) retireOldest(ctx context.Context, m clock.Moment) error {
	a.retiring.Lock()
	defer a.retiring.Unlock()
	var oldest []dag.Retire
	var when time.Time
	a.state.Graph(func(g *dag.Graph) {
		for _, st := range g.Storages() {
			t := dag.Retire{Storage: st.Name, Keep: a.retention.Points, Before: m.Sure.Add(-a.retention.Age), Steps: 1}
			if old := t.Forgets(st); len(old) > 0 && (len(oldest) == 0 || old[0].Time.Before(when)) {
				oldest, when = append([]dag.Retire{t}, oldest...), old[0].Time
			}
		}
	})
	for _, t := range oldest {
		if !a.due(m) {
			return nil
		}
		forgot, err := a.retireStorage(ctx, t)
		if err != nil {
			return err
		}
		if forgot { // else somebody is at work with the storage: another one is not kept for that
			a.forgotten(m)
		}
	}
	return nil
}

// retireStorage forgets old states of a storage, unless somebody is at work with it, who may need them, and reports
// whether it did so.
func (a *Ageing) retireStorage(ctx context.Context, t dag.Retire) (forgot bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, atWork)
	defer cancel()
	err = a.state.Locked(ctx, t.Storage, func(st dag.Storage) error {
		states := t.Forgets(st)
		if err := a.state.Do(t); err != nil {
			return err
		}
		for _, p := range states {
			log.G(ctx).WithFields(log.Fields{
				"storage": st.Name, "update": p.Update.String(), "node": p.Head.String(),
				"from": p.Time, "age": clock.Now().Sub(p.Time).Round(time.Second),
			}).Info("forgot a state that the storage could be returned to, as retention says")
		}
		forgot = len(states) > 0
		return nil
	})
	if errdefs.IsNotFound(err) || errdefs.IsUnavailable(err) {
		return false, nil
	}
	return forgot, err
}

// doubt is what is said while something is over by the clock of the machine alone.
var doubt = fmt.Sprintf("by the clock of the machine something is to be forgotten, or no longer pinned, "+
	"but that clock is not believed before it has gone on evenly for %v; if it is wrong, set it right", clock.Settled)

// doubtful returns the storages of which something is over by the clock of the machine, and not certainly.
func (a *Ageing) doubtful(m clock.Moment) (names []string) {
	a.state.Graph(func(g *dag.Graph) {
		for _, st := range g.Storages() {
			old := slices.ContainsFunc(slices.Concat(st.Points, st.Aside), func(p dag.Point) bool {
				return a.retention.Age > 0 && m.Doubted(p.Time.Add(a.retention.Age))
			})
			if old || slices.ContainsFunc(a.expiries(st.Settings), m.Doubted) {
				names = append(names, st.Name)
			}
		}
	})
	return names
}

// sweepBefore returns the time since when what is in the trash is kept.
func (a *Ageing) sweepBefore() time.Time {
	if a.retention.Trash == 0 {
		return time.Unix(1<<40, 0) // nothing is kept, whatever the clock said when it came there
	}
	return a.Moment().Sure.Add(-a.retention.Trash)
}
