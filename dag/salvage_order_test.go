// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/dag/salvage"
)

// files are the records beside a database, and the directories of nodes, as they are written while a change is copied.
type files struct {
	nodes    map[dag.NodeID]salvage.Remain
	dirs     map[dag.NodeID]bool
	names    map[string]dag.Name
	storages map[string]dag.Storage
	updates  map[dag.UpdateID]dag.Update
}

func newFiles() *files {
	return &files{map[dag.NodeID]salvage.Remain{}, map[dag.NodeID]bool{}, map[string]dag.Name{}, map[string]dag.Storage{}, map[dag.UpdateID]dag.Update{}}
}

func (f *files) remains() (r salvage.Remains) {
	for id := range f.dirs {
		if n, ok := f.nodes[id]; ok {
			r.Nodes = append(r.Nodes, n)
		} else {
			r.Nodes = append(r.Nodes, salvage.Remain{Node: dag.Node{ID: id}, Bare: true})
		}
	}
	r.Names = slices.Collect(maps.Values(f.names))
	r.Storages = slices.Collect(maps.Values(f.storages))
	r.Updates = slices.Collect(maps.Values(f.updates))
	return r
}

// copying returns the steps by which the records of a change are written. It is how the snapshotter does it.
func (f *files) copying(after *dag.Graph, c dag.Change) (steps []func()) {
	concerned := map[dag.NodeID]bool{}
	for id, n := range c.Nodes {
		concerned[id] = true
		if n != nil {
			f.dirs[id] = true
		}
	}
	heads := map[dag.NodeID]dag.Storage{}
	for _, s := range after.Storages() {
		heads[s.Head] = s
	}
	for _, s := range c.Storages {
		if s != nil {
			concerned[s.Head] = true
		}
	}
	ids := dag.NeededFirst(slices.Collect(maps.Keys(concerned)), func(id dag.NodeID) dag.Node {
		if n, ok := after.Node(id); ok {
			return n
		}
		return f.nodes[id].Node
	})
	for _, id := range ids {
		if n, ok := after.Node(id); ok {
			steps = append(steps, func() { f.nodes[id] = salvage.Remain{Node: n, Storage: heads[id].Name, Key: heads[id].Key} })
		}
	}
	steps = append(steps, copyTo(f.storages, c.Storages)...)
	steps = append(steps, copyTo(f.names, c.Names)...)
	steps = append(steps, copyTo(f.updates, c.Updates)...)
	for _, id := range slices.Backward(ids) {
		if _, ok := after.Node(id); !ok {
			steps = append(steps, func() { delete(f.nodes, id) })
		}
	}
	return steps
}

// trash moves away the directories of nodes that are gone, which happens later.
func (f *files) trash(c dag.Change) {
	for id, n := range c.Nodes {
		if n == nil {
			delete(f.dirs, id)
		}
	}
}

func copyTo[K interface{ ~string | ~uint64 }, V any](to map[K]V, changed map[K]*V) (steps []func()) {
	for _, k := range slices.Sorted(maps.Keys(changed)) {
		if v := changed[k]; v != nil {
			steps = append(steps, func() { to[k] = *v })
		}
	}
	for _, k := range slices.Sorted(maps.Keys(changed)) {
		if changed[k] == nil {
			steps = append(steps, func() { delete(to, k) })
		}
	}
	return steps
}

// Property: when the database is lost while the records of a change are copied, nothing is damaged, and every storage shows what
// it showed before the change, or what it shows after it.
func TestHealWhileCopying(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFiles()
		x := &machine{g: dag.New(), m: newModel(), tried: map[string][2]int{}}
		x.changed = func(do dag.Transformation, c dag.Change) {
			for i, step := range f.copying(x.g, c) {
				step()
				healed, mends, _ := salvage.Graph(f.remains(), epoch)
				for _, n := range healed.Nodes() {
					if n.Lost() {
						t.Fatalf("%T %+v, after step %d: %v is %s; %v", do, do, i, n.ID, n.Damage, mends)
					}
				}
				x.showsEither(t, healed, do, i)
			}
			f.trash(c)
		}
		actions := x.actions()
		delete(actions, "condition") // damages nodes itself
		t.Repeat(actions)
	})
}

// showsEither compares the storages that are there before and after the last change with what another graph shows.
func (x *machine) showsEither(t *rapid.T, healed *dag.Graph, do dag.Transformation, step int) {
	shown := func(g *dag.Graph, s dag.Storage) string {
		return fmt.Sprint(written(view{base: x.seen(g.Chain(g.Base(s))), own: x.seen(g.Stack(s.Head))}))
	}
	for _, before := range x.before.Storages() {
		after, there := x.g.Storage(before.Name)
		if !there {
			continue
		}
		now, ok := healed.Storage(before.Name)
		if got := shown(healed, now); !ok || got != shown(x.before, before) && got != shown(x.g, after) {
			t.Fatalf("%T %+v, after step %d: storage %q is there: %t, and shows %s, not %s or %s",
				do, do, step, before.Name, ok, got, shown(x.before, before), shown(x.g, after))
		}
	}
}
