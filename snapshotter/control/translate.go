// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
)

func each[A, B any](list []A, fn func(A) B) []B {
	out := make([]B, 0, len(list))
	for _, a := range list {
		out = append(out, fn(a))
	}
	return out
}

func node(n dag.Node) *api.Node {
	return &api.Node{
		Id: uint64(n.ID), Kind: api.Of[api.NodeKind](string(n.Kind)), Parent: uint64(n.Parent), Base: uint64(n.Base),
		Frozen: n.Frozen,
		Added:  n.Added, Origin: n.Origin, Damage: n.Damage, Size: n.Size, Inodes: n.Inodes,
		Created: timestamppb.New(n.Created),
	}
}

func name(n dag.Name) *api.Name {
	return &api.Name{Key: n.Key, Kind: api.Of[api.NameKind](string(n.Kind)), Parent: n.Parent, Node: uint64(n.Node),
		Storage: n.Storage}
}

// storages returns what translates the storages of a graph.
func storages(g *dag.Graph) func(dag.Storage) *api.Storage {
	held, waits, leads := g.HeldBy(), fixesWaiting(g), g.Leads()
	return func(st dag.Storage) *api.Storage {
		s := storage(g, st)
		s.HeldBy, s.FixesWaiting = uint64(held[st.Name]), waits[st.Name]
		if lead, ok := leads.From(g.Base(st)); ok {
			s.Newer, s.NewerBy = uint64(lead.To), uint64(lead.Update)
		}
		return s
	}
}

func storage(g *dag.Graph, st dag.Storage) *api.Storage {
	point := func(p dag.Point) *api.Point {
		head, _ := g.Node(p.Head)
		return &api.Point{Update: uint64(p.Update), Head: uint64(p.Head), Base: uint64(head.Base),
			Time: timestamppb.New(p.Time)}
	}
	s := &api.Storage{
		Name: st.Name, Anonymous: st.Anonymous, Head: uint64(st.Head), Base: uint64(g.Base(st)), Key: st.Key,
		Points: each(st.Points, point), Aside: each(st.Aside, point), Pending: pending(st.Pending),
		Stack:     each(g.Stack(st.Head), func(id dag.NodeID) uint64 { return uint64(id) }),
		Created:   timestamppb.New(st.Created),
		Container: keys.Container(st.Key), Unpacking: keys.Unpacking(st.Key),
		AsksFor: asksFor(g, st), Placed: placement(st.Placed),
	}
	if st.Container != nil {
		s.Pod = st.Container.Pod
	}
	return s
}

func pending(p *dag.Pending) *api.Pending {
	if p == nil {
		return nil
	}
	return &api.Pending{Update: uint64(p.Update), Rollback: p.Rollback, Carry: p.Carry, Discard: p.Discard}
}

func placement(p *dag.Placement) *api.Placement {
	if p == nil {
		return nil
	}
	return &api.Placement{From: uint64(p.From), To: uint64(p.To), Update: uint64(p.Update),
		Time: timestamppb.New(p.Time)}
}

// asksFor returns what the last container of a storage asked for, where the storage stands on another base: the image
// that the container named, else the layer. Empty otherwise.
func asksFor(g *dag.Graph, st dag.Storage) string {
	switch {
	case st.Asked == nil || g.IsAsked(st, g.Base(st)):
		return ""
	case st.Container != nil && st.Container.Image != "":
		return st.Container.Image
	case st.Asked.Layer != 0:
		return st.Asked.Layer.String()
	}
	return "an empty base"
}

// fixesWaiting returns, by storage, how many fixes waited when the last update moved it.
func fixesWaiting(g *dag.Graph) map[string]uint32 {
	waits := map[string]uint32{}
	for _, u := range g.Updates() {
		for name, o := range u.Outcomes {
			if o.State == dag.Applied && !o.Gone {
				waits[name] = uint32(o.FixesWaiting)
			}
		}
	}
	return waits
}

// updateIn returns what translates the updates of a graph.
func updateIn(g *dag.Graph) func(dag.Update) *api.Update {
	return func(u dag.Update) *api.Update { return update(g, u) }
}

// update translates an update. The delta storage of one that was rolled back is named as long as it is there.
func update(g *dag.Graph, u dag.Update) *api.Update {
	r := &api.Update{
		Id: uint64(u.ID), From: uint64(u.From), To: uint64(u.To), FromRef: u.FromRef, ToRef: u.ToRef,
		Cause:        api.Of[api.Cause](string(u.Cause)),
		AllOrNothing: u.AllOrNothing, State: api.Of[api.State](string(u.State)), Standing: u.Standing,
		Retracted: u.Retracted,
		Created:   timestamppb.New(u.Created), Updated: timestamppb.New(u.Updated),
	}
	for _, name := range slices.Sorted(maps.Keys(u.Outcomes)) {
		o := u.Outcomes[name]
		if _, there := g.Node(o.Delta); o.State == dag.RolledBack && !there {
			o.Delta = 0
		}
		r.Outcomes = append(r.Outcomes, &api.Outcome{
			Storage: name, State: api.Of[api.State](string(o.State)), Reasons: boundedList(o.Reasons), Use: o.Use,
			Delta:        uint64(o.Delta),
			FixesWaiting: uint32(o.FixesWaiting),
			Report:       o.Report != "", Time: timestamppb.New(o.Time),
		})
	}
	return r
}
