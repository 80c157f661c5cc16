// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"testing"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

func TestRollback(t *testing.T) {
	back := func(update dag.UpdateID, storage, head, carried, delta, open string) func(w *world) dag.Transformation {
		return func(w *world) dag.Transformation {
			return dag.Rollback{
				Update: update, Storage: storage, Head: w.id(head),
				Carried: w.id(carried), Delta: w.id(delta), Open: w.id(open), Now: w.now(),
			}
		}
	}
	run(t, []step{
		{
			name: "exact", given: applied, do: back(1, "c", "x", "", "", "r"),
			want: `
				base
				  c of k-c: r* > w
				  delta
				    c aside of u1: x > d > w
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on base, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta rolled-back
				  c rolled-back with d, report
			`,
		}, {
			name: "carried over", given: applied, do: back(1, "c", "x", "carried", "", "r"),
			want: `
				base
				  c of k-c: r* > carried > w
				  delta
				    c aside of u1: x > d > w
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on base, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta rolled-back
				  c rolled-back with d, report
			`,
		}, {
			name: "carried over with side effects", given: applied, do: back(1, "c", "x", "carried", "e", "r"),
			want: `
				base
				  c of k-c: r* > e > carried > w
				  delta
				    c aside of u1: x > d > w
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on base, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta rolled-back
				  c rolled-back with d, report
			`,
		}, {
			name: "the newer of two", given: appliedTwice, do: back(2, "c", "y", "", "", "r"),
			want: `
				base
				  c before u1: w
				  delta, added
				    c of k-c: r* > x > d > w
				rebuilt
				  c aside of u2: y > e > x > d > w
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on delta, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta applied
				  c applied with d, report
				u2 delta -> rebuilt rolled-back
				  c rolled-back with e, report
			`,
		}, {
			name: "one after the other", do: back(1, "c", "r", "", "", "s"),
			given: func(w *world) { appliedTwice(w); w.rollback(2, "c", "r") },
			want: `
				base
				  c of k-c: s* > w
				  delta
				    c aside of u1: r > x > d > w
				rebuilt
				  c aside of u2: y > e > x > d > w
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on base, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta rolled-back
				  c rolled-back with d, report
				u2 delta -> rebuilt rolled-back
				  c rolled-back with e, report
			`,
		}, {
			name: "of a storage that waits for it", do: back(1, "c", "x", "", "", "r"),
			given: func(w *world) {
				applied(w)
				w.do(dag.AwaitRollback{Update: 1, Storage: "c", Reason: "in use", Carry: true})
			},
			want: `
				base
				  c of k-c: r* > w
				  delta
				    c aside of u1: x > d > w
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on base, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta rolled-back
				  c rolled-back with d, report
			`,
		}, {
			name: "of a storage that waits for the next update", do: back(1, "c", "x", "", "", "r"),
			given: func(w *world) {
				applied(w)
				w.begin(2, "delta", "rebuilt", "c")
				w.record(2, "c", dag.Planned)
			},
			want: `
				base
				  c of k-c: r* > w
				  delta
				    c aside of u1: x > d > w
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on base, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta rolled-back
				  c rolled-back with d, report
				u2 delta -> rebuilt aborted
				  c aborted: u1 was rolled back
			`,
		},
		{name: "withdrawn", given: applied, do: awaited(back(1, "c", "x", "", "", "r")), kind: errdefs.ErrAborted, says: `rollback of update u1 of storage "c" was withdrawn`},
		{
			name: "that was awaited", do: awaited(back(1, "c", "x", "", "", "r")),
			given: func(w *world) { applied(w); w.do(dag.AwaitRollback{Update: 1, Storage: "c"}) },
			want: `
				base
				  c of k-c: r* > w
				  delta
				    c aside of u1: x > d > w
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on base, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta rolled-back
				  c rolled-back with d, report
			`,
		},
		{name: "unknown storage", given: applied, do: back(1, "none", "x", "", "", "r"), kind: errdefs.ErrNotFound, says: `storage "none"`},
		{name: "never applied", given: begun, do: back(1, "c", "w", "", "", "r"), kind: errdefs.ErrNotFound, says: `"c" has no rollback point for update u1`},
		{name: "unknown update", given: applied, do: back(2, "c", "x", "", "", "r"), kind: errdefs.ErrNotFound, says: `"c" has no rollback point for update u2`},
		{name: "the older of two", given: appliedTwice, do: back(1, "c", "y", "", "", "r"), kind: errdefs.ErrFailedPrecondition, says: `"c" was updated by u2 since u1; roll that back first`},
		{name: "moved on", given: applied, do: back(1, "c", "w", "", "", "r"), kind: errdefs.ErrAborted, says: `"c" has moved on from n2 to n6`},
		{
			name: "retired", do: back(1, "c", "x", "", "", "r"),
			given: func(w *world) { applied(w); w.retire("c") },
			kind:  errdefs.ErrNotFound, says: `"c" has no rollback point for update u1`,
		},
		{name: "no node", given: applied, do: back(1, "c", "x", "", "", ""), kind: errdefs.ErrInvalidArgument, says: "n0"},
		{name: "node in use", given: applied, do: back(1, "c", "x", "d", "", "r"), kind: errdefs.ErrAlreadyExists, says: "n5"},
	}, (*world).drawing, (*world).names, (*world).updates)
}

