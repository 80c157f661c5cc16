// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"testing"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// oneContainer is storage c on base, which delta and rebuilt can follow.
func oneContainer(w *world) {
	w.layer("base", "")
	w.container("c", "base", "w")
	w.layer("delta", "base")
	w.layer("rebuilt", "")
}

// begun is the same with update 1 under way.
func begun(w *world) {
	oneContainer(w)
	w.begin(1, "base", "delta", "c")
}

// applied is the same with update 1 applied.
func applied(w *world) {
	begun(w)
	w.apply(1, "c", "d", "x")
}

// appliedTwice is the same with update 2 on top.
func appliedTwice(w *world) {
	applied(w)
	w.begin(2, "delta", "rebuilt", "c")
	w.apply(2, "c", "e", "y")
}

func TestBeginUpdate(t *testing.T) {
	begin := func(from, to string, storages ...string) func(w *world) dag.Transformation {
		return func(w *world) dag.Transformation {
			return dag.BeginUpdate{ID: 1, From: w.id(from), To: w.id(to), Storages: storages, Now: w.now()}
		}
	}
	given := func(w *world) {
		oneContainer(w)
		w.layer("delta2", "delta")
		w.container("c2", "base", "w2")
	}
	run(t, []step{
		{
			name: "delta layers", given: given, do: begin("base", "delta2", "c", "c2"),
			want: `
				base
				  c of k-c: w*
				  c2 of k-c2: w2*
				  delta, added
				    delta2, added
				rebuilt
				u1 base -> delta2 staging
				  c staging
				  c2 staging
			`,
		}, {
			name: "rebuilt image", given: given, do: begin("base", "rebuilt", "c"),
			want: `
				base
				  c of k-c: w*
				  c2 of k-c2: w2*
				  delta
				    delta2
				rebuilt
				u1 base -> rebuilt staging
				  c staging
			`,
		}, {
			name: "back to a layer below", given: given, do: begin("delta2", "base"),
			want: `
				base
				  c of k-c: w*
				  c2 of k-c2: w2*
				  delta
				    delta2
				rebuilt
				u1 delta2 -> base applied
			`,
		}, {
			name: "from an empty base", given: given, do: begin("", "delta"),
			want: `
				base
				  c of k-c: w*
				  c2 of k-c2: w2*
				  delta
				    delta2
				rebuilt
				u1 nothing -> delta applied
			`,
		}, {
			name: "for nobody yet", given: given, do: begin("base", "delta"),
			want: `
				base
				  c of k-c: w*
				  c2 of k-c2: w2*
				  delta, added
				    delta2
				rebuilt
				u1 base -> delta applied
			`,
		},
		{name: "unknown old base", given: given, do: begin("none", "delta"), kind: errdefs.ErrNotFound, says: "layer n7"},
		{name: "unknown new base", given: given, do: begin("base", "none"), kind: errdefs.ErrNotFound, says: "layer n7"},
		{name: "storage node as base", given: given, do: begin("base", "w"), kind: errdefs.ErrNotFound, says: "layer n2"},
		{name: "to an empty base", given: given, do: begin("base", ""), kind: errdefs.ErrInvalidArgument, says: "empty base"},
		{name: "to itself", given: given, do: begin("base", "base"), kind: errdefs.ErrInvalidArgument, says: "nothing to update"},
		{name: "unknown storage", given: given, do: begin("base", "delta", "c", "none"), kind: errdefs.ErrNotFound, says: `storage "none"`},
	}, (*world).drawing, (*world).updates)
}

// An image that was unpacked twice is no update of itself.
func TestBeginUpdateToTwin(t *testing.T) {
	w := newWorld(t)
	for _, label := range []string{"base", "twin"} {
		w.do(dag.Prepare{Key: "k", Kind: dag.Active, Open: w.id(label)})
		w.do(dag.Commit{Key: "k", Name: label, Origin: "sha256:1"})
	}
	w.refuse(errdefs.ErrInvalidArgument, "same base", dag.BeginUpdate{ID: 1, From: w.id("base"), To: w.id("twin")})
}

