// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/dag/salvage"
)

func TestHealHeads(t *testing.T) {
	runHealings(t, []healing{
		{
			name:  "a head is lost",
			found: after(applied, noNode("x")),
			want: `
				base
				  c before u1: w
				  delta, added
				    c of k-c: x!*
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on delta, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta applied
				  c applied with (d), report
				storage "c": its open node is lost (it had n6), the damaged n6 stands in for it
				unneeded: [n5]
			`,
		}, {
			name:  "a head is lost and a newer open node is there",
			found: after(applied, noNode("x"), stray(salvage.Remain{Node: dag.Node{Kind: dag.Persisted, Parent: 2, Base: 1}, Storage: "c"})),
			want: `
				base
				  c before u1: w
				  c of k-c: stray* > w
				  delta, added
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on base, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta applied
				  c applied with (d), report
				storage "c": its head n6 is lost or that of another storage, it goes on with n7
				name "k-c": is on n1 and not on n3, as its storage is
				unneeded: [n5]
			`,
		}, {
			name:  "an open node was made and never committed",
			found: after(applied, stray(salvage.Remain{Node: dag.Node{Kind: dag.Persisted, Parent: 6, Base: 1}, Storage: "c"})),
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
				unneeded: [n7]
			`,
		}, {
			name:  "two storages have one head",
			found: after(twoContainers, editStorage("c", func(w *world, s *dag.Storage) { s.Head = w.id("fw") }), noNode("w")),
			want: `
				base
				  c of k-c: n4!*
				  f of k-f: fw*
				base: committed on base
				k-c: active on base, parent base, storage c, bound
				k-f: active on base, parent base, storage f, bound
				storage "c": its open node is lost (it had n3), the damaged n4 stands in for it
			`,
		}, {
			name: "two storages have one head of which nothing is known",
			found: after(twoContainers, editStorage("c", func(w *world, s *dag.Storage) { s.Head = w.id("fw") }), noNode("w"),
				editNode("fw", func(_ *world, n *salvage.Remain) { n.Storage = "" })),
			want: `
				base
				  c of k-c: fw*
				  f of k-f: n4!*
				base: committed on base
				k-c: active on base, parent base, storage c, bound
				k-f: active on base, parent base, storage f, bound
				storage "f": its open node is lost (it had n3), the damaged n4 stands in for it
			`,
		}, {
			name:  "a layer is a head",
			found: after(twoContainers, editStorage("c", func(w *world, s *dag.Storage) { s.Head = w.id("base") })),
			want: `
				base
				  c of k-c: w*
				  f of k-f: fw*
				base: committed on base
				k-c: active on base, parent base, storage c, bound
				k-f: active on base, parent base, storage f, bound
				storage "c": its head n1 is lost or that of another storage, it goes on with n2
			`,
		}, {
			name:  "a head that something stands on",
			found: after(twoContainers, editNode("fw", func(w *world, n *salvage.Remain) { n.Parent = w.id("w") })),
			want: `
				base
				  c of k-c: w*
				  f of k-f: fw* > n4!
				base: committed on base
				k-c: active on base, parent base, storage c, bound
				k-f: active on base, parent base, storage f, bound
				n3: its parent was open, the damaged n4 stands in for it
			`,
		}, {
			name: "a frozen head that something stands on",
			found: after(twoContainers, editNode("fw", func(w *world, n *salvage.Remain) { n.Parent = w.id("w") }),
				editNode("w", func(_ *world, n *salvage.Remain) { n.Frozen = true })),
			want: `
				base
				  c of k-c: n4!* > w
				  f of k-f: fw* > w
				base: committed on base
				k-c: active on base, parent base, storage c, bound
				k-f: active on base, parent base, storage f, bound
				storage "c": its open node is lost (it had n2), the damaged n4 stands in for it
			`,
		}, {
			name: "a rollback point is open",
			found: after(applied, editStorage("c", func(w *world, s *dag.Storage) {
				s.Points = append(s.Points, dag.Point{Update: 2, Head: w.id("x")})
			})),
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
				storage "c": a rollback point is its head n6, it is forgotten
			`,
		}, {
			name:  "the storage is older than an update of it",
			found: outdated(begun, func(w *world) { w.apply(1, "c", "d", "x") }, oldStorages),
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
				storage "c": its head n2 was frozen since, it goes on with n6
			`,
		}, {
			name:  "the storage is older than a rollback of it",
			found: outdated(applied, func(w *world) { w.rollback(1, "c", "y") }, oldStorages),
			want: `
				base
				  c of k-c: y* > w
				  delta
				    c aside of u1: x > d > w
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on base, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta rolled-back
				  c rolled-back with d, report
				storage "c": its head n6 was frozen since, it goes on with n7
			`,
		}, {
			name: "storage and node are older than a fork",
			found: outdated(oneContainer, func(w *world) {
				w.do(dag.Fork{Source: "c", Target: "f", Head: w.id("w"), SourceOpen: w.id("x"), TargetOpen: w.id("y")})
			}, func(now, then *salvage.Remains) {
				now.Storages[0], now.Nodes[1] = then.Storages[0], then.Nodes[1]
			}),
			want: `
				base
				  c of k-c: x* > w
				  f free: y* > w
				  delta
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on base, parent base, storage c, bound
				rebuilt: committed on rebuilt
				storage "c": its head n2 was frozen since, it goes on with n5
				n2: is no head of a storage and was open, it is frozen
			`,
		}, {
			name: "the storage has got a name since",
			found: outdated(func(w *world) { w.layer("base", ""); w.anonymous("k", "base", "w") }, func(w *world) {
				w.do(dag.Bind{Key: "k", Storage: "c"})
			}, func(now, then *salvage.Remains) {
				now.Storages = append(now.Storages, then.Storages...)
			}),
			want: `
				base
				  c of k: w*
				base: committed on base
				k: active on base, parent base, storage c, bound
				storage "~k": is storage "c" by now
			`,
		}, {
			name: "the storage was committed since",
			found: outdated(func(w *world) { w.anonymous("k", "", "w") }, func(w *world) { w.do(dag.Commit{Key: "k", Name: "image"}) },
				func(now, then *salvage.Remains) {
					now.Storages, now.Names = then.Storages, append(now.Names, then.Names...)
				}),
			want: `
				w
				image: committed on w
				storage "~k": was committed as "image"
				name "k": is dropped, nothing is left of storage "~k" that it had
			`,
		}, {
			name: "the storage was committed, and the name is not written",
			found: outdated(func(w *world) { w.layer("base", ""); w.anonymous("k", "base", "w") }, func(w *world) {
				w.do(dag.Commit{Key: "k", Name: "image"})
			}, func(now, then *salvage.Remains) { now.Storages, now.Names = then.Storages, then.Names }),
			want: `
				base
				  ~k of k: w*
				base: committed on base
				k: active on base, parent base, storage ~k
				storage "~k": is not committed, there is no name for the layer n2; that is its open node
			`,
		}, {
			name: "of a fork just the nodes are written",
			found: outdated(oneContainer, func(w *world) {
				w.do(dag.Fork{Source: "c", Target: "f", Head: w.id("w"), SourceOpen: w.id("x"), TargetOpen: w.id("y")})
			}, func(now, then *salvage.Remains) {
				now.Storages, now.Nodes[1] = then.Storages, then.Nodes[1]
				now.Nodes[len(now.Nodes)-1].Storage = "f"
			}),
			want: `
				base
				  c of k-c: x* > w
				  f free: y* > w
				  delta
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on base, parent base, storage c, bound
				rebuilt: committed on rebuilt
				storage "f": comes back with n6; its rollback points and its settings are lost
				storage "c": its head n2 was frozen since, it goes on with n5
				n2: is no head of a storage and was open, it is frozen
			`,
		},
	})
}
