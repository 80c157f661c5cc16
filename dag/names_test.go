// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"testing"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

func TestPrepare(t *testing.T) {
	given := func(w *world) {
		w.layer("base", "")
		w.anonymous("k", "base", "w")
	}
	prepare := func(key string, kind dag.NameKind, parent, open string) func(w *world) dag.Transformation {
		return func(w *world) dag.Transformation {
			return dag.Prepare{
				Key: key, Kind: kind, Parent: parent, Open: w.id(open), Now: w.now(),
				Labels: map[string]string{"a": "b"},
			}
		}
	}
	run(t, []step{
		{
			name: "active", given: given, do: prepare("new", dag.Active, "base", "x"),
			want: `
				base
				  ~k of k: w*
				  ~new of new: x*
				base: committed on base
				k: active on base, parent base, storage ~k
				new: active on base, parent base, storage ~new, map[a:b]
			`,
		}, {
			name: "active without parent", given: given, do: prepare("new", dag.Active, "", "x"),
			want: `
				~new of new: x*
				base
				  ~k of k: w*
				base: committed on base
				k: active on base, parent base, storage ~k
				new: active on nothing, storage ~new, map[a:b]
			`,
		}, {
			name: "view", given: given, do: prepare("new", dag.View, "base", ""),
			want: `
				base
				  ~k of k: w*
				base: committed on base
				k: active on base, parent base, storage ~k
				new: view on base, parent base, map[a:b]
			`,
		},
		{name: "known key", given: given, do: prepare("k", dag.Active, "base", "x"), kind: errdefs.ErrAlreadyExists, says: `"k"`},
		{name: "committed key", given: given, do: prepare("base", dag.View, "", ""), kind: errdefs.ErrAlreadyExists, says: `"base"`},
		{name: "unknown parent", given: given, do: prepare("new", dag.Active, "none", "x"), kind: errdefs.ErrNotFound, says: `parent snapshot "none"`},
		{name: "parent not committed", given: given, do: prepare("new", dag.View, "k", ""), kind: errdefs.ErrInvalidArgument, says: `"k" is not committed`},
		{name: "no key", given: given, do: prepare("", dag.Active, "base", "x"), kind: errdefs.ErrInvalidArgument, says: "empty"},
		{name: "key that cannot be stored", given: given, do: prepare("\xff", dag.Active, "base", "x"), kind: errdefs.ErrInvalidArgument, says: "UTF-8"},
		{name: "no node", given: given, do: prepare("new", dag.Active, "base", ""), kind: errdefs.ErrInvalidArgument, says: "n0"},
		{name: "node in use", given: given, do: prepare("new", dag.Active, "base", "w"), kind: errdefs.ErrAlreadyExists, says: "n2"},
	}, (*world).drawing, (*world).names)
}

