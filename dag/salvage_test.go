// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/dag/salvage"
)

// healing is a row of a table: what was found of a world, and the graph that is made of it, drawn. Damaged nodes are marked
// with "!", those that stand in and have no label are called by their id.
type healing struct {
	name  string
	found func(w *world) salvage.Remains
	want  string
}

func runHealings(t *testing.T, rows []healing) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			r := row.found(w)
			g, mends, unneeded := salvage.Graph(r, w.now())
			if err := g.Check(); err != nil {
				t.Fatal(err)
			}
			w.g = g
			for _, n := range g.Nodes() {
				if w.labels[n.ID] == "" {
					w.labels[n.ID] = n.ID.String()
				}
				if n.Damage != "" {
					w.labels[n.ID] += "!"
				}
			}
			got := w.drawing() + w.names() + w.updates()
			for _, m := range mends {
				got += fmt.Sprintf("%v\n", m)
			}
			if len(unneeded) > 0 {
				got += fmt.Sprintf("unneeded: %v\n", unneeded)
			}
			same(t, got, row.want)
		})
	}
}

// after returns a function that finds all records of a world, with what was done to them.
func after(given func(w *world), changes ...func(w *world, r *salvage.Remains)) func(w *world) salvage.Remains {
	return func(w *world) salvage.Remains {
		given(w)
		r := remainsOf(w.g)
		for _, change := range changes {
			change(w, &r)
		}
		return r
	}
}

func noNode(label string) func(w *world, r *salvage.Remains) {
	return func(w *world, r *salvage.Remains) {
		r.Nodes = slices.DeleteFunc(r.Nodes, func(n salvage.Remain) bool { return n.ID == w.id(label) })
	}
}

func noName(key string) func(w *world, r *salvage.Remains) {
	return func(_ *world, r *salvage.Remains) {
		r.Names = slices.DeleteFunc(r.Names, func(n dag.Name) bool { return n.Key == key })
	}
}

func noStorage(name string) func(w *world, r *salvage.Remains) {
	return func(_ *world, r *salvage.Remains) {
		r.Storages = slices.DeleteFunc(r.Storages, func(s dag.Storage) bool { return s.Name == name })
	}
}

func noUpdate(id dag.UpdateID) func(w *world, r *salvage.Remains) {
	return func(_ *world, r *salvage.Remains) {
		r.Updates = slices.DeleteFunc(r.Updates, func(u dag.Update) bool { return u.ID == id })
	}
}

func editNode(label string, change func(w *world, n *salvage.Remain)) func(w *world, r *salvage.Remains) {
	return func(w *world, r *salvage.Remains) {
		at := slices.IndexFunc(r.Nodes, func(n salvage.Remain) bool { return n.ID == w.id(label) })
		change(w, &r.Nodes[at])
	}
}

func editName(key string, change func(w *world, n *dag.Name)) func(w *world, r *salvage.Remains) {
	return func(w *world, r *salvage.Remains) {
		at := slices.IndexFunc(r.Names, func(n dag.Name) bool { return n.Key == key })
		change(w, &r.Names[at])
	}
}

func editStorage(name string, change func(w *world, s *dag.Storage)) func(w *world, r *salvage.Remains) {
	return func(w *world, r *salvage.Remains) {
		at := slices.IndexFunc(r.Storages, func(s dag.Storage) bool { return s.Name == name })
		change(w, &r.Storages[at])
	}
}

// stray adds a node that no change ever committed.
func stray(n salvage.Remain) func(w *world, r *salvage.Remains) {
	return func(w *world, r *salvage.Remains) {
		n.ID = w.id("stray")
		r.Nodes = append(r.Nodes, n)
	}
}

// twoContainers is two storages on one base.
func twoContainers(w *world) {
	w.layer("base", "")
	w.container("c", "base", "w")
	w.container("f", "base", "fw")
}

// outdated does something to a world, and finds the records that some things had before.
func outdated(given, do func(w *world), old func(now, then *salvage.Remains)) func(w *world) salvage.Remains {
	return func(w *world) salvage.Remains {
		given(w)
		then := remainsOf(w.g)
		do(w)
		now := remainsOf(w.g)
		old(&now, &then)
		return now
	}
}

func oldStorages(now, then *salvage.Remains) { now.Storages = then.Storages }

