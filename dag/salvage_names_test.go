// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/dag/salvage"
)

func TestHealNames(t *testing.T) {
	images := func(w *world) {
		w.layer("a", "")
		w.layer("b", "a")
		w.layer("c", "b")
		w.do(dag.Prepare{Key: "v", Kind: dag.View, Parent: "b"})
		w.container("s", "b", "w")
	}
	runHealings(t, []healing{
		{
			name:  "the parent of images, of views and of containers is lost",
			found: after(images, noName("b")),
			want: `
				a
				  b
				    s of k-s: w*
				    c
				a: committed on a
				b: committed on b, parent a
				c: committed on c, parent b
				k-s: active on b, parent b, storage s, bound
				v: view on b, parent b
				name "b": is made anew on n2, as the parent of "c"
			`,
		}, {
			name:  "the parents of an image are lost",
			found: after(images, noName("b"), noName("a")),
			want: `
				a
				  b
				    s of k-s: w*
				    c
				b: committed on b
				c: committed on c, parent b
				k-s: active on b, parent b, storage s, bound
				v: view on b, parent b
				name "b": is made anew on n2, as the parent of "c"
			`,
		}, {
			name:  "the parent of an image is lost with its layer",
			found: after(images, noName("b"), noNode("c"), noNode("b")),
			want: `
				a
				b!, damaged: lost: nothing of it was found
				  s of k-s: w*
				c!, damaged: lost: nothing of it was found
				a: committed on a
				c: committed on c!
				k-s: active on b!, storage s, bound
				v: view on b!
				n4: its base is lost, the damaged n2 stands in for it
				name "c": its layer is lost, the damaged n3 stands in for it
				name "c": its parent "b" is lost
				name "v": its parent "b" is lost
				name "k-s": its parent "b" is lost
			`,
		}, {
			name:  "the parent of a name is a container",
			found: after(images, editName("v", func(_ *world, n *dag.Name) { n.Parent = "k-s" })),
			want: `
				a
				  b
				    s of k-s: w*
				    c
				a: committed on a
				b: committed on b, parent a
				c: committed on c, parent b
				k-s: active on b, parent b, storage s, bound
				v: view on b
				name "v": its parent "k-s" is lost
			`,
		}, {
			name:  "names are parents of each other",
			found: after(images, editName("a", func(_ *world, n *dag.Name) { n.Parent = "c" })),
			want: `
				a
				  b
				    s of k-s: w*
				    c
				a: committed on a
				b: committed on b, parent a
				c: committed on c, parent b
				k-s: active on b, parent b, storage s, bound
				v: view on b, parent b
				name "a": is its own parent through "c", which is forgotten
			`,
		}, {
			name: "names have the wrong things",
			found: after(images, editName("v", func(_ *world, n *dag.Name) { n.Storage = "s" }),
				editName("c", func(w *world, n *dag.Name) { n.Node = w.id("w") }),
				editName("k-s", func(w *world, n *dag.Name) { n.Node, n.Identity = w.id("a"), dag.Plain })),
			want: `
				a
				  b
				    s of k-s: w*
				n5!, damaged: lost: layer was n4, which is a persisted
				a: committed on a
				b: committed on b, parent a
				c: committed on n5!, parent b
				k-s: active on b, parent b, storage s, bound
				v: view on b, parent b
				name "v": a view name has no storage, "s" is forgotten
				name "c": its layer was a persisted, the damaged n5 stands in for it
				name "k-s": is on n2 and not on n1, as its storage is
				name "k-s": its identity is "bound" and not "plain", as its storage has it
				unneeded: [n3]
			`,
		}, {
			name: "records are of nothing",
			found: after(images, func(_ *world, r *salvage.Remains) {
				r.Names = append(r.Names, dag.Name{Key: "\xff"}, dag.Name{Key: "odd", Kind: "odd"})
				r.Storages = append(r.Storages, dag.Storage{Name: "~"}, dag.Storage{})
				r.Nodes = append(r.Nodes, salvage.Remain{})
				r.Updates = append(r.Updates, dag.Update{})
			}),
			want: `
				a
				  b
				    s of k-s: w*
				    c
				a: committed on a
				b: committed on b, parent a
				c: committed on c, parent b
				k-s: active on b, parent b, storage s, bound
				v: view on b, parent b
				n0: its record cannot be used: n0 cannot name a node: invalid argument
				name "\xff": its record cannot be used: snapshot "\xff": the name is not valid UTF-8: invalid argument
				name "odd": its record cannot be used: it is of kind "odd": invalid argument
				storage "~": its record cannot be used: storage "~" has no key: invalid argument
				storage "": its record cannot be used: the name of a storage must not be empty: invalid argument
				update u0: its record cannot be used: u0 cannot name an update: invalid argument
			`,
		},
	})
}

