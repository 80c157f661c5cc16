// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"maps"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// The methods of this file carry out transformations on a model. They return false, and change nothing, for those that are
// to be refused.

func (m *model) prepare(t dag.Prepare) bool {
	if t.Kind == dag.Active && m.storages[dag.AnonymousName(t.Key)] != nil {
		return false
	}
	p := m.names[t.Parent]
	if m.names[t.Key] != nil || t.Key == "" || t.Parent != "" && (p == nil || p.kind != dag.Committed) {
		return false
	}
	n := &modelName{kind: t.Kind, parent: t.Parent, labels: maps.Clone(t.Labels)}
	if p != nil {
		n.sees = p.sees
	}
	if t.Kind == dag.Active {
		n.storage = "~" + t.Key
		m.storages[n.storage] = &modelStorage{
			key: t.Key, anonymous: true, open: t.Open, now: view{base: n.sees, own: content{m.create(t.Open)}}, follows: t.Follows,
		}
	}
	m.names[t.Key] = n
	return true
}

func (m *model) commit(t dag.Commit) bool {
	n := m.names[t.Key]
	if t.Name == "" || m.names[t.Name] != nil || n == nil || n.kind != dag.Active {
		return false
	}
	s := m.storages[n.storage]
	if !s.anonymous || s.now.own[0] != symbol(s.open) {
		return false
	}
	sees := s.now.all()
	m.end(n.storage)
	delete(m.names, t.Key)
	m.names[t.Name] = &modelName{kind: dag.Committed, parent: n.parent, sees: sees, labels: maps.Clone(t.Labels)}
	m.layers[s.open] = sees
	m.origin[sees[len(sees)-1]] = t.Origin
	if t.Unsynced != "" {
		m.unsynced[s.open] = true
	}
	return true
}

func (m *model) remove(t dag.Remove) bool {
	n := m.names[t.Key]
	if n == nil {
		return false
	}
	for _, child := range m.names {
		if child.parent == t.Key {
			return false
		}
	}
	delete(m.names, t.Key)
	if s := m.storages[n.storage]; s != nil && s.key == t.Key {
		s.key = ""
		if s.anonymous && !s.rehoming {
			m.end(n.storage)
		}
	}
	return true
}

func (m *model) beginRehoming(t dag.BeginRehoming) bool {
	s := m.storages[t.Storage]
	if s == nil || s.key == "" && !s.rehoming {
		return false
	}
	s.rehoming = true
	return true
}

func (m *model) rehome(t dag.Rehome) bool {
	n, s := m.names[t.Key], m.storages[t.Storage]
	if n == nil || n.kind != dag.Active || s == nil || !s.rehoming {
		return false
	}
	own := m.storages[n.storage]
	if own != s {
		if !own.anonymous {
			return false
		}
		m.end(n.storage)
	}
	if s.key != t.Key {
		delete(m.names, s.key)
	}
	n.storage = t.Storage
	if s.anonymous && s.key != t.Key {
		m.rename(t.Storage, dag.AnonymousName(t.Key))
		s.anonymous, n.storage = true, dag.AnonymousName(t.Key)
	} else if !s.anonymous {
		n.identity = dag.Bound
	}
	s.key, n.sees = t.Key, s.now.base
	return true
}

func (m *model) endRehoming(t dag.EndRehoming) bool {
	s := m.storages[t.Storage]
	if s == nil {
		return false
	}
	s.rehoming = false
	if s.anonymous && s.key == "" {
		m.end(t.Storage)
	}
	return true
}

// end gives up what is not done with a storage that is no more.
func (m *model) end(storage string) {
	delete(m.storages, storage)
	for _, u := range m.updates {
		if s := u.outcomes[storage]; s == dag.Planned || s == dag.Staging || s == dag.Staged || s == dag.Announced {
			u.set(storage, dag.Aborted)
		}
	}
}

func (m *model) relabel(t dag.Relabel) bool {
	n := m.names[t.Key]
	if n == nil {
		return false
	}
	n.labels = maps.Clone(t.Labels)
	return true
}

func (m *model) identify(t dag.Identify) bool {
	n := m.names[t.Key]
	if n == nil {
		return false
	}
	if n.identity == dag.Unknown {
		n.identity = dag.Plain
	}
	return true
}

func (m *model) bind(t dag.Bind) bool {
	n := m.names[t.Key]
	if n == nil || n.kind != dag.Active || t.Storage == "" || strings.HasPrefix(t.Storage, "~") {
		return false
	}
	own, s := m.storages[n.storage], m.storages[t.Storage]
	if !own.anonymous && own != s {
		return false
	}
	if s == nil {
		m.rename(n.storage, t.Storage)
	} else {
		if s.key != "" && s.key != t.Key && s.key != t.Holder || !t.Stay && !m.same(s.now.base, n.sees) {
			return false
		}
		if own.anonymous {
			m.end(n.storage)
		}
		s.key, n.sees = t.Key, s.now.base
	}
	n.storage, n.identity = t.Storage, dag.Bound
	return true
}