// An update that is under way keeps its layers, although containerd has forgotten them and no storage stands on them.
func TestUpdateUnderWayKeepsItsLayers(t *testing.T) {
	for _, end := range []dag.State{dag.Held, dag.Aborted} {
		w := newWorld(t)
		begun(w)
		w.remove("delta")
		same(t, w.drawing(), `
			base
			  c of k-c: w*
			  delta, added
			rebuilt
		`)
		w.record(1, "c", end)
		same(t, w.drawing(), `
			base
			  c of k-c: w*
			rebuilt
		`)
	}
}

func TestRecord(t *testing.T) {
	record := func(update dag.UpdateID, storage string, state dag.State) func(w *world) dag.Transformation {
		return func(w *world) dag.Transformation {
			return dag.Record{
				Update: update, Storage: storage, State: state, Reasons: []string{"reason"}, Report: "report", Now: w.now(),
			}
		}
	}
	waiting := func(w *world) {
		begun(w)
		w.record(1, "c", dag.Planned)
		w.begin(2, "base", "rebuilt", "c")
	}
	const waits = `
		base
		  c of k-c: w*, waits for u1
		  delta, added
		rebuilt
		u1 base -> delta `
	const free = `
		base
		  c of k-c: w*
		  delta, added
		rebuilt
		u1 base -> delta `
	const over = `
		base
		  c of k-c: w*
		  delta
		rebuilt
		u1 base -> delta `
	run(t, []step{
		{name: "planned", given: begun, do: record(1, "c", dag.Planned), want: waits + `planned
		  c planned: reason, report
		`},
		{name: "staging", given: begun, do: record(1, "c", dag.Staging), want: free + `staging
		  c staging: reason, report
		`},
		{name: "staged", given: begun, do: record(1, "c", dag.Staged), want: free + `staged
		  c staged: reason, report
		`},
		{name: "held", given: begun, do: record(1, "c", dag.Held), want: over + `aborted
		  c held: reason, report
		`},
		{name: "aborted", given: begun, do: record(1, "c", dag.Aborted), want: over + `aborted
		  c aborted: reason, report
		`},
		{name: "staged while it waits", given: waiting, do: record(1, "c", dag.Staged), want: waits + `staged
		  c staged: reason, report
		u2 base -> rebuilt staging
		  c staging
		`},
		{name: "held while it waits", given: waiting, do: record(1, "c", dag.Held), want: over + `aborted
		  c held: reason, report
		u2 base -> rebuilt staging
		  c staging
		`},
		{name: "aborted while it waits for another", given: waiting, do: record(2, "c", dag.Aborted), want: waits + `planned
		  c planned: reason
		u2 base -> rebuilt aborted
		  c aborted: reason, report
		`},
		{name: "planned while it waits for another", given: waiting, do: record(2, "c", dag.Planned), want: `
		base
		  c of k-c: w*, waits for u2
		  delta
		rebuilt
		u1 base -> delta aborted
		  c aborted: superseded by u2
		u2 base -> rebuilt planned
		  c planned: reason, report
		`},
		{
			name: "planned in place of a rollback", do: record(2, "c", dag.Planned),
			given: func(w *world) {
				applied(w)
				w.do(dag.AwaitRollback{Update: 1, Storage: "c", Reason: "in use", Now: w.now()})
				w.begin(2, "delta", "rebuilt", "c")
			},
			want: `
				base
				  c before u1: w
				  delta, added
				    c of k-c: x* > d > w, waits for u2
				rebuilt
				u1 base -> delta applied
				  c applied with d, report
				u2 delta -> rebuilt planned
				  c planned: reason, report
			`,
		}, {
			name: "again after a rollback", do: record(1, "c", dag.Staging),
			given: func(w *world) { applied(w); w.rollback(1, "c", "y"); w.retire("c") },
			want: `
				base
				  c of k-c: y* > w
				  delta, added
				rebuilt
				u1 base -> delta staging
				  c staging: reason, report
			`,
		}, {
			name: "a storage that is no more", do: record(1, "c", dag.Held),
			given: func(w *world) { begun(w); w.remove("k-c"); w.do(dag.RemoveStorage{Name: "c"}) },
			want: `
				base
				  delta
				rebuilt
				u1 base -> delta aborted
				  c held: reason, report
			`,
		},
		{
			name: "going on for a storage that is no more", do: record(1, "c", dag.Staging),
			given: func(w *world) { begun(w); w.remove("k-c"); w.do(dag.RemoveStorage{Name: "c"}) },
			kind:  errdefs.ErrNotFound, says: `storage "c"`,
		},
		{name: "unknown update", given: begun, do: record(2, "c", dag.Held), kind: errdefs.ErrNotFound, says: "update u2"},
		{name: "unknown storage", given: begun, do: record(1, "none", dag.Planned), kind: errdefs.ErrNotFound, says: `storage "none"`},
		{name: "applied", given: begun, do: record(1, "c", dag.Applied), kind: errdefs.ErrInvalidArgument, says: "applied needs the storage to move"},
		{name: "rolled back", given: applied, do: record(1, "c", dag.RolledBack), kind: errdefs.ErrInvalidArgument, says: "rolled-back needs the storage to move"},
		{name: "held after it was applied", given: applied, do: record(1, "c", dag.Held), kind: errdefs.ErrFailedPrecondition, says: `"c" has been moved by u1 already`},
		{
			name: "going on after the new layer is gone", do: record(1, "c", dag.Planned),
			given: func(w *world) { begun(w); w.record(1, "c", dag.Held); w.remove("delta") },
			kind:  errdefs.ErrNotFound, says: "layer n3 of update u1 is gone",
		},
		{
			name: "held after it was applied and cannot be undone any more", do: record(1, "c", dag.Held),
			given: func(w *world) { applied(w); w.retire("c") },
			kind:  errdefs.ErrFailedPrecondition, says: `"c" has been moved by u1 already`,
		},
	}, (*world).drawing, (*world).updates)
}

