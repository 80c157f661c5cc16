// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates

import (
	"context"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// Stager returns what writes what moves make necessary.
func (rn *Runner) Stager() *Stager { return rn.stager }

// One services one storage.
func (rn *Runner) One(ctx context.Context, name string, id dag.UpdateID) (dag.State, error) {
	return rn.updateOne(ctx, name, id)
}

// RollbackWaiting carries out the rollback that a storage waits for.
func (rn *Runner) RollbackWaiting(ctx context.Context, st dag.Storage) (dag.State, error) {
	return rn.rollbackWaiting(ctx, st)
}

// Due returns the storages for which something waits and that may be looked at now.
func (rn *Runner) Due() (due []dag.Storage, soon bool) { return rn.due() }

// Fail notes that what a storage waits for could not be carried out in the background.
func (rn *Runner) Fail(storage string, p dag.Pending) { rn.failed.add(storage, p) }

// StageAhead determines what an update would come to for a storage.
func (s *Stager) StageAhead(ctx context.Context, st dag.Storage, u dag.Update) (*Staged, error) {
	return s.stageAhead(ctx, st, u)
}

// Beside keeps what was staged ready.
func (p *Staged) Beside(storage string) dag.Transformation { return p.beside(storage) }

// HoldRefused has what was staged held when an error refuses a node.
func (s *Stager) HoldRefused(p *Staged, why error) error { return s.holdRefused(p, why) }

// Report stages nothing but a report, and returns its name.
func (s *Stager) Report(head dag.NodeID) (*Staged, string, error) {
	p := &Staged{Draft: s.state.Begin(state.Nothing), update: 1, head: head}
	err := s.saveReport(p, &servicing.Report{})
	return p, p.report, err
}

// Has reports whether a report is there.
func (r *Reports) Has(name string) (bool, error) { return r.dir.Has(name) }

// CancelFates returns what cancelling an update would come to for each of its storages.
func (rb *Rollbacks) CancelFates(id dag.UpdateID) ([]Undone, error) {
	return rb.fates(RollbackRequest{Update: id}, cancelFate, false)
}

// CancelFor withdraws what has not happened, by what it would have come to when that was looked up.
func (rb *Rollbacks) CancelFor(id dag.UpdateID, fates []Undone) []Undone {
	return rb.undo(RollbackRequest{Update: id}, fates, cancelFate, func(one Undone) Undone { return one })
}

// CommitLayer commits a layer. Between runs after the update that the layer is has been determined, each time.
func CommitLayer(
	ctx context.Context, rn *Runner, policy CommitPolicy, c dag.Commit, labels map[string]string, between func(),
) ([]dag.UpdateID, error) {
	a := &Announcer{state: rn.state, tasks: rn.tasks, policy: policy, runner: rn}
	var n dag.Name
	a.state.Graph(func(g *dag.Graph) { n, _ = g.Name(c.Key) })
	return a.commit(ctx, c, func() begun {
		b := a.begun(ctx, n, c.Name, labels)
		between()
		return b
	})
}
