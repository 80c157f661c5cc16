// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"testing"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

func TestBind(t *testing.T) {
	// Key k has nothing but an anonymous storage; storage c is held by k-c, storage f by nobody.
	given := func(w *world) {
		w.layer("base", "")
		w.layer("delta", "base")
		w.anonymous("k", "base", "w")
		w.container("c", "base", "cw")
		w.container("f", "base", "fw")
		w.remove("k-f")
		w.do(dag.Prepare{Key: "v", Kind: dag.View, Parent: "base"})
	}
	// The same, with an update under way for the anonymous storage.
	updating := func(w *world) { given(w); w.begin(1, "base", "delta", "~k") }
	bind := func(key, storage, holder string) func(w *world) dag.Transformation {
		return func(w *world) dag.Transformation {
			return dag.Bind{Key: key, Storage: storage, Holder: holder, Now: w.now()}
		}
	}
	run(t, []step{
		{
			name: "created", given: given, do: bind("k", "new", ""),
			want: `
				base
				  c of k-c: cw*
				  f free: fw*
				  new of k: w*
				  delta
				base: committed on base
				delta: committed on delta, parent base
				k: active on base, parent base, storage new, bound
				k-c: active on base, parent base, storage c, bound
				v: view on base, parent base
			`,
		}, {
			name: "created of a storage with a history", do: bind("k", "new", ""),
			given: func(w *world) { updating(w); w.apply(1, "~k", "d", "x") },
			want: `
				base
				  c of k-c: cw*
				  f free: fw*
				  new before u1: w
				  delta, added
				    new of k: x* > d > w
				base: committed on base
				delta: committed on delta, parent base
				k: active on delta, parent base, storage new, bound
				k-c: active on base, parent base, storage c, bound
				v: view on base, parent base
				u1 base -> delta applied
				  new applied with d, report
			`,
		}, {
			name: "created of a storage that waits for an update", do: bind("k", "new", ""),
			given: func(w *world) { updating(w); w.record(1, "~k", dag.Planned) },
			want: `
				base
				  c of k-c: cw*
				  f free: fw*
				  new of k: w*, waits for u1
				  delta, added
				base: committed on base
				delta: committed on delta, parent base
				k: active on base, parent base, storage new, bound
				k-c: active on base, parent base, storage c, bound
				v: view on base, parent base
				u1 base -> delta planned
				  new planned: reason
			`,
		}, {
			name: "reused", given: given, do: bind("k", "f", ""),
			want: `
				base
				  c of k-c: cw*
				  f of k: fw*
				  delta
				base: committed on base
				delta: committed on delta, parent base
				k: active on base, parent base, storage f, bound
				k-c: active on base, parent base, storage c, bound
				v: view on base, parent base
			`,
		}, {
			name: "reused, giving up an update under way of the anonymous storage", given: updating, do: bind("k", "f", ""),
			want: `
				base
				  c of k-c: cw*
				  f of k: fw*
				  delta
				base: committed on base
				delta: committed on delta, parent base
				k: active on base, parent base, storage f, bound
				k-c: active on base, parent base, storage c, bound
				v: view on base, parent base
				u1 base -> delta aborted
				  ~k aborted: snapshot "k" was bound to storage "f"
			`,
		}, {
			name: "bound again", given: given, do: bind("k-c", "c", ""),
			want: `
				base
				  c of k-c: cw*
				  f free: fw*
				  ~k of k: w*
				  delta
				base: committed on base
				delta: committed on delta, parent base
				k: active on base, parent base, storage ~k
				k-c: active on base, parent base, storage c, bound
				v: view on base, parent base
			`,
		}, {
			name: "taken over", given: given, do: bind("k", "c", "k-c"),
			want: `
				base
				  c of k: cw*
				  f free: fw*
				  delta
				base: committed on base
				delta: committed on delta, parent base
				k: active on base, parent base, storage c, bound
				k-c: active on base, parent base, storage c, bound
				v: view on base, parent base
			`,
		}, {
			name: "taken back", do: bind("k-c", "c", "k"),
			given: func(w *world) {
				given(w)
				w.do(dag.Bind{Key: "k", Storage: "c", Holder: "k-c", Now: w.now()})
			},
			want: `
				base
				  c of k-c: cw*
				  f free: fw*
				  delta
				base: committed on base
				delta: committed on delta, parent base
				k: active on base, parent base, storage c, bound
				k-c: active on base, parent base, storage c, bound
				v: view on base, parent base
			`,
		},
		{name: "unknown key", given: given, do: bind("none", "f", ""), kind: errdefs.ErrNotFound, says: `snapshot "none"`},
		{name: "view", given: given, do: bind("v", "f", ""), kind: errdefs.ErrFailedPrecondition, says: `"v" is not active`},
		{name: "layer", given: given, do: bind("base", "f", ""), kind: errdefs.ErrFailedPrecondition, says: `"base" is not active`},
		{name: "held by another key", given: given, do: bind("k", "c", ""), kind: errdefs.ErrFailedPrecondition, says: `in use by "k-c"`},
		{name: "held by another key than thought", given: given, do: bind("k", "c", "k"), kind: errdefs.ErrFailedPrecondition, says: `in use by "k-c"`},
		{name: "bound to another storage, new", given: given, do: bind("k-c", "new", ""), kind: errdefs.ErrFailedPrecondition, says: `bound to storage "c" already`},
		{name: "bound to another storage, reused", given: given, do: bind("k-c", "f", ""), kind: errdefs.ErrFailedPrecondition, says: `bound to storage "c" already`},
		{name: "no storage", given: given, do: bind("k", "", ""), kind: errdefs.ErrInvalidArgument, says: "empty"},
		{name: "storage that cannot be stored", given: given, do: bind("k", "\xff", ""), kind: errdefs.ErrInvalidArgument, says: "UTF-8"},
		{name: "name of the anonymous storage of a key to come", given: given, do: bind("k", "~later", ""), kind: errdefs.ErrInvalidArgument, says: `"~"`},
		{name: "anonymous storage of another key", given: given, do: bind("k-c", "~k", "k"), kind: errdefs.ErrInvalidArgument, says: `"~"`},
		{
			name: "on another base", given: func(w *world) { given(w); w.anonymous("other", "delta", "x") },
			do: bind("other", "f", ""), kind: errdefs.ErrFailedPrecondition, says: `"f" stands on n1, not on n2`,
		}, {
			name: "on no base", given: func(w *world) { given(w); w.anonymous("other", "", "x") },
			do: bind("other", "f", ""), kind: errdefs.ErrFailedPrecondition, says: `"f" stands on n1, not on n0`,
		},
	}, (*world).drawing, (*world).names, (*world).updates)
}

