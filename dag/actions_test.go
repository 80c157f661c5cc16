// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// actions are what a machine does at random. Most of it is possible; what is not has to be refused.
func (x *machine) actions() map[string]func(*rapid.T) {
	actions := map[string]func(*rapid.T){
		"prepare": x.prepare, "view": x.view, "commit": x.commit, "remove": x.remove, "label": x.label, "bind": x.bind,
		"storage": x.storageOps, "update": x.beginUpdate, "record": x.record, "switch": x.switchTo, "await": x.await,
		"rollback": x.rollback, "merge": x.merge, "retire": x.retire, "condition": x.condition, "write": x.write,
		"merge all": x.mergeAll, "image": x.image, "update all": x.updateAll,
		"delta layers": x.deltaLayers, "withdraw": x.withdraw, "withdraw rollback": x.withdrawRollback, "rehome": x.rehome,
		"stage":      x.stageOrProceed,
		"renew":      x.renew,
		"end update": x.endUpdate, "place": x.place,
	}
	for name, action := range actions {
		actions[name] = func(t *rapid.T) {
			x.minute++
			action(t)
		}
	}
	return actions
}

// odd tells, now and then, to draw something that does not fit.
func odd(t *rapid.T, label string) bool { return rapid.IntRange(0, 24).Draw(t, "odd "+label) == 24 }

// pick draws one of the things that are wanted; when there is none, or now and then, it is anything.
func pick[V any](t *rapid.T, label string, m map[string]V, wanted func(V) bool) string {
	var fitting, all []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		all = append(all, k)
		if wanted(m[k]) {
			fitting = append(fitting, k)
		}
	}
	if len(fitting) == 0 || odd(t, label) {
		fitting = append(all, "none")
	}
	return rapid.SampledFrom(fitting).Draw(t, label)
}

func (x *machine) key(t *rapid.T, label string, kinds ...dag.NameKind) string {
	return pick(t, label, x.m.names, func(n *modelName) bool { return slices.Contains(kinds, n.kind) })
}

func (x *machine) storage(t *rapid.T, wanted func(*modelStorage) bool) string {
	return pick(t, "storage", x.m.storages, wanted)
}

func whatever[V any](V) bool { return true }

// head draws the open node of a storage, and now and then another one.
func (x *machine) head(t *rapid.T, storage string) dag.NodeID {
	s := x.m.storages[storage]
	if s == nil || odd(t, "head") {
		return dag.NodeID(rapid.IntRange(1, int(x.ids)+1).Draw(t, "head"))
	}
	return s.open
}

// layer draws a layer, and now and then some other node or none.
func (x *machine) layer(t *rapid.T, label string) dag.NodeID {
	strange := odd(t, label)
	ids := []dag.NodeID{}
	for _, n := range x.g.Nodes() {
		if n.Kind == dag.Layer || strange {
			ids = append(ids, n.ID)
		}
	}
	if strange || len(ids) == 0 {
		ids = append(ids, 0, x.ids+1)
	}
	return rapid.SampledFrom(ids).Draw(t, label)
}

func (x *machine) updateID(t *rapid.T, wanted func(*modelUpdate) bool) dag.UpdateID {
	var fitting []dag.UpdateID
	strange := odd(t, "update")
	for _, id := range slices.Sorted(maps.Keys(x.m.updates)) {
		if strange || wanted(x.m.updates[id]) {
			fitting = append(fitting, id)
		}
	}
	if strange || len(fitting) == 0 {
		fitting = append(fitting, x.update+1)
	}
	return rapid.SampledFrom(fitting).Draw(t, "update")
}

func chance(t *rapid.T, label string) bool { return rapid.Bool().Draw(t, label) }

func labels(t *rapid.T) map[string]string {
	return rapid.MapOfN(rapid.SampledFrom([]string{"a", "b"}), rapid.SampledFrom([]string{"1", "2"}), 0, 2).Draw(t, "labels")
}

