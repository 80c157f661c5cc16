// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"sync"

	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// ahead remembers what servicing was told when side effects were staged ahead of time, by their reports: what was
// staged is taken only by a move that would be told the same. It is kept in memory only, as the configuration and the
// engine may change with the next start of the daemon: what an earlier one staged is staged again.
type ahead struct {
	mu   sync.Mutex
	told map[string][]byte
}

func newAhead() *ahead { return &ahead{told: map[string][]byte{}} }

func (a *ahead) remember(report string, told []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.told[report] = told
}

// take reports whether the side effects of a report were staged with the same options, and forgets it.
func (a *ahead) take(report string, told []byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	same := report != "" && bytes.Equal(a.told[report], told)
	delete(a.told, report)
	return same
}

// told returns what servicing is told for a move of a storage, but for the time.
func (s *Stager) told(st dag.Storage, u dag.Update) ([]byte, error) {
	o, err := s.settings.For(st, u.Settings)
	if err != nil {
		return nil, err
	}
	var none servicing.Options
	o.Now, o.Wall = none.Now, none.Wall
	return json.Marshal(o)
}

// stageAhead determines and writes what an update would come to for a storage that is free and whose lock the caller
// holds. The storage stays where it is, on an empty open node of its own.
func (s *Stager) stageAhead(ctx context.Context, st dag.Storage, u dag.Update) (*Staged, error) {
	told, err := s.told(st, u)
	if err != nil {
		return &Staged{Draft: s.state.Begin(state.Nothing)}, err
	}
	p, err := s.stageBeside(ctx, st, u)
	if err == nil && len(p.Holds) == 0 {
		s.ahead.remember(p.report, told)
	}
	return p, err
}

// Ready returns what moves a storage that is free and whose lock the caller holds: what was staged ahead of time, if
// nothing was written since and servicing would be told the same, or what is staged now.
func (s *Stager) Ready(ctx context.Context, st dag.Storage, u dag.Update) (*Staged, error) {
	p, ok, err := s.stagedAhead(ctx, st, u)
	if ok || err != nil {
		return p, err
	}
	if err := p.Close(); err != nil {
		return p, err
	}
	return s.stage(ctx, st, u)
}

// stagedAhead returns what was staged for a storage, with an open node on the new base. It reports false when there is
// nothing that is still good.
func (s *Stager) stagedAhead(ctx context.Context, st dag.Storage, u dag.Update) (p *Staged, ok bool, err error) {
	var o dag.Outcome
	p = &Staged{update: u.ID, head: st.Head, at: s.ageing.Stamp(clock.Now())}
	var under, below []dag.NodeID
	p.Draft = s.state.Begin(func(g *dag.Graph) []dag.NodeID {
		if p.ahead, o, ok = g.Staged(st, u.To); !ok {
			return nil
		}
		written := g.Stack(st.Head)[1:]
		under = slices.Concat(written, g.Chain(g.Base(st)))
		if o.Delta != 0 {
			below = append(below, o.Delta)
		}
		below = slices.Concat(below, written, g.Chain(u.To))
		return slices.Concat(below, under, []dag.NodeID{st.Head})
	})
	if !ok {
		return p, false, nil
	}
	told, err := s.told(st, u)
	if err != nil {
		return p, false, err
	}
	if ok = s.ahead.take(o.Report, told); ok {
		ok, err = s.state.Untouched(st.Head, under,
			func(own, made tree.Meta) bool { return reflect.DeepEqual(own, made) })
	}
	if !ok || err != nil {
		return p, false, err
	}
	s.state.Graph(func(g *dag.Graph) { ok = s.state.Usable(g, below) == nil })
	if !ok { // what is damaged is either made again, or refuses that
		return p, false, nil
	}
	p.delta, p.report, p.fixesWaiting = o.Delta, o.Report, o.FixesWaiting
	log.G(ctx).WithField("storage", st.Name).Debug("what was staged ahead of time is taken")
	return p, true, s.openOn(p, below)
}

// openOn publishes an empty open node on what is below.
func (s *Stager) openOn(p *Staged, below []dag.NodeID) (err error) {
	if p.open, err = p.MakeOpen(s.nodes.Stack(below)); err != nil {
		return err
	}
	if err := p.Publish(); err != nil {
		return err
	}
	return p.Sync()
}