// awaited makes a rollback one that the storage waited for.
func awaited(do func(w *world) dag.Transformation) func(w *world) dag.Transformation {
	return func(w *world) dag.Transformation {
		r, _ := do(w).(dag.Rollback)
		r.Awaited = true
		return r
	}
}

func TestWithdrawRollback(t *testing.T) {
	waits := func(w *world) {
		applied(w)
		w.do(dag.AwaitRollback{Update: 1, Storage: "c", Reason: "in use", Use: "use-running", Now: w.now()})
	}
	withdraw := func(update dag.UpdateID, storage string) func(w *world) dag.Transformation {
		return func(w *world) dag.Transformation {
			return dag.WithdrawRollback{Update: update, Storage: storage, Reason: "withdrawn", Now: w.now()}
		}
	}
	again := func(w *world) dag.Transformation { return dag.AwaitRollback{Update: 1, Storage: "c", Again: true} }
	run(t, []step{
		{name: "waits", given: waits, do: withdraw(1, "c"), want: `
			base
			  c before u1: w
			  delta, added
			    c of k-c: x* > d > w
			rebuilt
			u1 base -> delta applied
			  c applied with d: withdrawn, report
		`},
		{name: "goes on waiting", given: waits, do: again, want: `
			base
			  c before u1: w
			  delta, added
			    c of k-c: x* > d > w, waits to roll back u1
			rebuilt
			u1 base -> delta applied
			  c applied with d: , report
		`},
		{name: "waits no longer", given: applied, do: again, kind: errdefs.ErrAborted, says: "was withdrawn"},
		{name: "waits for none", given: applied, do: withdraw(1, "c"), kind: errdefs.ErrFailedPrecondition, says: `"c" does not wait for the rollback of update u1`},
		{
			name: "waits for an update", do: withdraw(2, "c"), kind: errdefs.ErrFailedPrecondition, says: "does not wait",
			given: func(w *world) { applied(w); w.begin(2, "delta", "rebuilt", "c"); w.record(2, "c", dag.Planned) },
		},
		{name: "another update", given: waits, do: withdraw(2, "c"), kind: errdefs.ErrFailedPrecondition, says: "does not wait"},
		{name: "unknown storage", given: waits, do: withdraw(1, "none"), kind: errdefs.ErrNotFound, says: `storage "none"`},
	}, (*world).drawing, (*world).updates)
}

func TestAwaitRollback(t *testing.T) {
	await := func(update dag.UpdateID, storage string, carry bool) func(w *world) dag.Transformation {
		return func(w *world) dag.Transformation {
			return dag.AwaitRollback{Update: update, Storage: storage, Carry: carry, Reason: "in use", Now: w.now()}
		}
	}
	waiting := func(w *world) {
		applied(w)
		w.begin(2, "delta", "rebuilt", "c")
		w.record(2, "c", dag.Planned)
	}
	const drawn = `
		base
		  c before u1: w
		  delta, added
		    c of k-c: x* > d > w, waits to roll back u1`
	run(t, []step{
		{name: "exact", given: applied, do: await(1, "c", false), want: drawn + `
		rebuilt
		u1 base -> delta applied
		  c applied with d: in use, report
		`},
		{name: "carried over", given: applied, do: await(1, "c", true), want: drawn + ` and carry over
		rebuilt
		u1 base -> delta applied
		  c applied with d: in use, report
		`},
		{
			name: "asked for again, without carrying over", do: await(1, "c", false),
			given: func(w *world) {
				applied(w)
				w.do(dag.AwaitRollback{Update: 1, Storage: "c", Reason: "in use", Carry: true})
			},
			want: drawn + `
		rebuilt
		u1 base -> delta applied
		  c applied with d: in use, report
		`,
		},
		{name: "in place of the next update", given: waiting, do: await(1, "c", false), want: drawn + `
		rebuilt
		u1 base -> delta applied
		  c applied with d: in use, report
		u2 delta -> rebuilt aborted
		  c aborted: superseded by the rollback of u1
		`},
		{name: "unknown storage", given: applied, do: await(1, "none", false), kind: errdefs.ErrNotFound, says: `storage "none"`},
		{name: "unknown update", given: applied, do: await(2, "c", false), kind: errdefs.ErrNotFound, says: "no rollback point for update u2"},
		{name: "the older of two", given: appliedTwice, do: await(1, "c", false), kind: errdefs.ErrFailedPrecondition, says: "roll that back first"},
	}, (*world).drawing, (*world).updates)
}