func (x *machine) prepare(t *rapid.T) {
	key := free("k", x.m.names)
	if odd(t, "known key") {
		key = x.key(t, "key", dag.Active, dag.Committed)
	}
	do := dag.Prepare{Key: key, Kind: dag.Active, Parent: x.parent(t), Labels: labels(t), Open: x.node(), Now: x.now()}
	do.Follows = chance(t, "follows")
	x.try(t, do, x.m.prepare(do))
}

func (x *machine) view(t *rapid.T) {
	do := dag.Prepare{Key: free("v", x.m.names), Kind: dag.View, Parent: x.key(t, "parent", dag.Committed), Now: x.now()}
	x.try(t, do, x.m.prepare(do))
}

func (x *machine) commit(t *rapid.T) { x.commitKey(t, x.key(t, "key", dag.Active)) }

func (x *machine) commitKey(t *rapid.T, key string) {
	name := free("image", x.m.names)
	if odd(t, "known name") {
		name = x.key(t, "name", dag.Committed)
	}
	do := dag.Commit{
		Key: key, Name: name, Labels: labels(t),
		Origin:   rapid.SampledFrom([]string{"", "", "sha256:1", "sha256:2"}).Draw(t, "origin"),
		Unsynced: rapid.SampledFrom([]string{"", "boot"}).Draw(t, "unsynced"), Now: x.now(),
	}
	x.try(t, do, x.m.commit(do))
}

// image makes a layer with something in it.
func (x *machine) image(t *rapid.T) { x.imageOn(t, x.parent(t)) }

// imageOn makes a layer on another one and returns the name it was to have.
func (x *machine) imageOn(t *rapid.T, parent string) string {
	key, name := free("k", x.m.names), free("image", x.m.names)
	do := dag.Prepare{Key: key, Kind: dag.Active, Parent: parent, Open: x.node(), Now: x.now()}
	x.try(t, do, x.m.prepare(do))
	if x.m.names[key] != nil {
		x.writeTo(x.m.names[key].storage)
		x.commitKey(t, key)
	}
	return name
}

// deltaLayers updates the storages on a layer to two layers on it, of which containerd then forgets the names.
func (x *machine) deltaLayers(t *rapid.T) {
	parent := x.key(t, "parent", dag.Committed)
	one := x.imageOn(t, parent)
	two := x.imageOn(t, one)
	from, _ := x.g.Name(parent)
	to, _ := x.g.Name(two)
	x.updateTo(t, from.Node, to.Node)
	for _, name := range []string{two, one} {
		do := dag.Remove{Key: name, Now: x.now()}
		x.try(t, do, x.m.remove(do))
	}
}

// parent draws the name of a layer, or none.
func (x *machine) parent(t *rapid.T) string {
	if !slices.ContainsFunc(slices.Collect(maps.Values(x.m.names)), func(n *modelName) bool { return n.kind == dag.Committed }) ||
		rapid.IntRange(0, 4).Draw(t, "without parent") == 4 {
		return ""
	}
	return x.key(t, "parent", dag.Committed)
}

func (x *machine) remove(t *rapid.T) {
	do := dag.Remove{Key: x.key(t, "key", dag.Active, dag.View, dag.Committed), Now: x.now()}
	x.try(t, do, x.m.remove(do))
}

func (x *machine) label(t *rapid.T) {
	key := x.key(t, "key", dag.Active, dag.View, dag.Committed)
	if chance(t, "identify") {
		do := dag.Identify{Key: key}
		x.try(t, do, x.m.identify(do))
		return
	}
	do := dag.Relabel{Key: key, Labels: labels(t), Now: x.now()}
	x.try(t, do, x.m.relabel(do))
}

