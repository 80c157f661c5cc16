// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/containerd/errdefs"
)

// Announcement is what a layer that is about to be committed says of itself: that it updates another one.
type Announcement struct {
	// Of is the layer that is updated, To the node that becomes the layer, Origin what that will be unpacked from.
	Of, To NodeID
	Origin string
	// FromRef and ToRef are what the two are called.
	FromRef, ToRef string
	// Until is how far the update goes by itself.
	Until State
	// Claimed says that only an image says so, see [Update].
	Claimed bool
	// Concerns reports whether a storage may be concerned, by what is known of it beyond the graph.
	Concerns func(Storage) bool
	// NewUpdate returns the id of a new update.
	NewUpdate func() UpdateID
	Now       time.Time
}

// On returns what records an announcement in the same change as the commit of the layer, and the updates that
// may be under way then. It concerns the storages that stand on the layer or wait for an update to it. Storages for
// which an update to it is announced or staged are taken along from where they stand, and the earlier update is
// superseded for them, unless that is vouched for and this one is not: then both are there. An update that was
// announced before and led to the same layer, unpacked once more, is renewed. It fails with errdefs.ErrInvalidArgument
// when To was announced to be updated by Of.
func (a Announcement) On(g *Graph) (ts []Transformation, ids []UpdateID, err error) {
	if a.Origin != "" && g.nodes[a.Of].Origin == a.Origin {
		return nil, nil, fmt.Errorf("layer %s says that it updates itself: %w", a.ToRef, errdefs.ErrInvalidArgument)
	}
	concerned := slices.DeleteFunc(g.Storages(), func(s Storage) bool { return s.Anonymous || !a.Concerns(s) })
	on := func(s Storage) bool { return g.SameBase(g.Base(s), a.Of) }
	if at := slices.IndexFunc(concerned, on); at >= 0 {
		a.Of = g.Base(concerned[at]) // of a layer that was unpacked twice, the one that stays
	}
	standing := map[NodeID][]string{}
	for _, s := range concerned {
		from, ok, err := a.announcedFrom(g, s)
		if err != nil {
			return nil, nil, err
		}
		if ok {
			standing[from] = append(standing[from], s.Name)
		}
	}
	for _, from := range slices.Sorted(maps.Keys(standing)) {
		more, of := a.announce(g, from, standing[from])
		ts, ids = append(ts, more...), append(ids, of...)
	}
	return ts, ids, nil
}

// announcedFrom returns the layer from which an announcement would update a storage; false when it does not concern
// that.
func (a Announcement) announcedFrom(g *Graph, s Storage) (from NodeID, ok bool, err error) {
	base := g.Base(s)
	if g.SameBase(base, a.Of) {
		return a.Of, true, nil
	}
	if s.Pending != nil && !s.Pending.Rollback && g.SameBase(g.updates[s.Pending.Update].To, a.Of) {
		return a.Of, true, nil
	}
	for _, u := range g.Updates() {
		if u.Cause != ByCommit || !u.Outcomes[s.Name].proceeds() || !g.SameBase(u.To, a.Of) || !u.StartsAt(g, base) {
			continue
		}
		same := func(id NodeID) bool { return a.Origin != "" && g.nodes[id].Origin == a.Origin }
		if same(base) || same(u.From) || same(u.Of) {
			return 0, false, fmt.Errorf("layer %s says that it updates %s, which is announced as an update of %s "+
				"(%v): %w",
				a.ToRef, a.FromRef, a.ToRef, u.ID, errdefs.ErrInvalidArgument)
		}
		return base, true, nil
	}
	return 0, false, nil
}

// StartsAt reports whether an update moves storages from a layer: the one that it updates or, where it took the place
// of an announced one, that on which the storages stood.
func (u Update) StartsAt(g *Graph, layer NodeID) bool { return startsAt(g.Node, u, layer) }

func startsAt(node NodeLookup, u Update, layer NodeID) bool {
	return sameBase(node, layer, u.From) || u.Of != 0 && sameBase(node, layer, u.Of)
}

// announce returns what records an announcement for storages that it would update from one layer.
func (a Announcement) announce(g *Graph, from NodeID, names []string) (ts []Transformation, ids []UpdateID) {
	again, has := a.announcedBefore(g, from)
	var renewed, begun []string
	for _, name := range names {
		o, in := again.Outcomes[name]
		switch {
		case has && in && o.reaches(a.Until):
		case has && (!in || o.State == Announced || o.State == Aborted || o.State == Held || o.State == Withdrawn):
			renewed = append(renewed, name)
		default:
			begun = append(begun, name)
		}
	}
	if has {
		ts = append(ts, Renew{
			Update: again.ID, To: a.To, Storages: renewed, Until: a.Until, Claimed: a.Claimed,
			Instead: a.instead(g, again.ID, renewed), Now: a.Now,
		})
		ids = append(ids, again.ID)
	}
	if len(begun) == 0 {
		return ts, ids
	}
	b := BeginUpdate{
		ID: a.NewUpdate(), From: from, To: a.To, FromRef: a.FromRef, ToRef: a.ToRef, Cause: ByCommit,
		Storages: begun, Until: a.Until, Claimed: a.Claimed, Instead: a.instead(g, 0, begun), Now: a.Now,
	}
	if from != a.Of {
		b.Of, b.FromRef = a.Of, ""
		for _, u := range g.Updates() {
			if u.Cause == ByCommit && g.SameBase(u.From, from) {
				b.FromRef = u.FromRef
			}
		}
	}
	return append(ts, b), append(ids, b.ID)
}