func TestHealUpdates(t *testing.T) {
	planned := func(w *world) { begun(w); w.record(1, "c", dag.Planned) }
	runHealings(t, []healing{
		{
			name:  "the update that a storage waits for is lost",
			found: after(planned, noUpdate(1)),
			want: `
				base
				  c of k-c: w*
				  delta, added
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on base, parent base, storage c, bound
				rebuilt: committed on rebuilt
				storage "c": does not wait for u1 any more: the update is lost
			`,
		}, {
			name:  "the update of a rollback point is lost",
			found: after(applied, noUpdate(1)),
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
			`,
		}, {
			name:  "the storage of an update under way is lost",
			found: after(planned, noStorage("c"), noNode("w")),
			want: `
				base
				  delta, added
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				rebuilt: committed on rebuilt
				u1 base -> delta aborted
				  c aborted: the storage is lost
				name "k-c": is dropped, nothing is left of storage "c" that it had
				update u1: is aborted for storage "c" and not planned: the storage is lost
			`,
		}, {
			name:  "a storage does not know that it waits",
			found: after(planned, editStorage("c", func(_ *world, s *dag.Storage) { s.Pending = nil })),
			want: `
				base
				  c of k-c: w*, waits for u1
				  delta, added
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on base, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta planned
				  c planned: reason
				storage "c": waits for u1 again
			`,
		}, {
			name: "a storage waits for something else",
			found: after(planned, func(_ *world, r *salvage.Remains) {
				u := r.Updates[0]
				u.ID = 2
				r.Updates = append(r.Updates, u)
			}),
			want: `
				base
				  c of k-c: w*, waits for u1
				  delta, added
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on base, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta planned
				  c planned: reason
				u2 base -> delta aborted
				  c aborted: the storage waits for u1
				update u2: is aborted for storage "c" and not planned: the storage waits for u1
			`,
		}, {
			name:  "a storage waits for what it cannot get",
			found: after(applied, editStorage("c", func(_ *world, s *dag.Storage) { s.Pending = &dag.Pending{Update: 1} })),
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
				storage "c": does not wait for u1 any more: the update is not under way for it
			`,
		}, {
			name: "a storage waits for a rollback that cannot be",
			found: after(applied, editStorage("c", func(_ *world, s *dag.Storage) {
				s.Points, s.Pending = nil, &dag.Pending{Update: 1, Rollback: true}
			})),
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
				storage "c": does not wait for the rollback of u1 any more: storage "c" has no rollback point for update u1: not found
			`,
		}, {
			name:  "the update is older than what it did",
			found: outdated(begun, func(w *world) { w.apply(1, "c", "d", "x") }, func(now, then *salvage.Remains) { now.Updates = then.Updates }),
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
				  c applied with d
				update u1: is applied for storage "c" and not staging: it has a rollback point for it
			`,
		}, {
			name: "states that are not known",
			found: after(applied, func(_ *world, r *salvage.Remains) {
				r.Updates[0].State = "odd"
				r.Updates[0].Outcomes = map[string]dag.Outcome{"c": {State: dag.Applied}, "f": {State: "odd"}}
			}),
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
				  c applied
				  f aborted: its record had no state that is known
				update u1: is aborted for storage "f" and not odd: its record had no state that is known
			`,
		},
	})
}