func TestSwitch(t *testing.T) {
	apply := func(update dag.UpdateID, storage, head, delta, open string) func(w *world) dag.Transformation {
		return func(w *world) dag.Transformation {
			return dag.Switch{
				Update: update, Storage: storage, Head: w.id(head), Delta: w.id(delta), Open: w.id(open),
				Report: "report", Now: w.now(),
			}
		}
	}
	run(t, []step{
		{
			name: "with side effects", given: begun, do: apply(1, "c", "w", "d", "x"),
			want: `
				base
				  c before u1: w
				  delta, added
				    c of k-c: x* > d > w
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on delta, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta applied
				  c applied with d, report
			`,
		}, {
			name: "without side effects", given: begun, do: apply(1, "c", "w", "", "x"),
			want: `
				base
				  c before u1: w
				  delta, added
				    c of k-c: x* > w
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on delta, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta applied
				  c applied, report
			`,
		}, {
			name: "of a storage that nobody holds", do: apply(1, "c", "w", "", "x"),
			given: func(w *world) { begun(w); w.remove("k-c") },
			want: `
				base
				  c before u1: w
				  delta, added
				    c free: x* > w
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				rebuilt: committed on rebuilt
				u1 base -> delta applied
				  c applied, report
			`,
		}, {
			name: "of a storage that waited for it", do: apply(1, "c", "w", "", "x"),
			given: func(w *world) { begun(w); w.record(1, "c", dag.Planned) },
			want: `
				base
				  c before u1: w
				  delta, added
				    c of k-c: x* > w
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on delta, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta applied
				  c applied, report
			`,
		}, {
			name: "of a storage that waited for another", do: apply(2, "c", "w", "", "x"),
			given: func(w *world) {
				begun(w)
				w.record(1, "c", dag.Planned)
				w.begin(2, "base", "rebuilt")
			},
			want: `
				base
				  c before u2: w
				  delta
				rebuilt
				  c of k-c: x* > w
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on rebuilt, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta aborted
				  c aborted: superseded by u2
				u2 base -> rebuilt applied
				  c applied, report
			`,
		}, {
			name: "again after a rollback", do: apply(1, "c", "y", "e", "z"),
			given: func(w *world) { applied(w); w.rollback(1, "c", "y") },
			want: `
				base
				  c before u1: y > w
				  delta, added
				    c of k-c: z* > e > y > w
				    c aside of u1: x > d > w
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on delta, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta applied
				  c applied with e, report
			`,
		},
		{name: "unknown update", given: begun, do: apply(2, "c", "w", "", "x"), kind: errdefs.ErrNotFound, says: "update u2"},
		{name: "unknown storage", given: begun, do: apply(1, "none", "w", "", "x"), kind: errdefs.ErrNotFound, says: `storage "none"`},
		{name: "moved on", given: appliedTwice, do: apply(1, "c", "w", "", "z"), kind: errdefs.ErrAborted, says: `"c" has moved on from n2 to n8`},
		{name: "moved already", given: applied, do: apply(1, "c", "x", "", "z"), kind: errdefs.ErrFailedPrecondition, says: `"c" has been moved by u1 already`},
		{
			name: "stands there already", do: apply(2, "c", "x", "", "z"),
			given: func(w *world) { applied(w); w.begin(2, "base", "delta") },
			kind:  errdefs.ErrFailedPrecondition, says: `"c" stands on n3 already`,
		}, {
			name: "moved already, and on from there", do: apply(1, "c", "y", "", "z"), given: appliedTwice,
			kind: errdefs.ErrFailedPrecondition, says: `"c" has been moved by u1 already`,
		}, {
			name: "new base is gone", do: apply(1, "c", "w", "", "x"),
			given: func(w *world) { begun(w); w.record(1, "c", dag.Held); w.remove("delta") },
			kind:  errdefs.ErrNotFound, says: "new base n3 of update u1 is gone",
		},
		{name: "no node", given: begun, do: apply(1, "c", "w", "", ""), kind: errdefs.ErrInvalidArgument, says: "n0"},
		{name: "one node for two", given: begun, do: apply(1, "c", "w", "x", "x"), kind: errdefs.ErrAlreadyExists, says: "n5"},
		{name: "node in use", given: begun, do: apply(1, "c", "w", "", "delta"), kind: errdefs.ErrAlreadyExists, says: "n3"},
	}, (*world).drawing, (*world).names, (*world).updates)
}