// announcedBefore returns the latest update that was announced from and to the same layers and can be renewed.
func (a Announcement) announcedBefore(g *Graph, from NodeID) (Update, bool) {
	for _, u := range slices.Backward(g.Updates()) {
		to, there := g.nodes[u.To]
		if a.leadsTo(g, u) && g.SameBase(u.From, from) && (u.renewable() || there && to.Damage == "") {
			return u, true
		}
	}
	return Update{}, false
}

// leadsTo reports whether an update was announced by the same layer, unpacked earlier. A layer whose name is no chain
// ID can be anything: it is the same only in that an earlier one of that name is gone.
func (a Announcement) leadsTo(g *Graph, u Update) bool {
	_, there := g.nodes[u.To]
	return u.Cause == ByCommit && u.ToRef == a.ToRef && (a.Origin != "" || !there)
}

// instead returns the updates that an announcement takes the place of for some storages, but for one: they are
// announced or staged to what is updated, or to the same layer.
func (a Announcement) instead(g *Graph, but UpdateID, names []string) (ids []UpdateID) {
	for _, u := range g.Updates() {
		waits := func(name string) bool { return u.Outcomes[name].proceeds() }
		if u.ID == but || u.Cause != ByCommit || a.Claimed && !u.Claimed {
			continue
		}
		if (g.SameBase(u.To, a.Of) || a.leadsTo(g, u)) && slices.ContainsFunc(names, waits) {
			ids = append(ids, u.ID)
		}
	}
	return ids
}

// supersede gives up updates that are announced or staged for storages in favour of another one.
func (d *draft) supersede(ids []UpdateID, names []string, by UpdateID, now time.Time) {
	for _, id := range ids {
		for _, name := range names {
			if u, ok := d.update(id); ok && u.Outcomes[name].proceeds() {
				o := Outcome{State: Aborted, Reasons: []string{fmt.Sprintf("superseded by %v", by)}, Time: now}
				d.putUpdate(u.With(name, o))
			}
		}
	}
}

// fulfil gives up the updates that were announced or staged for a storage, and that lead to where another one has moved
// it.
func (d *draft) fulfil(storage string, by Update, now time.Time) {
	var ids []UpdateID
	for u := range merged(d.Updates, d.g.updates) {
		if u.ID != by.ID && sameBase(d.node, u.To, by.To) {
			ids = append(ids, u.ID)
		}
	}
	d.supersede(ids, []string{storage}, by.ID, now)
}

// reaches reports whether nothing is left to do for an announcement that goes so far by itself. What an operator
// withdrew is not announced to him again.
func (o Outcome) reaches(until State) bool {
	switch {
	case o.State == Withdrawn:
		return until == Announced
	case o.State == Announced:
		return until == Announced
	case o.proceeds():
		return until != ""
	}
	return !o.State.Final()
}

// renewable reports whether an update has done nothing yet, so that it may lead to another node of the same layer.
func (u Update) renewable() bool {
	for _, o := range u.Outcomes {
		if o.State != Announced && o.State != Withdrawn && o.State != Aborted && o.State != Held {
			return false
		}
	}
	return true
}

// Renew records that the layer of an update that was announced was unpacked again: the update leads to that from now
// on, unless it has begun to move storages, and is announced for further storages, too. It fails with
// errdefs.ErrNotFound for these when the layer that it updates, or the one that it leads to from before, is gone.
type Renew struct {
	Update   UpdateID
	To       NodeID
	Storages []string
	Until    State      // as in BeginUpdate
	Claimed  bool       // as in BeginUpdate; an update that was vouched for stays that
	Instead  []UpdateID // as in BeginUpdate
	Now      time.Time
}

func (t Renew) transform(d *draft) error {
	u, ok := d.update(t.Update)
	if !ok {
		return fmt.Errorf("update %v: %w", t.Update, errdefs.ErrNotFound)
	}
	if n, ok := d.node(t.To); !ok || n.Kind != Layer {
		return fmt.Errorf("layer %v: %w", t.To, errdefs.ErrNotFound)
	}
	u.Claimed = u.Claimed && t.Claimed
	if u.renewable() {
		u.To = t.To
	}
	if len(t.Storages) > 0 {
		if err := d.layersOf(u); err != nil {
			return err
		}
	}
	for _, name := range t.Storages {
		if _, ok := d.storage(name); !ok {
			return fmt.Errorf("storage %q: %w", name, errdefs.ErrNotFound)
		}
		u = u.With(name, begun(t.Until, t.Now))
	}
	d.putUpdate(u)
	d.supersede(t.Instead, t.Storages, u.ID, t.Now)
	return nil
}