// An image that was unpacked twice is the same base; the key goes to where the storage stands.
func TestBindOnTwin(t *testing.T) {
	w := newWorld(t)
	for _, label := range []string{"base", "twin"} {
		w.do(dag.Prepare{Key: "k", Kind: dag.Active, Open: w.id(label)})
		w.do(dag.Commit{Key: "k", Name: label, Origin: "sha256:1"})
	}
	w.container("c", "base", "cw")
	w.remove("k-c")
	w.anonymous("k", "twin", "w")
	w.do(dag.Bind{Key: "k", Storage: "c"})
	same(t, w.drawing()+w.names(), `
		base
		  c of k: cw*
		twin
		base: committed on base
		k: active on base, parent twin, storage c, bound
		twin: committed on twin
	`)
}

func TestRemoveStorage(t *testing.T) {
	given := func(w *world) {
		w.layer("base", "")
		w.layer("delta", "base")
		w.anonymous("k", "base", "w")
		w.container("c", "base", "cw")
		w.container("f", "base", "fw")
	}
	remove := func(name string) func(w *world) dag.Transformation {
		return func(w *world) dag.Transformation { return dag.RemoveStorage{Name: name, Now: w.now()} }
	}
	run(t, []step{
		{
			name: "free", do: remove("f"),
			given: func(w *world) { given(w); w.remove("k-f") },
			want: `
				base
				  c of k-c: cw*
				  ~k of k: w*
				  delta
			`,
		}, {
			name: "with all its states", do: remove("f"),
			given: func(w *world) {
				given(w)
				w.begin(1, "base", "delta", "f")
				w.apply(1, "f", "d", "x")
				w.rollback(1, "f", "y")
				w.begin(2, "base", "delta", "f")
				w.apply(2, "f", "e", "z")
				w.remove("k-f", "delta")
			},
			want: `
				base
				  c of k-c: cw*
				  ~k of k: w*
				u1 base -> (delta) rolled-back
				  f rolled-back with (d), report
				u2 base -> (delta) applied
				  f applied with (e), report
			`,
		}, {
			name: "gives up what it waits for", do: remove("f"),
			given: func(w *world) {
				given(w)
				w.remove("k-f")
				w.begin(1, "base", "delta", "f")
				w.record(1, "f", dag.Planned)
			},
			want: `
				base
				  c of k-c: cw*
				  ~k of k: w*
				  delta
				u1 base -> delta aborted
				  f aborted: the storage was removed
			`,
		}, {
			name: "gives up what is under way", do: remove("f"),
			given: func(w *world) {
				given(w)
				w.remove("k-f")
				w.begin(1, "base", "delta", "f", "c")
				w.begin(2, "base", "delta", "f")
				w.record(2, "f", dag.Staged)
			},
			want: `
				base
				  c of k-c: cw*
				  ~k of k: w*
				  delta, added
				u1 base -> delta staging
				  c staging
				  f aborted: the storage was removed
				u2 base -> delta aborted
				  f aborted: the storage was removed
			`,
		},
		{name: "unknown", given: given, do: remove("none"), kind: errdefs.ErrNotFound, says: `storage "none"`},
		{name: "held", given: given, do: remove("c"), kind: errdefs.ErrFailedPrecondition, says: "belongs to k-c, remove that first"},
		{name: "anonymous", given: given, do: remove("~k"), kind: errdefs.ErrFailedPrecondition, says: "belongs to k, remove that first"},
		{
			name: "taken over", do: remove("c"),
			given: func(w *world) {
				given(w)
				w.do(dag.Bind{Key: "k", Storage: "c", Holder: "k-c", Now: w.now()})
				w.remove("k")
			},
			kind: errdefs.ErrFailedPrecondition, says: "belongs to k-c, remove that first",
		},
	}, (*world).drawing, (*world).updates)
}

