// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/errtext"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/failpoint"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/reports"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// staged is what is written for a storage and not yet shown. Whoever has it closes its draft, also when it is held.
type staged struct {
	*state.Draft
	update               dag.UpdateID
	head                 dag.NodeID // the open node that it was determined from
	carried, delta, open dag.NodeID
	ahead                dag.UpdateID // for which the delta storage was staged before; 0 when it is new
	at                   time.Time    // of the state that it leaves
	report               string
	fixesWaiting         int // how many fixes wait, see [servicing.Report.FixesWaiting]
	holds                []string
	dropsHead            bool // nothing refers to head afterwards
}

func (p *staged) switched(storage string) dag.Transformation {
	return dag.Switch{
		Update: p.update, Storage: storage, Head: p.head, Delta: p.delta, Open: p.open, Report: p.report, FixesWaiting: p.fixesWaiting,
		Ahead: p.ahead, Now: p.at,
	}
}

// beside keeps what was staged ready, and leaves the storage where it is.
func (p *staged) beside(storage string) dag.Transformation {
	return dag.Stage{
		Update: p.update, Storage: storage, Head: p.head, Delta: p.delta, Open: p.open, Report: p.report, FixesWaiting: p.fixesWaiting, Now: p.at,
	}
}

// rolledBack undoes the update; why is on record where no operator asked for that.
func (p *staged) rolledBack(storage string, why ...string) dag.Rollback {
	return dag.Rollback{
		Update: p.update, Storage: storage, Head: p.head, Carried: p.carried, Delta: p.delta, Open: p.open, Reasons: why, Now: p.at,
	}
}

func (p *staged) held(storage string) dag.Transformation {
	return dag.Record{Update: p.update, Storage: storage, State: dag.Held, Reasons: p.holds, Report: p.report, Now: clock.Now()}
}

// stacks are the nodes that a servicing reads.
type stacks struct {
	old, next, user []dag.NodeID    // as the engine takes them
	below           []dag.NodeID    // storage nodes and layers under what is written
	stays           bool            // the open node goes below what is written, not on it
	base            dag.NodeID      // layer that the result stands on
	settings        json.RawMessage // of the update
	report          string          // of the update that put the storage on the old base, if there was one
}

func (k stacks) all() []dag.NodeID { return slices.Concat(k.old, k.next, k.user, k.below) }

// stage determines and writes the side effects of an update on a storage that is free, and puts them on disk. Nothing of
// it shows until it is committed. The caller holds the lock of the storage, and closes what it gets, also after an error.
func (s *Snapshotter) stage(ctx context.Context, st dag.Storage, u dag.Update) (*staged, error) {
	return s.stageFor(ctx, st, u, func(g *dag.Graph, k *stacks) {
		k.below, k.base = slices.Concat(k.user, g.Chain(u.To)), u.To
	})
}

// stageBeside is stage, with an open node on the old base.
func (s *Snapshotter) stageBeside(ctx context.Context, st dag.Storage, u dag.Update) (*staged, error) {
	return s.stageFor(ctx, st, u, func(g *dag.Graph, k *stacks) {
		k.below, k.base, k.stays = slices.Concat(k.user, g.Chain(g.Base(st))), g.Base(st), true
	})
}

// stageFor is stage, with the open node where place says.
func (s *Snapshotter) stageFor(ctx context.Context, st dag.Storage, u dag.Update, place func(*dag.Graph, *stacks)) (*staged, error) {
	var k stacks
	p := &staged{update: u.ID, head: st.Head, at: s.ageing.Stamp(clock.Now())}
	var err error
	p.Draft = s.state.Begin(func(g *dag.Graph) []dag.NodeID {
		k = stacks{
			old: g.Chain(g.Base(st)), next: g.Chain(u.To), user: g.Stack(st.Head), settings: u.Settings, report: lastReport(g, st),
		}
		place(g, &k)
		err = s.state.Usable(g, k.all())
		return k.all()
	})
	if err != nil {
		return p, err
	}
	if p.holds = s.overlay.TooDeep(st, k.below); len(p.holds) > 0 {
		return p, nil
	}
	if err := s.state.Seal(ctx, st.Head); err != nil {
		return p, s.holdRefused(p, err)
	}
	if err := p.Freeze(ctx, st.Head); err != nil {
		return p, err
	}
	return p, s.write(ctx, st, p, k)
}

// refused returns an error that refuses a node as a failed precondition, any other as it is.
func refused(err error) error {
	if r, ok := servicing.RefusedReport(err); ok {
		return fmt.Errorf("%w: %s: %w", err, r.Holds[0].Do, errdefs.ErrFailedPrecondition)
	}
	return err
}

// holdRefused has what was staged held when the error refuses the node, with a report where that is for one path. Any other
// error it returns.
func (s *Snapshotter) holdRefused(p *staged, why error) error {
	if lost, ok := errors.AsType[state.FlagsLostError](why); ok {
		p.holds = []string{errtext.Of(lost)}
		return nil
	}
	report, ok := servicing.RefusedReport(why)
	if !ok {
		return why
	}
	return s.report(p, report, report.Holds)
}