func (m *model) rename(from, to string) {
	s := m.storages[from]
	delete(m.storages, from)
	s.anonymous = false
	m.storages[to] = s
	for _, u := range m.updates {
		if state, ok := u.outcomes[from]; ok {
			stops, ready, isReady := u.stops[from], u.staged[from], u.staged[from].open != 0
			u.set(from, state)
			delete(u.outcomes, from)
			u.set(to, state)
			if stops {
				u.stops[to] = true
			}
			if isReady {
				u.staged[to] = ready
			}
		}
	}
}

func (m *model) removeStorage(t dag.RemoveStorage) bool {
	if m.storages[t.Name] == nil {
		return false
	}
	for _, n := range m.names {
		if n.storage == t.Name {
			return false
		}
	}
	m.end(t.Name)
	return true
}

func (m *model) fork(t dag.Fork) bool {
	s := m.storages[t.Source]
	if s == nil || m.storages[t.Target] != nil || t.Target == "" || strings.HasPrefix(t.Target, "~") || t.Head != s.open {
		return false
	}
	target := &modelStorage{open: t.TargetOpen, now: view{base: s.now.base, own: s.now.own.plus(m.create(t.TargetOpen))}}
	m.storages[t.Target] = target
	s.open, s.now.own = t.SourceOpen, s.now.own.plus(m.create(t.SourceOpen))
	m.unstage(t.Source)
	return true
}

func (m *model) retire(t dag.Retire, before int) bool {
	s := m.storages[t.Storage]
	if s == nil {
		return false
	}
	kept := func(points []modelPoint, waits bool) (kept []modelPoint) {
		for i, p := range points {
			last := i == len(points)-1
			if len(points)-i <= t.Keep && p.minute >= before || last && waits {
				kept = append(kept, p)
			}
		}
		return kept
	}
	s.points = kept(s.points, s.pending != nil && s.pending.Rollback)
	s.aside = kept(s.aside, false)
	return true
}

func (m *model) beginUpdate(t dag.BeginUpdate) bool {
	if t.From != 0 && !m.layer(t.From) || !m.layer(t.To) || m.same(m.layers[t.From], m.layers[t.To]) || t.Until == dag.Held {
		return false
	}
	u := &modelUpdate{
		from: t.From, to: t.To, outcomes: map[string]dag.State{}, stops: map[string]bool{}, staged: map[string]modelStaged{},
		cause: t.Cause, standing: t.Standing,
	}
	for _, name := range t.Storages {
		if m.storages[name] == nil {
			return false
		}
		u.outcomes[name] = dag.Staging
		switch t.Until {
		case dag.Announced:
			u.outcomes[name] = dag.Announced
		case dag.Staged:
			u.stops[name] = true
		}
	}
	m.updates[t.ID] = u
	return true
}

func (m *model) renew(t dag.Renew) bool {
	u := m.updates[t.Update]
	if u == nil || !m.layer(t.To) || slices.ContainsFunc(t.Storages, func(name string) bool { return m.storages[name] == nil }) {
		return false
	}
	to := u.to
	if u.renewable() {
		to = t.To
	}
	if len(t.Storages) > 0 && (!m.layer(to) || u.from != 0 && !m.layer(u.from)) {
		return false
	}
	u.to = to
	for _, name := range t.Storages {
		u.set(name, dag.Staging)
		switch t.Until {
		case dag.Announced:
			u.set(name, dag.Announced)
		case dag.Staged:
			u.stops[name] = true
		}
	}
	return true
}

func (m *model) record(t dag.Record) bool {
	u, s := m.updates[t.Update], m.storages[t.Storage]
	final := t.State == dag.Held || t.State == dag.Aborted || t.State == dag.Withdrawn || t.State == dag.Announced
	switch {
	case u == nil, t.State == dag.Applied, t.State == dag.RolledBack, s == nil && !final:
		return false
	case s != nil && m.moved(t.Storage, t.Update), u.outcomes[t.Storage] == dag.Withdrawn:
		return false
	case !final && (!m.layer(u.to) || u.from != 0 && !m.layer(u.from)):
		return false
	}
	if t.State == dag.Planned {
		m.giveUp(t.Storage, t.Update)
		s.pending = &dag.Pending{Update: t.Update}
	}
	if final && s != nil && s.pending != nil && s.pending.Update == t.Update {
		s.pending = nil
	}
	stops := u.stops[t.Storage]
	u.set(t.Storage, t.State)
	if stops && (t.State == dag.Staging || t.State == dag.Announced) {
		u.stops[t.Storage] = true
	}
	return true
}

