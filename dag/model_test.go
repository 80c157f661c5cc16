// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"fmt"
	"maps"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// content is what is seen, the lowest first: symbols, each of which was written in one directory only. The first symbol of
// a directory is the name of its node, so that an empty directory shows, too.
type content []string

func symbol(id dag.NodeID) string { return id.String() }

// startsWith reports whether what is seen was seen on top of other things.
func (c content) startsWith(lower content) bool {
	return len(c) >= len(lower) && slices.Equal(c[:len(lower)], lower)
}

func (c content) plus(symbols ...string) content { return slices.Concat(c, symbols) }

// view is what is seen in a container: the layers, and what the storage has on them.
type view struct{ base, own content }

func (v view) all() content { return slices.Concat(v.base, v.own) }

// model says what containers see, and knows nothing of a graph: every name and every state of a storage has the full list
// of what is seen there. Node ids are names of directories to it; what is in them is in disk, as on a disk.
type model struct {
	disk     map[dag.NodeID]content
	names    map[string]*modelName
	storages map[string]*modelStorage
	updates  map[dag.UpdateID]*modelUpdate

	layers   map[dag.NodeID]content // what is seen on a layer, for each layer that ever was and was not merged away
	origin   map[string]string      // of layers, by their last symbol
	added    map[string]bool        // symbols that an update put on its base
	unsynced map[dag.NodeID]bool
	damage   map[dag.NodeID]string
	delta    map[dag.NodeID]bool // directories that hold nothing but side effects
	away     map[dag.NodeID]bool // directories that were merged into another one
	there    map[dag.NodeID]bool // layers that were still needed after the last transformation
}

type modelName struct {
	kind     dag.NameKind
	parent   string
	sees     content
	storage  string
	identity dag.Identity
	labels   map[string]string
}

type modelStorage struct {
	key           string
	anonymous     bool
	open          dag.NodeID
	now           view
	points, aside []modelPoint
	pending       *dag.Pending
	rehoming      bool
	follows       bool
}

type modelPoint struct {
	update dag.UpdateID
	view   view
	minute int
	was    content // what the graph showed before the update
}

type modelUpdate struct {
	from, to dag.NodeID
	outcomes map[string]dag.State
	stops    map[string]bool        // the storages for which it goes no further than to be staged
	staged   map[string]modelStaged // what is ready, by storage
	cause    dag.Cause

	standing, retracted bool

	led bool // by it, layers were delta layers after the last transformation
}

// modelStaged is what is ready for a storage.
type modelStaged struct {
	open, delta dag.NodeID
	before, own content // what the storage had when it was staged, and will have
}

// idle reports whether an update does nothing with a storage.
func (u *modelUpdate) idle(storage string) bool {
	state, in := u.outcomes[storage]
	return !in || slices.Contains([]dag.State{dag.Announced, dag.Withdrawn, dag.Aborted, dag.Held}, state)
}

// renewable reports whether an update has done nothing yet.
func (u *modelUpdate) renewable() bool {
	for name := range u.outcomes {
		if !u.idle(name) {
			return false
		}
	}
	return true
}

// set sets what an update has come to for a storage, which ends what was ready for it.
func (u *modelUpdate) set(storage string, state dag.State) {
	u.outcomes[storage] = state
	delete(u.stops, storage)
	delete(u.staged, storage)
}

func newModel() *model {
	return &model{
		disk: map[dag.NodeID]content{}, names: map[string]*modelName{}, storages: map[string]*modelStorage{},
		updates: map[dag.UpdateID]*modelUpdate{}, layers: map[dag.NodeID]content{}, origin: map[string]string{},
		added: map[string]bool{}, unsynced: map[dag.NodeID]bool{}, damage: map[dag.NodeID]string{},
		delta: map[dag.NodeID]bool{}, away: map[dag.NodeID]bool{},
	}
}

// create makes a directory with nothing but its name in it.
func (m *model) create(id dag.NodeID) string {
	m.disk[id] = content{symbol(id)}
	return symbol(id)
}

// underWay reports whether some storage still has to move.
func (u *modelUpdate) underWay() bool {
	for _, s := range u.outcomes {
		if s == dag.Planned || s == dag.Staging || s == dag.Staged {
			return true
		}
	}
	return false
}

// state of an update: that of the storage in it that most has to be looked after.
func (u *modelUpdate) state() dag.State {
	if len(u.outcomes) == 0 && u.retracted {
		return dag.RolledBack
	}
	if len(u.outcomes) == 0 {
		return dag.Applied
	}
	for _, s := range []dag.State{dag.Staging, dag.Staged, dag.Applied, dag.Planned, dag.Announced, dag.RolledBack, dag.Withdrawn} {
		if slices.Contains(slices.Collect(maps.Values(u.outcomes)), s) {
			return s
		}
	}
	return dag.Aborted
}

// effective reports whether new containers of the old base stand on the new one.
func (u *modelUpdate) effective() bool {
	return u.cause != dag.ByBind && !u.retracted && u.applied()
}

// applied reports whether an update was applied to some storage, or needed none.
func (u *modelUpdate) applied() bool {
	return u.state() == dag.Applied || slices.Contains(slices.Collect(maps.Values(u.outcomes)), dag.Applied)
}