// report saves the report of a storage and notes the reasons why it is held, if there are any.
func (s *Snapshotter) report(p *staged, report *servicing.Report, reasons []servicing.Reason) error {
	if err := s.saveReport(p, report); err != nil {
		return err
	}
	p.fixesWaiting = len(report.FixesWaiting())
	for _, reason := range reasons {
		p.holds = append(p.holds, reason.Message)
	}
	return nil
}

// write runs the engine over the stacks, which are leased, and writes what it finds, below an empty open node.
func (s *Snapshotter) write(ctx context.Context, st dag.Storage, p *staged, k stacks) (err error) {
	if err := s.writeDelta(ctx, st, p, k); err != nil || len(p.holds) > 0 {
		return err
	}
	below := s.nodes.Stack(k.below)
	for _, id := range []dag.NodeID{p.carried, p.delta} {
		if id == 0 {
			continue
		}
		if err := p.Freeze(ctx, id); err != nil {
			return err
		}
		if !k.stays {
			below = append(tree.Stack{p.Dir(id)}, below...)
		}
	}
	if p.open, err = p.MakeOpen(below); err != nil {
		return err
	}
	if err := p.Publish(); err != nil {
		return err
	}
	return p.Sync()
}

// writeDelta plans and, if nothing holds the storage and there are side effects, writes the delta storage.
func (s *Snapshotter) writeDelta(ctx context.Context, st dag.Storage, p *staged, k stacks) (err error) {
	in, err := s.input(st, k)
	if err != nil {
		return err
	}
	plan, err := servicing.NewPlan(ctx, in)
	if report, ok := servicing.RefusedReport(err); ok {
		return s.report(p, report, report.Holds)
	}
	if err != nil {
		return fmt.Errorf("determine side effects: %w", err)
	}
	defer func() { err = errors.Join(err, plan.Close()) }()
	if err := s.report(p, plan.Report(), plan.Held()); err != nil {
		return err
	}
	if len(p.holds) > 0 || plan.Empty() {
		return nil
	}
	var dir string
	if p.delta, dir, err = p.Make(); err != nil {
		return err
	}
	if err := plan.Write(ctx, dir); err != nil {
		return fmt.Errorf("write side effects: %w", err)
	}
	return s.nodes.InheritFlagged(p.delta, k.user...)
}

func (s *Snapshotter) input(st dag.Storage, k stacks) (servicing.Input, error) {
	options, err := s.optionsFor(st, k.settings)
	if err != nil {
		return servicing.Input{}, err
	}
	left, err := s.leftBehind(k.report)
	return servicing.Input{
		Old: s.nodes.Stack(k.old), New: s.nodes.Stack(k.next), User: s.nodes.Stack(k.user), Options: options,
		Withheld: left.Withheld, Waiting: left.Waiting,
	}, err
}

// lastReport returns the name of the report of the update that put a storage on its base, empty if there was none.
func lastReport(g *dag.Graph, st dag.Storage) string {
	for _, u := range slices.Backward(g.Updates()) {
		if o := u.Outcomes[st.Name]; o.State == dag.Applied {
			return o.Report
		}
	}
	return ""
}

// leftBehind returns what did not follow the base in an update although it is not the user's, by the report. When the report is
// gone, it all counts as the user's own.
func (s *Snapshotter) leftBehind(report string) (reports.LeftBehind, error) {
	if report == "" {
		return reports.LeftBehind{}, nil
	}
	left, err := s.reports.LeftBehind(report)
	if errors.Is(err, os.ErrNotExist) {
		return reports.LeftBehind{}, nil
	}
	return left, err
}

// commitStaged carries out the transformations that show what was staged.
func (s *Snapshotter) commitStaged(p *staged, ts ...dag.Transformation) error {
	if err := p.Commit(ts...); err != nil {
		return err
	}
	s.tasks.Kick()
	return nil
}

// saveReport writes the report of what is staged to a file of its own, which is safe from being swept until the draft
// is closed.
func (s *Snapshotter) saveReport(p *staged, report *servicing.Report) error {
	name := fmt.Sprintf("%v-%v.json", p.update, p.head)
	done, err := s.reports.Save(name, report)
	if err != nil {
		return err
	}
	p.report = name
	p.Keep(done)
	failpoint.ReportWritten.Hit()
	return nil
}

// giveUp records that an update failed for a storage, which stands where it stood, and returns why.
func (s *Snapshotter) giveUp(update dag.UpdateID, storage string, why error) error {
	r := dag.Record{Update: update, Storage: storage, State: dag.Aborted, Reasons: []string{errtext.Of(why)}, Now: clock.Now()}
	if err := s.state.Do(r); err != nil && s.stateOf(update, storage) != dag.Withdrawn {
		log.L.WithError(err).WithField("storage", storage).Error("failed to record that an update was given up")
	}
	return fmt.Errorf("update %v of storage %q: %w", update, storage, why)
}
