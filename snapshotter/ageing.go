// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

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
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/nodes"
)

// ageing decides what is old enough to be forgotten.
type ageing struct {
	*clock.Clock
	retiring sync.Mutex // held while a state is forgotten for its age: one at a time

	mu     sync.Mutex
	forgot bool          // a state of a storage, for its age
	at     time.Duration // when that was, on the monotonic clock
	doubts bool          // it was logged that the clock is doubted
}

func newAgeing(dir *nodes.Dir, read func() (clock.Reading, error)) *ageing {
	c, err := clock.Open(filepath.Join(dir.Records(), "clock"), read)
	if err != nil {
		log.L.WithError(err).
			Warnf("nothing is forgotten for its age before the clock has gone on evenly for %v", clock.Settled)
	}
	return &ageing{Clock: c}
}

// close keeps what is known of the time. To lose it makes the next start more careful, and is no error.
func (a *ageing) close() {
	if err := a.Save(); err != nil {
		log.L.WithError(err).Warn("failed to keep what is believed of the time")
	}
}

// moment returns what is known of the time. When nothing can be known, nothing is old.
func (a *ageing) moment() clock.Moment {
	m, err := a.Look()
	if err != nil {
		log.L.WithError(err).Warn("what is believed of the time is not certain, or not kept for the next start")
	}
	return m
}

// due reports whether a state of a storage may be forgotten for its age now: one at a time, so that a person who sees the
// log can still do something.
func (a *ageing) due(m clock.Moment) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.forgot || m.Up-a.at >= background.Every
}

func (a *ageing) forgotten(m clock.Moment) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forgot, a.at = true, m.Up
}

// doubted reports whether it is to be logged that the clock is doubted, or no longer is.
func (a *ageing) doubted(doubts bool) (changed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	changed = a.doubts != doubts
	a.doubts = doubts
	return changed
}

// retire forgets the states of storages that retention does not keep: at once what is beyond their number, and what is
// too old by a time that has certainly been reached, one state at a time.
func (s *Snapshotter) retire(ctx context.Context) error {
	var all []dag.Storage
	s.Graph(func(g *dag.Graph) { all = g.Storages() })
	var errs []error
	for _, st := range all {
		t := dag.Retire{Storage: st.Name, Keep: s.retention.Points}
		if len(t.Forgets(st)) > 0 {
			_, err := s.retireStorage(ctx, t)
			errs = append(errs, err)
		}
	}
	m := s.ageing.moment()
	if doubts := len(s.doubtful(m)) > 0; s.ageing.doubted(doubts) && doubts {
		log.G(ctx).WithFields(log.Fields{"clock": m.Wall, "certain": m.Sure}).Warn(doubt)
	}
	if s.retention.Age > 0 && !m.Sure.IsZero() {
		errs = append(errs, s.retireOldest(ctx, m))
	}
	return errors.Join(errs...)
}

// retireOldest forgets the oldest state of all storages that is too old.
func (s *Snapshotter) retireOldest(ctx context.Context, m clock.Moment) error {
	s.ageing.retiring.Lock()
	defer s.ageing.retiring.Unlock()
	var oldest []dag.Retire
	var when time.Time
	s.Graph(func(g *dag.Graph) {
		for _, st := range g.Storages() {
			t := dag.Retire{Storage: st.Name, Keep: s.retention.Points, Before: m.Sure.Add(-s.retention.Age), Steps: 1}
			if old := t.Forgets(st); len(old) > 0 && (len(oldest) == 0 || old[0].Time.Before(when)) {
				oldest, when = append([]dag.Retire{t}, oldest...), old[0].Time
			}
		}
	})
	for _, t := range oldest {
		if !s.ageing.due(m) {
			return nil
		}
		forgot, err := s.retireStorage(ctx, t)
		if err != nil {
			return err
		}
		if forgot { // else somebody is at work with the storage: another one is not kept for that
			s.ageing.forgotten(m)
		}
	}
	return nil
}

// retireStorage forgets old states of a storage, unless somebody is at work with it, who may need them, and reports
// whether it did so.
func (s *Snapshotter) retireStorage(ctx context.Context, t dag.Retire) (forgot bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, atWork)
	defer cancel()
	err = s.locked(ctx, t.Storage, func(st dag.Storage) error {
		states := t.Forgets(st)
		if err := s.do(t); err != nil {
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
func (s *Snapshotter) doubtful(m clock.Moment) (names []string) {
	pins := func(o servicing.Options) bool {
		return slices.ContainsFunc(o.Pins, func(p servicing.Pin) bool { return !p.Expires.IsZero() && m.Doubted(p.Expires) })
	}
	s.Graph(func(g *dag.Graph) {
		for _, st := range g.Storages() {
			var own servicing.Options
			old := slices.ContainsFunc(slices.Concat(st.Points, st.Aside), func(p dag.Point) bool {
				return s.retention.Age > 0 && m.Doubted(p.Time.Add(s.retention.Age))
			})
			unread := json.Unmarshal(st.Settings, &own) // settings that cannot be read are told of when they are needed
			if old || pins(s.servicing) || unread == nil && pins(own) {
				names = append(names, st.Name)
			}
		}
	})
	return names
}

// checkClock finds what is kept only because the clock is not believed.
func (s *Snapshotter) checkClock(context.Context) (found []Problem, _ error) {
	m := s.ageing.moment()
	for _, name := range s.doubtful(m) {
		what := fmt.Sprintf("the clock says %s: %s", m.Wall.Format(time.RFC3339), doubt)
		found = append(found, Problem{Subject: fmt.Sprintf("storage %q", name), What: what})
	}
	return found, nil
}

// sweepBefore returns the time since when what is in the trash is kept.
func (s *Snapshotter) sweepBefore() time.Time {
	if s.retention.Trash == 0 {
		return time.Unix(1<<40, 0) // nothing is kept, whatever the clock said when it came there
	}
	return s.ageing.moment().Sure.Add(-s.retention.Trash)
}