func TestCommit(t *testing.T) {
	given := func(w *world) {
		w.layer("base", "")
		w.anonymous("k", "base", "w")
		w.container("c", "base", "cw")
		w.do(dag.Prepare{Key: "v", Kind: dag.View, Parent: "base"})
	}
	updated := func(w *world) {
		given(w)
		w.layer("delta", "base")
		w.begin(1, "base", "delta", "~k")
	}
	commit := func(key, name string) func(w *world) dag.Transformation {
		return func(w *world) dag.Transformation {
			return dag.Commit{
				Key: key, Name: name, Labels: map[string]string{"a": "b"}, Origin: "sha256:1", Unsynced: "boot",
				Size: 4096, Inodes: 2, Now: w.now(),
			}
		}
	}
	run(t, []step{
		{
			name: "layer", given: given, do: commit("k", "image"),
			want: `
				base
				  c of k-c: cw*
				  w, unsynced
				base: committed on base
				image: committed on w, parent base, map[a:b]
				k-c: active on base, parent base, storage c, bound
				v: view on base, parent base
			`,
		}, {
			name: "damage stays", do: commit("k", "image"),
			given: func(w *world) { given(w); w.do(dag.Quarantine{Node: w.id("w"), Reason: "lost"}) },
			want: `
				base
				  c of k-c: cw*
				  w, unsynced, damaged: lost
				base: committed on base
				image: committed on w, parent base, map[a:b]
				k-c: active on base, parent base, storage c, bound
				v: view on base, parent base
			`,
		}, {
			name: "gives up an update under way", given: updated, do: commit("k", "image"),
			want: `
				base
				  c of k-c: cw*
				  w, unsynced
				  delta
				base: committed on base
				delta: committed on delta, parent base
				image: committed on w, parent base, map[a:b]
				k-c: active on base, parent base, storage c, bound
				v: view on base, parent base
				u1 base -> delta aborted
				  ~k aborted: snapshot "k" was committed
			`,
		},
		{name: "known name", given: given, do: commit("k", "base"), kind: errdefs.ErrAlreadyExists, says: `"base"`},
		{name: "own key", given: given, do: commit("k", "k"), kind: errdefs.ErrAlreadyExists, says: `"k"`},
		{name: "unknown key", given: given, do: commit("none", "image"), kind: errdefs.ErrNotFound, says: `"none"`},
		{name: "view", given: given, do: commit("v", "image"), kind: errdefs.ErrFailedPrecondition, says: `"v" is not active`},
		{name: "committed", given: given, do: commit("base", "image"), kind: errdefs.ErrFailedPrecondition, says: `"base" is not active`},
		{name: "no name", given: given, do: commit("k", ""), kind: errdefs.ErrInvalidArgument, says: "empty"},
		{name: "storage with a name", given: given, do: commit("k-c", "image"), kind: errdefs.ErrFailedPrecondition, says: `storage "c" has a name`},
		{
			name: "storage with a rollback point", do: commit("k", "image"),
			given: func(w *world) { updated(w); w.apply(1, "~k", "", "x") },
			kind:  errdefs.ErrFailedPrecondition, says: "history",
		}, {
			name: "storage with a history and nothing to return to", do: commit("k", "image"),
			given: func(w *world) { updated(w); w.apply(1, "~k", "", "x"); w.retire("~k") },
			kind:  errdefs.ErrFailedPrecondition, says: "history",
		}, {
			name: "storage rolled back", do: commit("k", "image"),
			given: func(w *world) { updated(w); w.apply(1, "~k", "", "x"); w.rollback(1, "~k", "y") },
			kind:  errdefs.ErrFailedPrecondition, says: "history",
		},
	}, (*world).drawing, (*world).names, (*world).updates)
}

