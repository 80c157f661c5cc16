// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/errtext"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/failpoint"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/nodes"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/overlay"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// Stager determines and writes what a move of a storage makes necessary, and shows nothing of it.
type Stager struct {
	state    *state.State
	nodes    *nodes.Dir
	ageing   *state.Ageing
	overlay  *overlay.Mounts
	tasks    *background.Tasks
	settings *Settings
	reports  *Reports
	ahead    *ahead
}

// stage determines and writes the side effects of an update on a storage that is free, and puts them on disk. Nothing
// of it shows until it is committed. The caller holds the lock of the storage, and closes what it gets, also after an
// error.
func (s *Stager) stage(ctx context.Context, st dag.Storage, u dag.Update) (*Staged, error) {
	return s.stageFor(ctx, st, u, func(g *dag.Graph, k *stacks) {
		k.below = slices.Concat(k.user, g.Chain(u.To))
	})
}

// stageBeside is stage, with an open node on the old base.
func (s *Stager) stageBeside(ctx context.Context, st dag.Storage, u dag.Update) (*Staged, error) {
	return s.stageFor(ctx, st, u, func(g *dag.Graph, k *stacks) {
		k.below, k.stays = slices.Concat(k.user, g.Chain(g.Base(st))), true
	})
}

// stageFor is stage, with the open node where place says.
func (s *Stager) stageFor(
	ctx context.Context, st dag.Storage, u dag.Update, place func(*dag.Graph, *stacks),
) (*Staged, error) {
	var k stacks
	p := &Staged{update: u.ID, head: st.Head, at: s.ageing.Stamp(clock.Now())}
	var err error
	p.Draft = s.state.Begin(func(g *dag.Graph) []dag.NodeID {
		k = stacks{
			old: g.Chain(g.Base(st)), next: g.Chain(u.To), user: g.Stack(st.Head),
			settings: u.Settings, report: lastReport(g, st),
		}
		place(g, &k)
		err = s.state.Usable(g, k.all())
		return k.all()
	})
	if err != nil {
		return p, err
	}
	if p.Holds = s.overlay.TooDeep(st, k.below); len(p.Holds) > 0 {
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

// Refused returns an error that refuses a node as a failed precondition, any other as it is.
func Refused(err error) error {
	if r, ok := servicing.RefusedReport(err); ok {
		return fmt.Errorf("%w: %s: %w", err, r.Holds[0].Do, errdefs.ErrFailedPrecondition)
	}
	return err
}

// holdRefused has what was staged held when the error refuses the node, with a report where that is for one path. Any
// other error it returns.
func (s *Stager) holdRefused(p *Staged, why error) error {
	if lost, ok := errors.AsType[state.FlagsLostError](why); ok {
		p.Holds = []string{errtext.Of(lost)}
		return nil
	}
	report, ok := servicing.RefusedReport(why)
	if !ok {
		return why
	}
	return s.report(p, report, report.Holds)
}

// report saves the report of a storage and notes the reasons why it is held, if there are any.
func (s *Stager) report(p *Staged, report *servicing.Report, reasons []servicing.Reason) error {
	if err := s.saveReport(p, report); err != nil {
		return err
	}
	p.fixesWaiting = len(report.FixesWaiting())
	for _, reason := range reasons {
		p.Holds = append(p.Holds, reason.Message)
	}
	return nil
}

// write runs the engine over the stacks, which are leased, and writes what it finds, below an empty open node.
func (s *Stager) write(ctx context.Context, st dag.Storage, p *Staged, k stacks) (err error) {
	if err := s.writeDelta(ctx, st, p, k); err != nil || len(p.Holds) > 0 {
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
func (s *Stager) writeDelta(ctx context.Context, st dag.Storage, p *Staged, k stacks) (err error) {
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
	if len(p.Holds) > 0 || plan.Empty() {
		return nil
	}
	var dir string
	if p.delta, dir, err = p.Make(); err != nil {
		return err
	}
	if err := plan.Write(ctx, dir); err != nil {
		return fmt.Errorf("write side effects: %w", err)
	}
	return s.nodes.Flags().Inherit(p.delta, k.user...)
}

func (s *Stager) input(st dag.Storage, k stacks) (servicing.Input, error) {
	options, err := s.settings.For(st, k.settings)
	if err != nil {
		return servicing.Input{}, err
	}
	left, err := s.reports.leftBehind(k.report)
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

// Commit carries out the transformations that show what was staged.
func (s *Stager) Commit(p *Staged, ts ...dag.Transformation) error {
	if err := p.Commit(ts...); err != nil {
		return err
	}
	s.tasks.Kick()
	return nil
}

// saveReport writes the report of what is staged to a file of its own, which is safe from being swept until the draft
// is closed.
func (s *Stager) saveReport(p *Staged, report *servicing.Report) error {
	name := fmt.Sprintf("%v-%v.json", p.update, p.head)
	done, err := s.reports.dir.Save(name, report)
	if err != nil {
		return err
	}
	p.report = name
	p.Keep(done)
	failpoint.ReportWritten.Hit()
	return nil
}