func TestFork(t *testing.T) {
	given := func(w *world) {
		w.layer("base", "")
		w.container("c", "base", "w")
	}
	fork := func(source, target, head, sourceOpen, targetOpen string) func(w *world) dag.Transformation {
		return func(w *world) dag.Transformation {
			return dag.Fork{
				Source: source, Target: target, Head: w.id(head),
				SourceOpen: w.id(sourceOpen), TargetOpen: w.id(targetOpen), Now: w.now(),
			}
		}
	}
	run(t, []step{
		{
			name: "shares what was written", given: given, do: fork("c", "new", "w", "x", "y"),
			want: `
				base
				  c of k-c: x* > w
				  new free: y* > w
			`,
		}, {
			name: "has no history of its own", do: fork("c", "new", "x", "y", "z"),
			given: func(w *world) {
				given(w)
				w.layer("delta", "base")
				w.begin(1, "base", "delta", "c")
				w.apply(1, "c", "d", "x")
				w.do(dag.AwaitRollback{Update: 1, Storage: "c", Reason: "in use"})
			},
			want: `
				base
				  c before u1: w
				  delta, added
				    c of k-c: y* > x > d > w, waits to roll back u1
				    new free: z* > x > d > w
				u1 base -> delta applied
				  c applied with d: in use, report
			`,
		},
		{name: "unknown source", given: given, do: fork("none", "new", "w", "x", "y"), kind: errdefs.ErrNotFound, says: `storage "none"`},
		{name: "known target", given: given, do: fork("c", "c", "w", "x", "y"), kind: errdefs.ErrAlreadyExists, says: `storage "c"`},
		{name: "no target", given: given, do: fork("c", "", "w", "x", "y"), kind: errdefs.ErrInvalidArgument, says: "empty"},
		{name: "anonymous target", given: given, do: fork("c", "~new", "w", "x", "y"), kind: errdefs.ErrInvalidArgument, says: `"~"`},
		{name: "moved on", given: given, do: fork("c", "new", "older", "x", "y"), kind: errdefs.ErrAborted, says: `"c" has moved on`},
		{name: "one node for two", given: given, do: fork("c", "new", "w", "x", "x"), kind: errdefs.ErrAlreadyExists, says: "n3"},
	}, (*world).drawing, (*world).updates)
}

// What two storages share goes with the later of them.
func TestForkOutlivesItsSource(t *testing.T) {
	w := newWorld(t)
	w.layer("base", "")
	w.container("c", "base", "w")
	w.do(dag.Fork{Source: "c", Target: "new", Head: w.id("w"), SourceOpen: w.id("x"), TargetOpen: w.id("y")})
	w.remove("k-c")
	if got, want := w.gone(w.do(dag.RemoveStorage{Name: "c"})), "(x)"; got != want {
		t.Errorf("%s are gone with the source, want %s", got, want)
	}
	if got, want := w.gone(w.do(dag.RemoveStorage{Name: "new"})), "(w) (y)"; got != want {
		t.Errorf("%s are gone with the fork, want %s", got, want)
	}
}