// mark makes the layers of updates that have come to lead, or no longer do, delta layers or base layers. What is needed no
// more after this very transformation still was there when it was made.
func (m *model) mark() {
	led := map[string]bool{}
	for _, u := range m.updates {
		if u.leads() {
			for _, s := range m.addedBy(u) {
				led[s] = true
			}
		}
	}
	for _, u := range m.updates {
		if u.led != u.leads() {
			u.led = u.leads()
			for _, s := range m.addedBy(u) {
				m.added[s] = led[s]
			}
		}
	}
	m.there = map[dag.NodeID]bool{}
	for id := range m.layers {
		m.there[id] = m.layer(id)
	}
}

func (u *modelUpdate) leads() bool { return u.standing || u.underWay() || u.applied() }

// addedBy returns the symbols that an update puts on its old base.
func (m *model) addedBy(u *modelUpdate) content {
	from, to := m.layers[u.from], m.layers[u.to]
	if !m.there[u.to] || len(from) == 0 || !to.startsWith(from) {
		return nil
	}
	return to[len(from):]
}

// sights returns all that can still be seen, layers and storages each by themselves.
func (m *model) sights() []content {
	var all []content
	for _, n := range m.names {
		all = append(all, n.sees)
	}
	for _, s := range m.storages {
		for _, v := range s.views() {
			all = append(all, v.base, v.own)
		}
	}
	for _, u := range m.updates {
		if u.underWay() || u.standing {
			all = append(all, m.layers[u.from], m.layers[u.to])
		}
		for _, s := range u.staged {
			all = append(all, s.own)
		}
	}
	return all
}

// views returns what can be seen in a storage, now and after rollbacks.
func (s *modelStorage) views() []view {
	views := []view{s.now}
	for _, p := range slices.Concat(s.points, s.aside) {
		views = append(views, p.view)
	}
	return views
}

// needed returns the symbols that can still be seen.
func (m *model) needed() []string {
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(m.sights()...))))
}

// exists reports whether a directory is still needed.
func (m *model) exists(id dag.NodeID) bool {
	c, ok := m.disk[id]
	return ok && !m.away[id] && slices.ContainsFunc(m.sights(), func(s content) bool { return slices.Contains(s, c[0]) })
}

// layer reports whether a node is a layer that is still needed.
func (m *model) layer(id dag.NodeID) bool {
	_, ok := m.layers[id]
	return ok && m.exists(id)
}

// same reports whether two chains of layers count as the same base.
func (m *model) same(a, b content) bool {
	if slices.Equal(a, b) {
		return true
	}
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	origin := m.origin[a[len(a)-1]]
	return origin != "" && origin == m.origin[b[len(b)-1]]
}

// moved reports whether an update has moved a storage to where it is, or can be undone in it.
func (m *model) moved(storage string, update dag.UpdateID) bool {
	s, u := m.storages[storage], m.updates[update]
	if slices.ContainsFunc(s.points, func(p modelPoint) bool { return p.update == update }) {
		return true
	}
	return u.outcomes[storage] == dag.Applied && m.layer(u.to) && m.same(s.now.base, m.layers[u.to])
}

// newest looks for the layer of a new container by trying the updates from a layer, the latest first.
func (m *model) newest(layer dag.NodeID, after dag.UpdateID) dag.NodeID {
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(m.updates))) {
		u := m.updates[id]
		if id <= after || u.from != layer && !m.twins(u.from, layer) || !u.effective() {
			continue
		}
		if to := m.newest(u.to, id); m.layer(to) {
			return to
		}
	}
	return layer
}

// twins reports whether two layers that are there are the same base.
func (m *model) twins(a, b dag.NodeID) bool {
	return m.layer(a) && m.layer(b) && m.same(m.layers[a], m.layers[b])
}

// mergeable reports whether two directories can become one without anybody noticing: wherever the lower one is seen, the
// upper one is seen directly on it, and nothing but what is seen depends on the two being two.
func (m *model) mergeable(lower, upper dag.NodeID) bool {
	if !m.exists(lower) || !m.exists(upper) || m.damage[lower] != "" || m.damage[upper] != "" {
		return false
	}
	for _, s := range m.storages {
		if s.open == upper || s.open == lower {
			return false
		}
	}
	a, b := m.disk[lower], m.disk[upper]
	both := a.plus(b...)
	parent := ""
	for _, c := range m.sights() {
		at := slices.Index(c, a[0])
		if at >= 0 && !c[at:].startsWith(both) {
			return false
		}
		if at > 0 {
			parent = c[at-1]
		}
	}
	if _, ok := m.layers[lower]; ok {
		return m.added[a[0]] && !m.named(b[len(b)-1])
	}
	return !m.delta[lower] || m.delta[upper] || m.onlyUnder(parent, a[0])
}

// onlyUnder reports whether a symbol is seen only with another one directly on it.
func (m *model) onlyUnder(lower, upper string) bool {
	for _, c := range m.sights() {
		at := slices.Index(c, lower)
		if at >= 0 && (at+1 == len(c) || c[at+1] != upper) {
			return false
		}
	}
	return true
}

// named reports whether containerd knows the layer with a last symbol by name.
func (m *model) named(last string) bool {
	for _, n := range m.names {
		if n.kind == dag.Committed && n.sees[len(n.sees)-1] == last {
			return true
		}
	}
	return false
}

// free returns the name of a new thing.
func free[V any](prefix string, taken map[string]V) string {
	for i := 1; ; i++ {
		name := fmt.Sprintf("%s%d", prefix, i)
		if _, ok := taken[name]; !ok {
			return name
		}
	}
}