func (x *machine) bind(t *rapid.T) {
	key := x.key(t, "key", dag.Active)
	storage := free("s", x.m.storages)
	if chance(t, "known storage") {
		storage = x.storage(t, func(s *modelStorage) bool { return !s.anonymous })
	}
	do := dag.Bind{Key: key, Storage: storage, Stay: chance(t, "stay"), Now: x.now()}
	if s := x.m.storages[storage]; s != nil && chance(t, "take over") {
		do.Holder = s.key
	}
	x.try(t, do, x.m.bind(do))
}

// storageOps ends a storage or begins one from another.
func (x *machine) storageOps(t *rapid.T) {
	name := x.storage(t, whatever)
	if chance(t, "end") {
		do := dag.RemoveStorage{Name: name, Now: x.now()}
		x.try(t, do, x.m.removeStorage(do))
		return
	}
	target := free("s", x.m.storages)
	if odd(t, "known target") {
		target = x.storage(t, whatever)
	}
	do := dag.Fork{
		Source: name, Target: target, Head: x.head(t, name), SourceOpen: x.node(), TargetOpen: x.node(), Now: x.now(),
	}
	x.try(t, do, x.m.fork(do))
}

// beginUpdate begins an update of the base of some storage, or of any layer.
func (x *machine) beginUpdate(t *rapid.T) {
	do := dag.BeginUpdate{ID: x.update + 1, From: x.layer(t, "from"), To: x.layer(t, "to"), Until: until(t), Now: x.now()}
	do.Cause = rapid.SampledFrom([]dag.Cause{dag.ByCommand, dag.ByBind, dag.ByCommit}).Draw(t, "cause")
	do.Standing = rapid.IntRange(0, 3).Draw(t, "standing") == 3
	for range rapid.IntRange(0, 3).Draw(t, "storages") {
		name := x.storage(t, whatever)
		do.Storages = append(do.Storages, name)
		if s, ok := x.g.Storage(name); ok {
			do.From = x.g.Base(s)
		}
	}
	possible := x.m.beginUpdate(do)
	x.try(t, do, possible)
	if possible {
		x.update++
	}
}

// updateAll updates every storage on some base, like a node does.
func (x *machine) updateAll(t *rapid.T) { x.updateTo(t, x.layer(t, "from"), x.layer(t, "to")) }

func (x *machine) updateTo(t *rapid.T, from, to dag.NodeID) {
	do := dag.BeginUpdate{ID: x.update + 1, From: from, To: to, Until: until(t), Now: x.now()}
	for _, s := range x.g.Storages() {
		if x.g.SameBase(x.g.Base(s), do.From) {
			do.Storages = append(do.Storages, s.Name)
		}
	}
	possible := x.m.beginUpdate(do)
	x.try(t, do, possible)
	if !possible {
		return
	}
	x.update++
	for _, name := range do.Storages {
		if do.Until == dag.Staged {
			x.stage(t, do.ID, name)
			continue
		}
		x.apply(t, do.ID, name)
	}
}

// until draws how far an update goes by itself.
func until(t *rapid.T) dag.State {
	if odd(t, "an odd end") {
		return dag.Held
	}
	return rapid.SampledFrom([]dag.State{"", "", dag.Staged, dag.Staged, dag.Announced}).Draw(t, "until")
}

// stageOrProceed stages an update ahead of time, or has one that was announced or staged go on.
func (x *machine) stageOrProceed(t *rapid.T) {
	if chance(t, "stage") {
		update, storage := x.moving(t)
		x.stage(t, update, storage)
		return
	}
	update := x.updateID(t, func(u *modelUpdate) bool {
		return len(u.stops) > 0 || slices.Contains(slices.Collect(maps.Values(u.outcomes)), dag.Announced)
	})
	do := dag.Proceed{Update: update, Now: x.now()}
	if odd(t, "one storage") {
		do.Storages = []string{x.storage(t, whatever)}
	}
	x.try(t, do, x.m.proceed(do))
}