func TestHealNodes(t *testing.T) {
	runHealings(t, []healing{
		{
			name:  "all is there",
			found: after(applied),
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
			name: "directories are missing",
			found: after(applied, editNode("w", func(_ *world, n *salvage.Remain) { n.Missing = true }),
				stray(salvage.Remain{Node: dag.Node{Kind: dag.Persisted}, Missing: true})),
			want: `
				base
				  c before u1: w!
				  delta, added
				    c of k-c: x* > d > w!
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on delta, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta applied
				  c applied with d, report
				n2: is damaged: its directory is missing
				unneeded: [n7]
			`,
		}, {
			name: "records cannot be read",
			found: after(applied, editNode("w", func(_ *world, n *salvage.Remain) {
				*n = salvage.Remain{Node: dag.Node{ID: n.ID}, Bare: true}
			}), stray(salvage.Remain{Bare: true})),
			want: `
				c before u1: w!
				base
				  delta, added
				    c of k-c: x* > d > w!
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on delta, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta applied
				  c applied with d, report
				storage "c": its rollback point is lost, the damaged n2 stands in for it
				unneeded: [n7]
			`,
		}, {
			name:  "a rollback point is lost",
			found: after(applied, noNode("w")),
			want: `
				c before u1: w!
				base
				  delta, added
				    c of k-c: x* > d > w!
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on delta, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta applied
				  c applied with d, report
				storage "c": its rollback point is lost, the damaged n2 stands in for it
			`,
		}, {
			name:  "a delta storage is lost",
			found: after(applied, noNode("d")),
			want: `
				base
				  c before u1: w
				  delta, added
				    c of k-c: x* > d!
				rebuilt
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on delta, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta applied
				  c applied with d!, report
				n6: its parent is lost, the damaged n5 stands in for it
			`,
		}, {
			name:  "a base layer is lost",
			found: after(applied, noNode("base")),
			want: `
				base!, damaged: lost: nothing of it was found
				  c before u1: w
				  delta, added
				    c of k-c: x* > d > w
				rebuilt
				base: committed on base!
				delta: committed on delta, parent base
				k-c: active on delta, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base! -> delta applied
				  c applied with d, report
				n2: its base is lost, the damaged n1 stands in for it
			`,
		}, {
			name:  "layers of an update under way are lost",
			found: after(begun, noNode("delta"), noName("delta")),
			want: `
				base
				  c of k-c: w*
				delta!, damaged: lost: nothing of it was found
				rebuilt
				base: committed on base
				k-c: active on base, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta! staging
				  c staging
				update u1: its layer is lost, the damaged n3 stands in for it
			`,
		}, {
			name:  "layers of an update that is done are lost",
			found: after(func(w *world) { begun(w); w.record(1, "c", dag.Held) }, noNode("delta"), noName("delta")),
			want: `
				base
				  c of k-c: w*
				rebuilt
				base: committed on base
				k-c: active on base, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> (delta) aborted
				  c held: reason
			`,
		}, {
			name: "frozen and open are mixed up",
			found: after(applied, editNode("w", func(_ *world, n *salvage.Remain) { n.Frozen = false }),
				editNode("x", func(_ *world, n *salvage.Remain) { n.Frozen = true })),
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
				n6: is the head of storage "c" and was frozen, it is open
				n2: is no head of a storage and was open, it is frozen
			`,
		}, {
			name: "nodes stand on each other",
			found: after(applied, editNode("w", func(w *world, n *salvage.Remain) { n.Parent = w.id("x") }),
				editNode("base", func(w *world, n *salvage.Remain) { n.Parent = w.id("base") })),
			want: `
				rebuilt
				n7!, damaged: lost: parent of n1, which stood on itself
				  base
				    c before u1: w > n8!
				    delta, added
				      c of k-c: x* > d > w > n8!
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on delta, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta applied
				  c applied with d, report
				n1: stood on itself, the damaged n7 stands in for its parent
				n2: stood on itself, the damaged n8 stands in for its parent
			`,
		}, {
			name: "nodes stand on what they cannot stand on",
			found: after(applied, editNode("d", func(w *world, n *salvage.Remain) { n.Parent = w.id("base") }),
				editNode("delta", func(w *world, n *salvage.Remain) { n.Parent, n.Base = w.id("w"), 7 })),
			want: `
				base
				  c before u1: w
				rebuilt
				n9!, damaged: lost: parent was n2, which is a persisted
				  delta, added
				    c of k-c: x* > d > n8!
				base: committed on base
				delta: committed on delta, parent base
				k-c: active on delta, parent base, storage c, bound
				rebuilt: committed on rebuilt
				u1 base -> delta applied
				  c applied with d, report
				n5: its parent was a layer, the damaged n8 stands in for it
				n3: its parent was a persisted, the damaged n9 stands in for it
				n3: a layer has no base, n7 is forgotten
			`,
		}, {
			name: "there are several records of a node",
			found: after(applied, func(w *world, r *salvage.Remains) {
				old, _ := w.g.Node(w.id("w"))
				old.Frozen = false
				r.Nodes = append(r.Nodes, salvage.Remain{Node: old}, salvage.Remain{Node: dag.Node{ID: w.id("x")}, Bare: true})
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
				  c applied with d, report
				n2: there are records that differ, the latest counts
				n6: there are records that differ, the latest counts
			`,
		},
	})
}

func TestLost(t *testing.T) {
	w := newWorld(t)
	g, mends, _ := salvage.Graph(after(applied, noNode("w"), editNode("d", func(_ *world, n *salvage.Remain) { n.Missing = true }))(w), w.now())
	for label, want := range map[string]bool{"w": true, "d": false, "x": false} {
		if n, _ := g.Node(w.id(label)); n.Lost() != want {
			t.Errorf("%s (damage %q) stands in: %v, want %v", label, n.Damage, n.Lost(), want)
		}
	}
	if len(mends) == 0 || !strings.HasPrefix(mends[0].String(), `storage "c": `) {
		t.Errorf("the mends are %v", mends)
	}
}
