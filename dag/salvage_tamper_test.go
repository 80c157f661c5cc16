// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"maps"
	"slices"

	"pgregory.net/rapid"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/dag/salvage"
)

// tampered loses some records of a graph, makes some of them those of the graph before, and changes others.
func tampered(t *rapid.T, before, g *dag.Graph) salvage.Remains {
	now, then := remainsOf(g), remainsOf(before)
	top := dag.NodeID(1)
	for _, n := range now.Nodes {
		top = max(top, n.ID)
	}
	id := rapid.Custom(func(t *rapid.T) dag.NodeID { return dag.NodeID(rapid.IntRange(0, int(top)+2).Draw(t, "id")) })
	names := []string{"", "none"}
	for _, n := range now.Names {
		names = append(names, n.Key)
	}
	storages := []string{"", "none"}
	for _, s := range now.Storages {
		storages = append(storages, s.Name)
	}
	c := changes{id: id, key: rapid.SampledFrom(names), storage: rapid.SampledFrom(storages)}
	return salvage.Remains{
		Nodes:    left(t, now.Nodes, then.Nodes, func(n salvage.Remain) dag.NodeID { return n.ID }, c.node),
		Names:    left(t, now.Names, then.Names, func(n dag.Name) string { return n.Key }, c.name),
		Storages: left(t, now.Storages, then.Storages, func(s dag.Storage) string { return s.Name }, c.ofStorage),
		Updates:  left(t, now.Updates, then.Updates, func(u dag.Update) dag.UpdateID { return u.ID }, c.update),
	}
}

// recordsAmid returns the records of which some are those after a change, and some those before it.
func recordsAmid[K comparable, V any](t *rapid.T, now, then []V, key func(V) K, whole bool) (found []V) {
	old, latest := byKey(then, key), byKey(now, key)
	for _, r := range now {
		was, before := old[key(r)]
		switch {
		case before && sameRecord(t, was, r), chance(t, "written"), whole && !before:
			found = append(found, r)
		case before:
			found = append(found, was)
		}
	}
	for _, r := range then {
		if _, still := latest[key(r)]; !still && (whole || chance(t, "still there")) {
			found = append(found, r)
		}
	}
	return found
}

func byKey[K comparable, V any](records []V, key func(V) K) map[K]V {
	m := map[K]V{}
	for _, r := range records {
		m[key(r)] = r
	}
	return m
}

func left[K comparable, V any](t *rapid.T, now, then []V, key func(V) K, change func(*rapid.T, V) V) (left []V) {
	old := byKey(then, key)
	for _, r := range now {
		was, ok := old[key(r)]
		delete(old, key(r))
		switch rapid.SampledFrom([]string{"kept", "kept", "kept", "kept", "lost", "changed", "old", "both"}).Draw(t, "fate") {
		case "kept":
			left = append(left, r)
		case "changed":
			left = append(left, change(t, r))
		case "old":
			if ok {
				left = append(left, was)
			}
		case "both":
			left = append(left, r)
			if ok {
				left = append(left, was)
			}
		}
	}
	for _, r := range then {
		if _, gone := old[key(r)]; gone && chance(t, "still there") {
			left = append(left, r)
		}
	}
	return left
}

// changes draws what a changed field of a record says.
type changes struct {
	id      *rapid.Generator[dag.NodeID]
	key     *rapid.Generator[string]
	storage *rapid.Generator[string]
}

func (c changes) node(t *rapid.T, n salvage.Remain) salvage.Remain {
	switch rapid.IntRange(0, 7).Draw(t, "field") {
	case 0:
		n.Parent = c.id.Draw(t, "parent")
	case 1:
		n.Base = c.id.Draw(t, "base")
	case 2:
		n.Frozen = !n.Frozen
	case 3:
		n.Kind = rapid.SampledFrom([]dag.NodeKind{dag.Layer, dag.Persisted, dag.Delta, "other"}).Draw(t, "kind")
	case 4:
		n.Missing = true
	case 5:
		n = salvage.Remain{Node: dag.Node{ID: n.ID}, Bare: true}
	case 6:
		n.Storage = c.storage.Draw(t, "storage")
	case 7:
		n.Key = c.key.Draw(t, "key")
	}
	return n
}

func (c changes) name(t *rapid.T, n dag.Name) dag.Name {
	switch rapid.IntRange(0, 4).Draw(t, "field") {
	case 0:
		n.Parent = c.key.Draw(t, "parent")
	case 1:
		n.Node = c.id.Draw(t, "node")
	case 2:
		n.Storage = c.storage.Draw(t, "storage")
	case 3:
		n.Kind = rapid.SampledFrom([]dag.NameKind{dag.Active, dag.View, dag.Committed, "other"}).Draw(t, "kind")
	case 4:
		n.Identity = rapid.SampledFrom([]dag.Identity{dag.Unknown, dag.Plain, dag.Bound}).Draw(t, "identity")
	}
	return n
}

func (c changes) ofStorage(t *rapid.T, s dag.Storage) dag.Storage {
	switch rapid.IntRange(0, 5).Draw(t, "field") {
	case 0:
		s.Head = c.id.Draw(t, "head")
	case 1:
		s.Key = c.key.Draw(t, "key")
	case 2:
		s.Anonymous = !s.Anonymous
	case 3:
		s.Points = append(slices.Clone(s.Points), dag.Point{Update: dag.UpdateID(c.id.Draw(t, "update")), Head: c.id.Draw(t, "point")})
	case 4:
		s.Aside = append(slices.Clone(s.Aside), dag.Point{Update: dag.UpdateID(c.id.Draw(t, "update")), Head: c.id.Draw(t, "aside")})
	case 5:
		s.Pending = &dag.Pending{Update: dag.UpdateID(c.id.Draw(t, "update")), Rollback: chance(t, "rollback")}
	}
	return s
}

var states = []dag.State{dag.Planned, dag.Staging, dag.Staged, dag.Applied, dag.Held, dag.Aborted, dag.RolledBack, dag.Withdrawn, "other"}

func (c changes) update(t *rapid.T, u dag.Update) dag.Update {
	switch rapid.IntRange(0, 3).Draw(t, "field") {
	case 0:
		u.From = c.id.Draw(t, "from")
	case 1:
		u.To = c.id.Draw(t, "to")
	case 2:
		u.State = rapid.SampledFrom(states).Draw(t, "state")
	case 3:
		u.Outcomes = maps.Clone(u.Outcomes)
		if u.Outcomes == nil {
			u.Outcomes = map[string]dag.Outcome{}
		}
		u.Outcomes[c.storage.Draw(t, "storage")] = dag.Outcome{State: rapid.SampledFrom(states).Draw(t, "state")}
	}
	return u
}