func (x *machine) stage(t *rapid.T, update dag.UpdateID, storage string) {
	do := dag.Stage{Update: update, Storage: storage, Head: x.head(t, storage), Open: x.node(), Now: x.now()}
	if chance(t, "side effects") {
		do.Delta = x.node()
	}
	x.try(t, do, x.m.stage(do))
}

// renew has the layer of an update come again, as another node of the same layer where there is one, for storages that it does
// nothing with.
func (x *machine) renew(t *rapid.T) {
	id := x.updateID(t, (*modelUpdate).renewable)
	u := x.m.updates[id]
	do := dag.Renew{Update: id, To: x.layer(t, "to"), Until: until(t), Now: x.now()}
	if u != nil && !odd(t, "another layer") {
		do.To = u.to
		for _, n := range x.g.Nodes() {
			if n.Kind == dag.Layer && x.g.SameBase(n.ID, u.to) {
				do.To = n.ID
			}
		}
	}
	for range rapid.IntRange(0, 2).Draw(t, "storages") {
		name := x.storage(t, whatever)
		if u == nil || u.idle(name) {
			do.Storages = append(do.Storages, name)
		}
	}
	if do.Until == dag.Held {
		do.Until = dag.Announced
	}
	x.try(t, do, x.m.renew(do))
}

// moving draws an update and one of its storages that still has to move, or any.
func (x *machine) moving(t *rapid.T) (dag.UpdateID, string) {
	id := x.updateID(t, (*modelUpdate).underWay)
	u := x.m.updates[id]
	if u == nil || odd(t, "another storage") {
		return id, x.storage(t, whatever)
	}
	return id, pick(t, "storage", u.outcomes, func(s dag.State) bool { return !s.Final() })
}

func (x *machine) record(t *rapid.T) {
	update, storage := x.moving(t)
	do := dag.Record{
		Update: update, Storage: storage, Now: x.now(), Reasons: []string{"reason"},
		State: rapid.SampledFrom([]dag.State{
			dag.Planned, dag.Planned, dag.Planned, dag.Staging, dag.Staged, dag.Held, dag.Aborted, dag.Applied, dag.RolledBack,
			dag.Withdrawn,
		}).Draw(t, "state"),
	}
	x.try(t, do, x.m.record(do))
}

func (x *machine) switchTo(t *rapid.T) {
	update, storage := x.moving(t)
	x.apply(t, update, storage)
}

func (x *machine) apply(t *rapid.T, update dag.UpdateID, storage string) {
	do := dag.Switch{Update: update, Storage: storage, Head: x.head(t, storage), Open: x.node(), Now: x.now()}
	by := x.staged(t, storage)
	switch {
	case by != 0:
		do.Ahead, do.Delta = by, x.m.updates[by].staged[storage].delta
	case odd(t, "nothing that is staged"):
		do.Ahead, do.Delta = x.updateID(t, whatever), x.node()
	case chance(t, "side effects"):
		do.Delta = x.node()
	}
	var was content
	if s, ok := x.g.Storage(storage); ok {
		was = written(x.seenIn(s.Head))
	}
	x.try(t, do, x.m.switchTo(do, x.minute, was))
}

// staged draws an update of which something is ready for a storage in which nothing was written since; 0 for none.
func (x *machine) staged(t *rapid.T, storage string) dag.UpdateID {
	s := x.m.storages[storage]
	if s == nil || len(x.m.disk[s.open]) > 1 || !chance(t, "take what is staged") {
		return 0
	}
	for _, id := range slices.Sorted(maps.Keys(x.m.updates)) {
		if x.m.updates[id].staged[storage].open != 0 {
			return id
		}
	}
	return 0
}

// written is what is seen, without what only reports that there are nodes.
func written(v view) content {
	return slices.DeleteFunc(v.all(), func(s string) bool { return strings.HasPrefix(s, "n") })
}

