// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/dag/salvage"
)

func TestHealStorages(t *testing.T) {
	anonymous := func(w *world) { w.layer("base", ""); w.anonymous("k", "base", "w") }
	both := func(w *world) { anonymous(w); w.container("c", "base", "cw") }
	runHealings(t, []healing{
		{
			name:  "a storage is lost",
			found: after(applied, noStorage("c")),
			want: `
				base
				  delta, added
				    c of k-c: x* > d > w
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on delta, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta applied
				  c applied with d, report
				storage "c": comes back with n6; its rollback points and its settings are lost
			`,
		}, {
			name:  "a storage and its name are lost",
			found: after(applied, noStorage("c"), noName("k-c")),
			want: `
				base
				  delta, added
				    c of k-c: x* > d > w
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on delta, parent delta, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta applied
				  c applied with d, report
				storage "c": comes back with n6; its rollback points and its settings are lost
				name "k-c": is made anew for storage "c"
			`,
		}, {
			name:  "an anonymous storage and its name are lost",
			found: after(anonymous, noStorage("~k"), noName("k")),
			want: `
				base
				  ~k of k: w*
				base: committed on base
				k: active on base, parent base, storage ~k
				storage "~k": comes back with n2; its rollback points and its settings are lost
				name "k": is made anew for storage "~k"
			`,
		}, {
			name: "a storage that was anonymous when its node was made is lost",
			found: after(twoContainers, noStorage("c"), editNode("w", func(_ *world, n *salvage.Remain) {
				n.Storage, n.Key = "~k-c", "k-c"
			})),
			want: `
				base
				  c of k-c: w*
				  f of k-f: fw*
				base: committed on base
				k-c: active on base, parent base, storage c, bound
				k-f: active on base, parent base, storage f, bound
				storage "c": comes back with n2; its rollback points and its settings are lost
			`,
		}, {
			name:  "a storage is lost, and two open nodes are there",
			found: after(twoContainers, noStorage("c"), stray(salvage.Remain{Node: dag.Node{Kind: dag.Persisted, Base: 1}, Storage: "c"})),
			want: `
				base
				  c of k-c: stray*
				  c-n2 free: w*
				  f of k-f: fw*
				base: committed on base
				k-c: active on base, parent base, storage c, bound
				k-f: active on base, parent base, storage f, bound
				storage "c": comes back with n4; its rollback points and its settings are lost
				storage "c": n2 was its open node, too
				storage "c-n2": comes back with n2; its rollback points and its settings are lost
			`,
		}, {
			name:  "a storage and its open node are lost",
			found: after(twoContainers, noStorage("c"), noNode("w")),
			want: `
				base
				  f of k-f: fw*
				base: committed on base
				k-f: active on base, parent base, storage f, bound
				name "k-c": is dropped, nothing is left of storage "c" that it had
			`,
		}, {
			name:  "the name of a storage is lost",
			found: after(both, noName("k"), noName("k-c")),
			want: `
				base
				  c of k-c: cw*
				  ~k of k: w*
				base: committed on base
				k: active on base, parent base, storage ~k
				k-c: active on base, parent base, storage c, bound
				name "k": is made anew for storage "~k"
				name "k-c": is made anew for storage "c"
			`,
		}, {
			name:  "two names have a storage",
			found: after(twoContainers, editName("k-f", func(_ *world, n *dag.Name) { n.Storage = "c" })),
			want: `
				base
				  c of k-c: w*
				  f of k-f: fw*
				base: committed on base
				k-c: active on base, parent base, storage c, bound
				k-f: active on base, parent base, storage f, bound
				name "k-f": has storage "f" and not "c"
			`,
		}, {
			name:  "two storages have a key",
			found: after(twoContainers, editStorage("f", func(_ *world, s *dag.Storage) { s.Key = "k-c" })),
			want: `
				base
				  c of k-c: w*
				  f free: fw*
				base: committed on base
				k-c: active on base, parent base, storage c, bound
				k-f: active on base, parent base, storage f, bound
				storage "f": is storage "f" without a key, "k-c" is not its own
			`,
		}, {
			name:  "another name has an anonymous storage",
			found: after(both, editName("k-c", func(_ *world, n *dag.Name) { n.Storage = "~k" })),
			want: `
				base
				  c of k-c: cw*
				  ~k of k: w*
				base: committed on base
				k: active on base, parent base, storage ~k
				k-c: active on base, parent base, storage c, bound
				name "k-c": has storage "c" and not "~k"
			`,
		}, {
			name:  "the key of an anonymous storage is an image",
			found: after(both, editName("k", func(_ *world, n *dag.Name) { n.Kind, n.Storage = dag.Committed, "" })),
			want: `
				base
				  c of k-c: cw*
				  k free: w*
				base: committed on base
				k: committed on base, parent base
				k-c: active on base, parent base, storage c, bound
				storage "~k": is storage "k" without a key, "k" is not its own
			`,
		}, {
			name:  "an anonymous storage has another key",
			found: after(both, editStorage("~k", func(_ *world, s *dag.Storage) { s.Key, s.Anonymous = "k-c", false })),
			want: `
				base
				  c of k-c: cw*
				  ~k of k: w*
				base: committed on base
				k: active on base, parent base, storage ~k
				k-c: active on base, parent base, storage c, bound
				storage "~k": has key "k" and not "k-c"
			`,
		},
	})
}
