// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/dag/salvage"
)

// remainsOf returns all records of a graph, as they are found when nothing is lost.
func remainsOf(g *dag.Graph) salvage.Remains {
	r := salvage.Remains{Names: g.Names(), Storages: g.Storages(), Updates: g.Updates()}
	said := map[dag.NodeID]dag.Storage{}
	for _, s := range g.Storages() {
		for _, p := range slices.Concat(s.Points, s.Aside) {
			said[p.Head] = s
		}
	}
	for _, s := range g.Storages() {
		said[s.Head] = s
	}
	for _, n := range g.Nodes() {
		r.Nodes = append(r.Nodes, salvage.Remain{Node: n, Storage: said[n.ID].Name, Key: said[n.ID].Key})
	}
	return r
}

// randomGraphs does things at random and returns the graph that came of it, and the one before the last change.
func randomGraphs(t *rapid.T) (before, after *dag.Graph) {
	x := &machine{g: dag.New(), m: newModel(), tried: map[string][2]int{}}
	actions := x.actions()
	t.Repeat(actions)
	if x.before == nil {
		return dag.New(), x.g
	}
	return x.before, x.g
}

// Property: nothing has to be mended when all records are there, once or more often, in whatever order.
func TestHealComplete(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, g := randomGraphs(t)
		r := remainsOf(g)
		for i, n := range r.Nodes { // what is known of nodes beside their records counts for nothing then
			if chance(t, "known") {
				r.Nodes[i].Storage = rapid.SampledFrom([]string{"", "none", "~" + n.Key}).Draw(t, "storage")
				r.Nodes[i].Key = rapid.SampledFrom([]string{"", "none", n.Key}).Draw(t, "key")
			}
		}
		for _, n := range r.Nodes {
			if chance(t, "twice") {
				r.Nodes = append(r.Nodes, n)
			}
		}
		r.Storages = append(r.Storages, r.Storages...)
		healed, mends, unneeded := salvage.Graph(shuffled(t, r), epoch)
		equal(t, dump(t, healed), dump(t, g), "the graph")
		equal(t, mends, []salvage.Mend{}, "mends")
		equal(t, unneeded, []dag.NodeID{}, "nodes that nothing needs")
	})
}

func shuffled(t *rapid.T, r salvage.Remains) salvage.Remains {
	return salvage.Remains{
		Nodes: shuffle(t, r.Nodes), Names: shuffle(t, r.Names), Storages: shuffle(t, r.Storages), Updates: shuffle(t, r.Updates),
	}
}

func shuffle[V any](t *rapid.T, records []V) []V {
	if len(records) == 0 {
		return nil
	}
	return rapid.Permutation(records).Draw(t, "order")
}

// Property: whatever happened to the records, the graph is sound, what they are of is not lost, and what was not touched is
// as it was.
func TestHealTampered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, g := randomGraphs(t)
		for range 4 {
			r := tampered(t, before, g)
			healed := heal(t, r)
			storagesAreThere(t, g, r, healed)
			statesAreKept(t, g, r, healed)
			namesAreKept(t, g, r, healed)
		}
	})
}

// heal checks what always holds.
func heal(t *rapid.T, r salvage.Remains) *dag.Graph {
	says := dumpRemains(t, r)
	healed, _, unneeded := salvage.Graph(r, epoch)
	if err := healed.Check(); err != nil {
		t.Fatalf("of\n%scame\n%swith errors %v", says, dump(t, healed), err)
	}
	equal(t, dumpRemains(t, r), says, "the records, which are not to be changed")
	again, _, _ := salvage.Graph(shuffled(t, r), epoch)
	equal(t, dump(t, again), dump(t, healed), "the graph of the records in another order, of\n%s", says)

	for _, n := range r.Nodes {
		if _, ok := healed.Node(n.ID); n.ID != 0 && ok == slices.Contains(unneeded, n.ID) {
			t.Fatalf("%v is in the graph: %v, although the nodes that nothing needs are %v", n.ID, ok, unneeded)
		}
	}
	second := remainsOf(healed)
	for i, n := range second.Nodes {
		if first := find(r.Nodes, func(r salvage.Remain) bool { return r.ID == n.ID }); len(first) == 1 {
			second.Nodes[i].Missing = first[0].Missing
			second.Nodes[i].Storage, second.Nodes[i].Key = first[0].Storage, first[0].Key
		}
	}
	if again, mends, unneeded := salvage.Graph(second, epoch); len(mends)+len(unneeded) > 0 {
		t.Fatalf("of\n%scame\n%swhich was healed again: %v %v, to\n%s", says, dump(t, healed), mends, unneeded, dump(t, again))
	}
	return healed
}

func dumpRemains(t failer, r salvage.Remains) string {
	var b strings.Builder
	dumpTo(t, &b, r.Nodes)
	dumpTo(t, &b, r.Names)
	dumpTo(t, &b, r.Storages)
	dumpTo(t, &b, r.Updates)
	return b.String()
}