// The state of an update follows from those of its storages.
func TestUpdateState(t *testing.T) {
	cases := []struct {
		first, second dag.State
		want          dag.State
	}{
		{dag.Planned, dag.Planned, dag.Planned},
		{dag.Staging, dag.Staged, dag.Staging},
		{dag.Staged, dag.Planned, dag.Staged},
		{dag.Staged, dag.Applied, dag.Staged},
		{dag.Applied, dag.Planned, dag.Applied},
		{dag.Applied, dag.Held, dag.Applied},
		{dag.Applied, dag.RolledBack, dag.Applied},
		{dag.RolledBack, dag.Held, dag.RolledBack},
		{dag.RolledBack, dag.Planned, dag.Planned},
		{dag.Withdrawn, dag.Aborted, dag.Withdrawn},
		{dag.Withdrawn, dag.Applied, dag.Applied},
		{dag.Held, dag.Planned, dag.Planned},
		{dag.Held, dag.Aborted, dag.Aborted},
	}
	for _, c := range cases {
		w := newWorld(t)
		oneContainer(w)
		w.container("c2", "base", "w2")
		w.begin(1, "base", "delta", "c", "c2")
		w.reach("c", c.first, "x")
		w.reach("c2", c.second, "x2")
		if u, _ := w.g.Update(1); u.State != c.want {
			t.Errorf("%s and %s make an update %s, want %s", c.first, c.second, u.State, c.want)
		}
	}
}

// reach brings update 1 to a state for a storage.
func (w *world) reach(storage string, state dag.State, open string) {
	w.Helper()
	if state != dag.Applied && state != dag.RolledBack {
		w.record(1, storage, state)
		return
	}
	w.apply(1, storage, "", open)
	if state == dag.RolledBack {
		w.rollback(1, storage, open+"-back")
	}
}