func (m *model) withdraw(t dag.Withdraw) bool {
	u, name := m.updates[t.Update], t.Storages[0]
	if u == nil {
		return false
	}
	switch u.outcomes[name] {
	case dag.Planned, dag.Staging, dag.Staged, dag.Held, dag.Announced:
	default:
		return false
	}
	if s := m.storages[name]; s != nil && s.pending != nil && s.pending.Update == t.Update {
		s.pending = nil
	}
	u.set(name, dag.Withdrawn)
	return true
}

// giveUp gives up the update that a storage waits for, unless it is a given one.
func (m *model) giveUp(storage string, but dag.UpdateID) {
	p := m.storages[storage].pending
	if p != nil && !p.Rollback && p.Update != but {
		m.updates[p.Update].set(storage, dag.Aborted)
	}
	m.storages[storage].pending = nil
}

func (m *model) switchTo(t dag.Switch, minute int, was content) bool {
	u, s := m.updates[t.Update], m.storages[t.Storage]
	if u == nil || s == nil || s.open != t.Head || !m.layer(u.to) || m.moved(t.Storage, t.Update) || m.same(s.now.base, m.layers[u.to]) ||
		u.outcomes[t.Storage] == dag.Withdrawn {
		return false
	}
	before, own := s.now, s.now.own
	switch ready, by := m.ready(t), m.updates[t.Ahead]; {
	case t.Ahead != 0 && (ready == nil || by.to != u.to):
		return false
	case t.Ahead != 0: // what is in the open node, nothing, is not seen again
		before.own, own = ready.before, ready.own
		if by != u {
			by.set(t.Storage, dag.Aborted)
		}
	case t.Delta != 0:
		own = own.plus(m.create(t.Delta))
		m.delta[t.Delta] = true
	}
	m.giveUp(t.Storage, t.Update)
	s.points = append(s.points, modelPoint{update: t.Update, view: before, minute: minute, was: was})
	m.move(s, t.Open, view{base: m.layers[u.to], own: own})
	u.set(t.Storage, dag.Applied)
	m.fulfil(t.Storage, u)
	m.unstage(t.Storage)
	return true
}

// fulfil gives up the other updates that lead where one has moved a storage, and that nobody has asked for.
func (m *model) fulfil(storage string, by *modelUpdate) {
	for _, u := range m.updates {
		same := u.to == by.to || m.layer(u.to) && m.same(m.layers[u.to], m.layers[by.to])
		if u != by && same && (u.outcomes[storage] == dag.Announced || u.stops[storage]) {
			u.set(storage, dag.Aborted)
		}
	}
}

// ready returns what is staged ahead for a storage that is to be switched, nil if it is not what is asked for.
func (m *model) ready(t dag.Switch) *modelStaged {
	by := m.updates[t.Ahead]
	if by == nil {
		return nil
	}
	if s := by.staged[t.Storage]; s.open == t.Head && s.delta == t.Delta && s.open != 0 {
		return &s
	}
	return nil
}

func (m *model) stage(t dag.Stage) bool {
	u, s := m.updates[t.Update], m.storages[t.Storage]
	if u == nil || s == nil || u.outcomes[t.Storage] != dag.Staging || s.open != t.Head || !m.layer(u.to) ||
		!m.same(s.now.base, m.layers[u.from]) {
		return false
	}
	ready := modelStaged{open: t.Open, delta: t.Delta, before: s.now.own, own: s.now.own}
	if t.Delta != 0 {
		ready.own = ready.own.plus(m.create(t.Delta))
		m.delta[t.Delta] = true
	}
	s.open, s.now.own = t.Open, s.now.own.plus(m.create(t.Open))
	m.unstage(t.Storage)
	u.outcomes[t.Storage], u.staged[t.Storage] = dag.Staged, ready
	return true
}

func (m *model) proceed(t dag.Proceed) bool {
	u := m.updates[t.Update]
	if u == nil || !m.layer(u.to) || u.from != 0 && !m.layer(u.from) {
		return false
	}
	asked := func(name string) bool {
		return m.storages[name] != nil && (u.outcomes[name] == dag.Announced || u.stops[name])
	}
	names := t.Storages
	if len(names) == 0 {
		names = slices.DeleteFunc(slices.Sorted(maps.Keys(u.outcomes)), func(name string) bool { return !asked(name) })
	}
	if len(names) == 0 || slices.ContainsFunc(names, func(name string) bool { return !asked(name) }) {
		return false
	}
	for _, name := range names {
		delete(u.stops, name)
		if u.outcomes[name] == dag.Announced {
			u.outcomes[name] = dag.Staging
		}
	}
	return true
}