// storagesAreThere makes sure that no storage is gone of which the record or the open node is left. Nothing but its key can
// take the name of an anonymous one from it.
func storagesAreThere(t *rapid.T, g *dag.Graph, r salvage.Remains, healed *dag.Graph) {
	held := map[dag.NodeID]bool{} // nodes that some state shows
	for _, s := range healed.Storages() {
		for _, p := range slices.Concat(s.Points, s.Aside, []dag.Point{{Head: s.Head}}) {
			for _, id := range healed.Stack(p.Head) {
				held[id] = true
			}
		}
	}
	for _, s := range g.Storages() {
		recorded := slices.ContainsFunc(r.Storages, func(left dag.Storage) bool { return left.Name == s.Name })
		node := find(r.Nodes, func(n salvage.Remain) bool { return n.ID == s.Head })
		recorded = recorded && !slices.ContainsFunc(r.Storages, func(left dag.Storage) bool {
			return left.Name == s.Name && committed(healed, r, left.Head)
		})
		_, there := healed.Storage(s.Name)
		there = there || slices.ContainsFunc(healed.Storages(), func(h dag.Storage) bool {
			return s.Anonymous && !h.Anonymous && strings.HasPrefix(h.Name, strings.TrimPrefix(s.Name, "~"))
		})
		open := len(node) == 1 && !node[0].Bare && sameRecord(t, node[0], remainOf(g, s.Head))
		switch {
		case recorded && !there:
			t.Fatalf("storage %q is gone, of\n%sonly\n%sis left", s.Name, dumpRemains(t, r), dump(t, healed))
		case open && !recorded && !held[s.Head]:
			t.Fatalf("open node %v of storage %q is gone, of\n%sonly\n%sis left", s.Head, s.Name, dumpRemains(t, r), dump(t, healed))
		}
	}
}

// committed reports whether a node was found as a layer and is one that has a name, so that a storage with that head has ended.
func committed(healed *dag.Graph, r salvage.Remains, id dag.NodeID) bool {
	return slices.ContainsFunc(r.Nodes, func(n salvage.Remain) bool { return n.ID == id && n.Kind == dag.Layer }) &&
		slices.ContainsFunc(healed.Names(), func(n dag.Name) bool { return n.Kind == dag.Committed && n.Node == id })
}

func find[V any](records []V, wanted func(V) bool) (found []V) {
	for _, r := range records {
		if wanted(r) {
			found = append(found, r)
		}
	}
	return found
}

func remainOf(g *dag.Graph, id dag.NodeID) salvage.Remain {
	return find(remainsOf(g).Nodes, func(n salvage.Remain) bool { return n.ID == id })[0]
}

func sameRecord(t failer, a, b any) bool {
	var x, y strings.Builder
	dumpTo(t, &x, []any{a})
	dumpTo(t, &y, []any{b})
	return x.String() == y.String()
}

// untouched returns the nodes of which just the record that the graph has was found.
func untouched(t failer, g *dag.Graph, r salvage.Remains) func(ids []dag.NodeID) bool {
	found := map[dag.NodeID][]salvage.Remain{}
	for _, n := range r.Nodes {
		found[n.ID] = append(found[n.ID], n)
	}
	same := map[dag.NodeID]bool{}
	for _, n := range remainsOf(g).Nodes {
		same[n.ID] = len(found[n.ID]) == 1 && sameRecord(t, found[n.ID][0], n)
	}
	return func(ids []dag.NodeID) bool {
		return !slices.ContainsFunc(ids, func(id dag.NodeID) bool { return !same[id] })
	}
}

// statesAreKept makes sure that every state whose storage and nodes were not touched shows what it showed.
func statesAreKept(t *rapid.T, g *dag.Graph, r salvage.Remains, healed *dag.Graph) {
	whole := untouched(t, g, r)
	for _, s := range g.Storages() {
		left := find(r.Storages, func(left dag.Storage) bool { return left.Name == s.Name })
		if len(left) != 1 || !sameRecord(t, left[0], s) {
			continue
		}
		for _, p := range slices.Concat(s.Points, s.Aside, []dag.Point{{Head: s.Head}}) {
			n, _ := g.Node(p.Head)
			if !whole(slices.Concat(g.Stack(p.Head), g.Chain(n.Base))) {
				continue
			}
			kept := slices.ContainsFunc(healed.Storages(), func(h dag.Storage) bool {
				if p.Head == s.Head {
					return h.Head == s.Head
				}
				return slices.ContainsFunc(slices.Concat(h.Points, h.Aside), func(q dag.Point) bool { return q.Head == p.Head })
			})
			now, _ := healed.Node(p.Head)
			if !kept || !sameRecord(t, now, n) {
				t.Fatalf("state %v of storage %q is not kept (%v), of\n%scame\n%s", n, s.Name, now, dumpRemains(t, r), dump(t, healed))
			}
			equal(t, healed.Stack(p.Head), g.Stack(p.Head), "stack of state %v of storage %q", p.Head, s.Name)
			equal(t, healed.Chain(n.Base), g.Chain(n.Base), "chain of state %v of storage %q", p.Head, s.Name)
		}
	}
}