// updated draws a storage that can be rolled back, and the update.
func (x *machine) updated(t *rapid.T) (string, dag.UpdateID) {
	name := x.storage(t, func(s *modelStorage) bool { return len(s.points) > 0 })
	s := x.m.storages[name]
	if s == nil || len(s.points) == 0 || odd(t, "another update") {
		return name, x.updateID(t, whatever)
	}
	return name, s.points[len(s.points)-1].update
}

// rollback rolls back. After an exact rollback exactly that is seen which was seen before the update.
func (x *machine) rollback(t *rapid.T) {
	name, update := x.updated(t)
	do := dag.Rollback{Update: update, Storage: name, Head: x.head(t, name), Open: x.node(), Now: x.now()}
	if rapid.IntRange(0, 2).Draw(t, "carry over") == 0 {
		do.Carried = x.node()
		if chance(t, "side effects") {
			do.Delta = x.node()
		}
	}
	do.Discard = do.Carried == 0 && chance(t, "discard")
	if s := x.m.storages[name]; s != nil && s.awaitsRollback(update) || odd(t, "awaited") {
		do.Awaited = chance(t, "awaited")
	}
	var was content
	if s := x.m.storages[name]; s != nil && len(s.points) > 0 {
		was = s.points[len(s.points)-1].was
	}
	possible := x.m.rollback(do, x.minute)
	x.try(t, do, possible)
	if possible && do.Carried == 0 {
		equal(t, written(x.seenIn(do.Open)), was, "what is seen in storage %q after an exact rollback of %v", name, update)
	}
}

func (x *machine) endUpdate(t *rapid.T) {
	do := dag.EndUpdate{
		Update: x.updateID(t, func(u *modelUpdate) bool { return !u.retracted }), Retract: chance(t, "retract"), Now: x.now(),
	}
	x.try(t, do, x.m.endUpdate(do))
}

// place starts a container, which moves its storage where updates lead, or to any layer.
func (x *machine) place(t *rapid.T) {
	name := x.storage(t, func(s *modelStorage) bool { return s.follows })
	do := dag.Place{Storage: name, Head: x.head(t, name), Open: x.node(), Now: x.now()}
	if s, ok := x.g.Storage(name); ok {
		if lead, ok := x.g.Leads().From(x.g.Base(s)); ok {
			do.Layer, do.Update = lead.To, lead.Update
		} else if chance(t, "any layer") {
			do.Layer = x.layer(t, "layer")
		}
	}
	x.try(t, do, x.m.place(do))
}

func (x *machine) withdraw(t *rapid.T) {
	update, storage := x.moving(t)
	do := dag.Withdraw{Update: update, Storages: []string{storage}, Reason: "reason", Now: x.now()}
	x.try(t, do, x.m.withdraw(do))
}

// rehome takes one of the steps by which a storage goes from one key of a container to another.
func (x *machine) rehome(t *rapid.T) {
	waits := func(s *modelStorage) bool { return s.rehoming }
	switch rapid.IntRange(0, 2).Draw(t, "step") {
	case 0:
		do := dag.BeginRehoming{Storage: x.storage(t, whatever), Namespace: "n", Container: "c"}
		x.try(t, do, x.m.beginRehoming(do))
	case 1:
		do := dag.Rehome{Key: x.key(t, "key", dag.Active), Storage: x.storage(t, waits), Now: x.now()}
		x.try(t, do, x.m.rehome(do))
	default:
		do := dag.EndRehoming{Storage: x.storage(t, waits), Now: x.now()}
		x.try(t, do, x.m.endRehoming(do))
	}
}

func (x *machine) await(t *rapid.T) {
	name, update := x.updated(t)
	do := dag.AwaitRollback{Update: update, Storage: name, Carry: chance(t, "carry over"), Discard: chance(t, "discard"), Reason: "in use", Now: x.now()}
	if s := x.m.storages[name]; s != nil && s.awaitsRollback(update) || odd(t, "again") {
		do.Again = chance(t, "again")
	}
	x.try(t, do, x.m.awaitRollback(do))
}