// unstage ends what was staged for a storage that has another open node now.
func (m *model) unstage(storage string) {
	for _, u := range m.updates {
		if ready, ok := u.staged[storage]; !ok || ready.open == m.storages[storage].open {
			continue
		}
		if u.stops[storage] {
			u.set(storage, dag.Announced)
		} else {
			u.set(storage, dag.Staging)
		}
	}
}

// move makes a storage go on from a view, and its key with it.
func (m *model) move(s *modelStorage, open dag.NodeID, v view) {
	s.open, s.now = open, view{base: v.base, own: v.own.plus(m.create(open))}
	if n := m.names[s.key]; n != nil {
		n.sees = v.base
	}
}

func (m *model) rollback(t dag.Rollback, minute int) bool {
	s := m.storages[t.Storage]
	if s == nil || s.open != t.Head || len(s.points) == 0 || s.points[len(s.points)-1].update != t.Update ||
		t.Awaited && !s.awaitsRollback(t.Update) {
		return false
	}
	last := len(s.points) - 1
	p := s.points[last]
	m.giveUp(t.Storage, t.Update)
	s.points = s.points[:last:last]
	if !t.Discard {
		s.aside = append(s.aside, modelPoint{update: t.Update, view: s.now, minute: minute})
	}
	v := p.view
	for _, id := range []dag.NodeID{t.Carried, t.Delta} {
		if id != 0 {
			v.own = v.own.plus(m.create(id))
		}
	}
	if t.Delta != 0 {
		m.delta[t.Delta] = true
	}
	m.move(s, t.Open, v)
	m.updates[t.Update].set(t.Storage, dag.RolledBack)
	m.unstage(t.Storage)
	return true
}

func (m *model) awaitRollback(t dag.AwaitRollback) bool {
	s := m.storages[t.Storage]
	if s == nil || len(s.points) == 0 || s.points[len(s.points)-1].update != t.Update ||
		t.Again && !s.awaitsRollback(t.Update) {
		return false
	}
	m.giveUp(t.Storage, t.Update)
	s.pending = &dag.Pending{Update: t.Update, Rollback: true, Carry: t.Carry, Discard: t.Discard}
	return true
}

func (m *model) endUpdate(t dag.EndUpdate) bool {
	u := m.updates[t.Update]
	if u == nil {
		return false
	}
	u.standing, u.retracted = false, u.retracted || t.Retract
	return true
}

func (m *model) place(t dag.Place) bool {
	s := m.storages[t.Storage]
	if s == nil || !s.follows {
		return false
	}
	if t.Layer != 0 {
		fresh := s.open == t.Head && s.now.own[0] == symbol(s.open) && len(s.points)+len(s.aside) == 0 && s.pending == nil
		if !fresh || !m.layer(t.Layer) || m.same(s.now.base, m.layers[t.Layer]) {
			return false
		}
		m.move(s, t.Open, view{base: m.layers[t.Layer]})
	}
	s.follows = false
	return true
}

func (m *model) withdrawRollback(t dag.WithdrawRollback) bool {
	s := m.storages[t.Storage]
	if s == nil || !s.awaitsRollback(t.Update) {
		return false
	}
	s.pending = nil
	return true
}

// awaitsRollback reports whether a storage waits for the rollback of an update.
func (s *modelStorage) awaitsRollback(update dag.UpdateID) bool {
	return s.pending != nil && s.pending.Rollback && s.pending.Update == update
}

func (m *model) merge(t dag.Merge) bool {
	if !m.mergeable(t.Lower, t.Upper) {
		return false
	}
	m.disk[t.Into] = m.disk[t.Lower].plus(m.disk[t.Upper]...)
	m.delta[t.Into] = m.delta[t.Lower] && m.delta[t.Upper]
	if sees, ok := m.layers[t.Upper]; ok {
		m.layers[t.Into] = sees
	}
	for _, id := range []dag.NodeID{t.Lower, t.Upper} {
		m.away[id] = true
		delete(m.layers, id)
		delete(m.unsynced, id)
	}
	for _, u := range m.updates {
		if u.from == t.Upper {
			u.from = t.Into
		}
		if u.to == t.Upper {
			u.to = t.Into
		}
	}
	return true
}

func (m *model) settle(t dag.Settle) bool {
	maps.DeleteFunc(m.unsynced, func(id dag.NodeID, _ bool) bool { return slices.Contains(t.Layers, id) })
	return true
}

func (m *model) quarantine(t dag.Quarantine) bool {
	if !m.exists(t.Node) {
		return false
	}
	m.damage[t.Node] = t.Reason
	return true
}

// write writes something in a container.
func (m *model) write(storage, what string) {
	s := m.storages[storage]
	m.disk[s.open] = m.disk[s.open].plus(what)
	s.now.own = s.now.own.plus(what)
}