// namesAreKept makes sure that every image whose name and layers were not touched is as it was.
func namesAreKept(t *rapid.T, g *dag.Graph, r salvage.Remains, healed *dag.Graph) {
	whole := untouched(t, g, r)
	for _, n := range g.Names() {
		left := find(r.Names, func(left dag.Name) bool { return left.Key == n.Key })
		if n.Kind == dag.Active || len(left) != 1 || !sameRecord(t, left[0], n) || !whole(g.Chain(n.Node)) {
			continue
		}
		now, _ := healed.Name(n.Key)
		equal(t, now.Node, n.Node, "layer of name %q", n.Key)
		equal(t, healed.Chain(now.Node), g.Chain(n.Node), "chain of name %q", n.Key)
	}
}

// Property: when the records of a change are written while nodes are there, those of new ones before and those of nodes that
// are gone until after, then no storage is lost or damaged, in whatever order they are written and wherever it ends.
func TestHealInterrupted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, g := randomGraphs(t)
		now, then := remainsOf(g), remainsOf(before)
		for range 4 {
			r := salvage.Remains{
				Nodes:    recordsAmid(t, now.Nodes, then.Nodes, func(n salvage.Remain) dag.NodeID { return n.ID }, true),
				Names:    recordsAmid(t, now.Names, then.Names, func(n dag.Name) string { return n.Key }, false),
				Storages: recordsAmid(t, now.Storages, then.Storages, func(s dag.Storage) string { return s.Name }, false),
				Updates:  recordsAmid(t, now.Updates, then.Updates, func(u dag.Update) dag.UpdateID { return u.ID }, false),
			}
			healed := heal(t, r)
			for _, s := range before.Storages() {
				_, still := g.Storage(s.Name)
				if _, there := healed.Storage(s.Name); still && !there {
					t.Fatalf("storage %q is gone, of\n%sonly\n%sis left", s.Name, dumpRemains(t, r), dump(t, healed))
				}
			}
			for _, s := range healed.Storages() {
				for _, p := range slices.Concat(s.Points, s.Aside, []dag.Point{{Head: s.Head}}) {
					n, _ := healed.Node(p.Head)
					for _, id := range slices.Concat(healed.Stack(p.Head), healed.Chain(n.Base)) {
						if n, _ := healed.Node(id); n.Lost() {
							t.Fatalf("storage %q is damaged, of\n%scame\n%s", s.Name, dumpRemains(t, r), dump(t, healed))
						}
					}
				}
			}
		}
	})
}

// Property: of whatever is read a sound graph is made, and every storage of which it tells is in it.
func TestHealGarbage(t *testing.T) { rapid.Check(t, healGarbage) }

func FuzzHeal(f *testing.F) { f.Fuzz(rapid.MakeFuzz(healGarbage)) }

func healGarbage(t *rapid.T) {
	ids := rapid.SampledFrom([]dag.NodeID{0, 1, 2, 3, 4, 5, 6, 7, 8, 1<<64 - 1})
	names := rapid.SampledFrom([]string{"", "a", "b", "~a", "~b", "c", "~", "~~", "\xff"})
	c := changes{id: ids, key: names, storage: names}
	r := salvage.Remains{
		Nodes: garbage(t, func(t *rapid.T) salvage.Remain {
			n := salvage.Remain{Node: dag.Node{ID: ids.Draw(t, "id")}}
			for range 8 {
				id := n.ID
				n = c.node(t, n)
				n.ID = id
			}
			return n
		}),
		Names: garbage(t, func(t *rapid.T) dag.Name {
			n := dag.Name{Key: names.Draw(t, "key")}
			for range 6 {
				n = c.name(t, n)
			}
			return n
		}),
		Storages: garbage(t, func(t *rapid.T) dag.Storage {
			s := dag.Storage{Name: names.Draw(t, "name")}
			for range 5 {
				s = c.ofStorage(t, s)
			}
			return s
		}),
		Updates: garbage(t, func(t *rapid.T) dag.Update {
			u := dag.Update{ID: dag.UpdateID(ids.Draw(t, "id"))}
			for range 5 {
				u = c.update(t, u)
			}
			return u
		}),
	}
	healed := heal(t, r)
	for _, s := range r.Storages {
		_, there := healed.Storage(s.Name)
		other := slices.ContainsFunc(healed.Storages(), func(h dag.Storage) bool {
			return strings.HasPrefix(s.Name, "~") && (h.Key == strings.TrimPrefix(s.Name, "~") || strings.HasPrefix(h.Name, strings.TrimLeft(s.Name, "~")))
		})
		if valid := s.Name != "" && s.Name != "~" && s.Name != "\xff"; valid && !there && !other && !committed(healed, r, s.Head) {
			t.Fatalf("storage %q is gone, of\n%sonly\n%sis left", s.Name, dumpRemains(t, r), dump(t, healed))
		}
	}
}

func garbage[V any](t *rapid.T, draw func(t *rapid.T) V) []V {
	return rapid.SliceOfN(rapid.Custom(draw), 0, 8).Draw(t, "records")
}