func (x *machine) withdrawRollback(t *rapid.T) {
	name := x.storage(t, func(s *modelStorage) bool { return s.pending != nil && s.pending.Rollback })
	update := x.updateID(t, whatever)
	if s := x.m.storages[name]; s != nil && s.pending != nil && !odd(t, "another update") {
		update = s.pending.Update
	}
	do := dag.WithdrawRollback{Update: update, Storage: name, Reason: "reason", Now: x.now()}
	x.try(t, do, x.m.withdrawRollback(do))
}

// merge merges a node into the one below, or any two.
func (x *machine) merge(t *rapid.T) {
	ids := []dag.NodeID{0}
	for _, n := range x.g.Nodes() {
		ids = append(ids, n.ID)
	}
	upper := rapid.SampledFrom(ids).Draw(t, "upper")
	n, _ := x.g.Node(upper)
	lower := n.Parent
	if odd(t, "any lower") {
		lower = rapid.SampledFrom(ids).Draw(t, "lower")
	}
	x.mergePair(t, dag.Pair{Lower: lower, Upper: upper})
}

func (x *machine) mergePair(t *rapid.T, p dag.Pair) {
	do := dag.Merge{Pair: p, Into: x.node(), Now: x.now()}
	x.try(t, do, x.m.merge(do))
}

// mergeAll merges until nothing can be merged any longer. Nobody sees any of it.
func (x *machine) mergeAll(t *rapid.T) {
	for pairs := x.g.Mergeable(); len(pairs) > 0; pairs = x.g.Mergeable() {
		x.mergePair(t, rapid.SampledFrom(pairs).Draw(t, "pair"))
		x.check(t)
	}
}

func (x *machine) retire(t *rapid.T) {
	before := x.minute - rapid.IntRange(-1, 40).Draw(t, "minutes kept")
	if s := x.m.storages["s1"]; s != nil && len(s.points) > 0 && chance(t, "to the minute") {
		before = s.points[0].minute
	}
	do := dag.Retire{Storage: x.storage(t, whatever), Keep: rapid.IntRange(-1, 3).Draw(t, "keep"), Before: epoch.Add(minutes(before))}
	s, ok := x.g.Storage(do.Storage)
	if all := do.Forgets(s); ok && len(all) > 0 {
		one := do
		one.Steps = 1
		first := one.Forgets(s)
		newer := func(p dag.Point) bool { return p.Time.Before(first[0].Time) }
		equal(t, len(first), 1, "one step forgets of %d", len(all))
		equal(t, slices.Contains(all, first[0]) && !slices.ContainsFunc(all, newer), true, "one step forgets the oldest")
	}
	forgets := len(do.Forgets(s))
	kept := len(s.Points) + len(s.Aside)
	x.try(t, do, x.m.retire(do, before))
	s, _ = x.g.Storage(do.Storage)
	equal(t, kept-forgets, len(s.Points)+len(s.Aside), "states of storage %q", do.Storage)
}

// condition settles or quarantines nodes.
func (x *machine) condition(t *rapid.T) {
	id := dag.NodeID(rapid.IntRange(1, int(x.ids)+1).Draw(t, "node"))
	if chance(t, "settle") {
		do := dag.Settle{Layers: append(x.g.Unsynced(), id)}
		x.try(t, do, x.m.settle(do))
		return
	}
	do := dag.Quarantine{Node: id, Reason: rapid.SampledFrom([]string{"", "", "lost"}).Draw(t, "reason")}
	x.try(t, do, x.m.quarantine(do))
}

// write writes something in a container, which is no transformation of the graph.
func (x *machine) write(t *rapid.T) {
	if name := x.storage(t, whatever); x.m.storages[name] != nil {
		x.writeTo(name)
	}
}

func (x *machine) writeTo(storage string) {
	x.writes++
	x.m.write(storage, fmt.Sprintf("w%d", x.writes))
}