// The node of a committed key becomes the layer, with what the commit says about it.
func TestCommittedLayer(t *testing.T) {
	w := newWorld(t)
	w.layer("base", "")
	w.anonymous("k", "base", "w")
	open, _ := w.g.Node(w.id("w"))
	w.do(dag.Commit{Key: "k", Name: "image", Origin: "sha256:1", Unsynced: "boot", Size: 4096, Inodes: 2, Now: w.now()})
	got, _ := w.g.Node(w.id("w"))
	want := dag.Node{
		ID: w.id("w"), Kind: dag.Layer, Parent: w.id("base"), Frozen: true, Origin: "sha256:1", Unsynced: "boot",
		Size: 4096, Inodes: 2, Created: open.Created,
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestRemove(t *testing.T) {
	given := func(w *world) {
		w.layer("base", "")
		w.layer("delta", "base")
		w.anonymous("k", "base", "w")
		w.container("c", "base", "cw")
		w.do(dag.Prepare{Key: "v", Kind: dag.View, Parent: "delta"})
	}
	remove := func(key string) func(w *world) dag.Transformation {
		return func(w *world) dag.Transformation { return dag.Remove{Key: key, Now: w.now()} }
	}
	run(t, []step{
		{
			name: "anonymous storage ends", given: given, do: remove("k"),
			want: `
				base
				  c of k-c: cw*
				  delta
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on base, parent base, storage c, bound
				v: view on delta, parent delta
			`,
		}, {
			name: "storage with a name only loses its holder", given: given, do: remove("k-c"),
			want: `
				base
				  c free: cw*
				  ~k of k: w*
				  delta
				base: committed on base
				delta: committed on delta, parent base
				k: active on base, parent base, storage ~k
				v: view on delta, parent delta
			`,
		}, {
			name: "view", given: given, do: remove("v"),
			want: `
				base
				  c of k-c: cw*
				  ~k of k: w*
				  delta
				base: committed on base
				delta: committed on delta, parent base
				k: active on base, parent base, storage ~k
				k-c: active on base, parent base, storage c, bound
			`,
		}, {
			name: "layer that a storage stands on stays", do: remove("delta"),
			given: func(w *world) {
				given(w)
				w.remove("v")
				w.begin(1, "base", "delta", "c")
				w.apply(1, "c", "", "x")
			},
			want: `
				base
				  c before u1: cw
				  ~k of k: w*
				  delta, added
				    c of k-c: x* > cw
				base: committed on base
				k: active on base, parent base, storage ~k
				k-c: active on delta, parent base, storage c, bound
				u1 base -> delta applied
				  c applied, report
			`,
		}, {
			name: "layer that nothing needs goes", do: remove("delta"),
			given: func(w *world) { given(w); w.remove("v", "k", "k-c") },
			want: `
				base
				  c free: cw*
				base: committed on base
			`,
		}, {
			name: "key whose storage another key has taken over", do: remove("k-c"),
			given: func(w *world) {
				given(w)
				w.do(dag.Bind{Key: "k", Storage: "c", Holder: "k-c", Now: w.now()})
			},
			want: `
				base
				  c of k: cw*
				  delta
				base: committed on base
				delta: committed on delta, parent base
				k: active on base, parent base, storage c, bound
				v: view on delta, parent delta
			`,
		}, {
			name: "gives up an update under way", do: remove("k"),
			given: func(w *world) { given(w); w.begin(1, "base", "delta", "~k") },
			want: `
				base
				  c of k-c: cw*
				  delta
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on base, parent base, storage c, bound
				v: view on delta, parent delta
				u1 base -> delta aborted
				  ~k aborted: the storage was removed
			`,
		},
		{name: "unknown key", given: given, do: remove("none"), kind: errdefs.ErrNotFound, says: `"none"`},
		{name: "layer with a layer on it", given: given, do: remove("base"), kind: errdefs.ErrFailedPrecondition, says: `"base" has children`},
		{name: "layer with a view on it", given: given, do: remove("delta"), kind: errdefs.ErrFailedPrecondition, says: `"delta" has children`},
	}, (*world).drawing, (*world).names, (*world).updates)
}

func TestRelabel(t *testing.T) {
	given := func(w *world) {
		w.layer("base", "")
		w.do(dag.Prepare{Key: "k", Kind: dag.Active, Parent: "base", Open: w.id("w"), Labels: map[string]string{"a": "b"}})
	}
	relabel := func(key string, labels map[string]string) func(w *world) dag.Transformation {
		return func(w *world) dag.Transformation { return dag.Relabel{Key: key, Labels: labels, Now: w.now()} }
	}
	run(t, []step{
		{
			name: "replaced", given: given, do: relabel("k", map[string]string{"c": "d"}),
			want: `
				base: committed on base
				k: active on base, parent base, storage ~k, map[c:d]
			`,
		}, {
			name: "taken away", given: given, do: relabel("k", nil),
			want: `
				base: committed on base
				k: active on base, parent base, storage ~k
			`,
		}, {
			name: "of a layer", given: given, do: relabel("base", map[string]string{"c": "d"}),
			want: `
				base: committed on base, map[c:d]
				k: active on base, parent base, storage ~k, map[a:b]
			`,
		},
		{name: "unknown key", given: given, do: relabel("none", nil), kind: errdefs.ErrNotFound, says: `"none"`},
	}, (*world).names)
}

// Labels belong to the graph: a caller may go on using the map that it gave.
func TestLabelsAreCopied(t *testing.T) {
	w := newWorld(t)
	labels := map[string]string{"a": "b"}
	w.do(dag.Prepare{Key: "k", Kind: dag.Active, Open: w.id("w"), Labels: labels})
	labels["a"] = "prepared"
	w.do(dag.Commit{Key: "k", Name: "image", Labels: labels})
	labels["a"] = "committed"
	w.do(dag.Relabel{Key: "image", Labels: labels})
	labels["a"] = "relabelled"
	same(t, w.names(), `
		image: committed on w, map[a:committed]
	`)
}

func TestIdentify(t *testing.T) {
	given := func(w *world) {
		w.layer("base", "")
		w.anonymous("k", "base", "w")
		w.container("c", "base", "cw")
	}
	identify := func(key string) func(w *world) dag.Transformation {
		return func(*world) dag.Transformation { return dag.Identify{Key: key} }
	}
	run(t, []step{
		{
			name: "asks for no storage", given: given, do: identify("k"),
			want: `
				base: committed on base
				k: active on base, parent base, storage ~k, plain
				k-c: active on base, parent base, storage c, bound
			`,
		}, {
			name: "asked for one before", given: given, do: identify("k-c"),
			want: `
				base: committed on base
				k: active on base, parent base, storage ~k
				k-c: active on base, parent base, storage c, bound
			`,
		},
		{name: "unknown key", given: given, do: identify("none"), kind: errdefs.ErrNotFound, says: `"none"`},
	}, (*world).names)
}
