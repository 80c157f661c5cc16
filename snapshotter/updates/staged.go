// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// Staged is what is written for a storage and not yet shown. The caller closes its draft, also when the storage is
// held.
type Staged struct {
	*state.Draft
	update               dag.UpdateID
	head                 dag.NodeID // the open node that it was determined from
	carried, delta, open dag.NodeID
	ahead                dag.UpdateID // for which the delta storage was staged before; 0 when it is new
	at                   time.Time    // of the state that it leaves
	report               string
	fixesWaiting         int // how many fixes wait, see [servicing.Report.FixesWaiting]
	Holds                []string
}

// Switched moves the storage to what was staged.
func (p *Staged) Switched(storage string) dag.Transformation {
	return dag.Switch{
		Update: p.update, Storage: storage, Head: p.head, Delta: p.delta, Open: p.open, Report: p.report,
		FixesWaiting: p.fixesWaiting, Ahead: p.ahead, Now: p.at,
	}
}

// beside keeps what was staged ready, and leaves the storage where it is.
func (p *Staged) beside(storage string) dag.Transformation {
	return dag.Stage{
		Update: p.update, Storage: storage, Head: p.head, Delta: p.delta, Open: p.open, Report: p.report,
		FixesWaiting: p.fixesWaiting, Now: p.at,
	}
}

// RolledBack undoes the update; why is on record where no operator asked for that.
func (p *Staged) RolledBack(storage string, why ...string) dag.Rollback {
	return dag.Rollback{
		Update: p.update, Storage: storage, Head: p.head, Carried: p.carried, Delta: p.delta, Open: p.open,
		Reasons: why, Now: p.at,
	}
}

// Held records that the storage is held.
func (p *Staged) Held(storage string) dag.Transformation {
	return dag.Record{
		Update: p.update, Storage: storage, State: dag.Held, Reasons: p.Holds, Report: p.report, Now: clock.Now(),
	}
}

// CannotCarry is why a rollback that is to carry over what was written is refused.
func (p *Staged) CannotCarry(storage string) error {
	return fmt.Errorf("what was written in storage %q since %v cannot be carried over, roll back without carrying: "+
		"%s: %w",
		storage, p.update, strings.Join(p.Holds, "; "), errdefs.ErrFailedPrecondition)
}

// stacks are the nodes that a servicing reads.
type stacks struct {
	old, next, user []dag.NodeID    // as the engine takes them
	below           []dag.NodeID    // storage nodes and layers under what is written
	stays           bool            // the open node goes below what is written, not on it
	settings        json.RawMessage // of the update
	report          string          // of the update that put the storage on the old base, if there was one
}

func (k stacks) all() []dag.NodeID { return slices.Concat(k.old, k.next, k.user, k.below) }
