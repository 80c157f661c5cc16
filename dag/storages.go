// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
)

// Bind makes a storage the writable state of an active key. A storage that does not exist begins as what the key has
// written so far; one that does must stand on the base of the key already (see [Switch]) and must be free: held by
// nobody, by this key, or by Holder, which the caller has found to use it no longer. With Stay a storage that stands on
// another base than the key keeps its base.
type Bind struct {
	Key     string
	Storage string
	Holder  string
	// Stay binds the key to the storage where that stands, although the key was prepared on another base.
	Stay bool
	// Asked is the base that the container asks for; nil leaves what is on record.
	Asked *Asked
	// Container is what is known of the container; nil leaves what is on record.
	Container *Container
	Now       time.Time
}

func (t Bind) transform(d *draft) error {
	n, ok := d.name(t.Key)
	if !ok {
		return fmt.Errorf("snapshot %q: %w", t.Key, errdefs.ErrNotFound)
	}
	if n.Kind != Active {
		return fmt.Errorf("snapshot %q is not active: %w", t.Key, errdefs.ErrFailedPrecondition)
	}
	if err := validStorage(t.Storage); err != nil {
		return err
	}
	own, ok := d.storage(n.Storage)
	if !ok || !own.Anonymous && own.Name != t.Storage {
		return fmt.Errorf("snapshot %q is bound to storage %q already: %w", n.Key, n.Storage,
			errdefs.ErrFailedPrecondition)
	}
	s, ok := d.storage(t.Storage)
	if !ok {
		s = d.rename(own, t.Storage)
	} else if err := t.reuse(d, s, own, &n); err != nil {
		return err
	}
	s.Key = t.Key
	if t.Asked != nil {
		s.Asked = t.Asked
	}
	if t.Container != nil {
		s.Container = t.Container
	}
	n.Storage, n.Identity, n.Updated = s.Name, Bound, t.Now
	d.putStorage(s)
	d.putName(n)
	return nil
}

// reuse ends the own storage of a key in favour of one that exists, and moves the key to where that stands.
func (t Bind) reuse(d *draft, s, own Storage, n *Name) error {
	if s.Key != "" && s.Key != t.Key && s.Key != t.Holder {
		return fmt.Errorf("storage %q is in use by %q: %w", s.Name, s.Key, errdefs.ErrFailedPrecondition)
	}
	head, _ := d.node(s.Head)
	if !t.Stay && !sameBase(d.node, head.Base, n.Node) {
		return fmt.Errorf("storage %q stands on %v, not on %v: %w", s.Name, head.Base, n.Node,
			errdefs.ErrFailedPrecondition)
	}
	if own.Anonymous {
		d.end(own, fmt.Sprintf("snapshot %q was bound to storage %q", n.Key, s.Name), t.Now)
	}
	n.Node = head.Base
	return nil
}

// rename gives an anonymous storage a name of its own, under which its updates know it from then on.
func (d *draft) rename(s Storage, name string) Storage {
	for u := range merged(d.Updates, d.g.updates) {
		if _, ok := u.Outcomes[s.Name]; ok {
			d.putUpdate(u.Renamed(s.Name, name))
		}
	}
	d.Storages[s.Name] = nil
	s.Name, s.Anonymous = name, false
	return s
}

// Release takes a storage from the key that holds it, before it is moved for another one: the key stays on the base
// that it was prepared on, and has to be bound again when its container starts.
type Release struct{ Storage string }

func (t Release) transform(d *draft) error {
	s, ok := d.storage(t.Storage)
	if !ok {
		return fmt.Errorf("storage %q: %w", t.Storage, errdefs.ErrNotFound)
	}
	if s.Anonymous {
		return fmt.Errorf("storage %q has no name and ends with its key: %w", t.Storage, errdefs.ErrFailedPrecondition)
	}
	s.Key = ""
	d.putStorage(s)
	return nil
}

// RemoveStorage ends a storage, and gives up the updates that are not done with it. No key may refer to it any longer.
type RemoveStorage struct {
	Name string
	Now  time.Time
}

func (t RemoveStorage) transform(d *draft) error {
	s, ok := d.storage(t.Name)
	if !ok {
		return fmt.Errorf("storage %q: %w", t.Name, errdefs.ErrNotFound)
	}
	if keys := d.keysOf(s); len(keys) > 0 {
		return fmt.Errorf("storage %q belongs to %s, remove that first: %w", t.Name, strings.Join(keys, ", "),
			errdefs.ErrFailedPrecondition)
	}
	d.end(s, "the storage was removed", t.Now)
	return nil
}

// keysOf returns the keys that refer to a storage. Only its own can refer to an anonymous one.
func (d *draft) keysOf(s Storage) (keys []string) {
	if s.Anonymous {
		if _, ok := d.name(s.Key); ok {
			keys = append(keys, s.Key)
		}
		return keys
	}
	for n := range merged(d.Names, d.g.names) {
		if n.Storage == s.Name {
			keys = append(keys, n.Key)
		}
	}
	slices.Sort(keys)
	return keys
}

// end deletes a storage, and gives up every update that is not done with it.
func (d *draft) end(s Storage, reason string, now time.Time) {
	for u := range merged(d.Updates, d.g.updates) {
		o, ok := u.Outcomes[s.Name]
		if !ok || o.Gone {
			continue
		}
		updated := u.Updated
		if !o.State.Final() || o.State == Announced {
			o, updated = Outcome{State: Aborted, Reasons: []string{reason}, Time: now}, now
		}
		o.Gone = true
		u = u.With(s.Name, o)
		u.Updated = updated
		d.putUpdate(u)
	}
	d.Storages[s.Name] = nil
}

// Configure replaces what servicing is told for a storage.
type Configure struct {
	Storage  string
	Settings json.RawMessage // nil for nothing
}

func (t Configure) transform(d *draft) error {
	s, ok := d.storage(t.Storage)
	if !ok {
		return fmt.Errorf("storage %q: %w", t.Storage, errdefs.ErrNotFound)
	}
	s.Settings = slices.Clone(t.Settings)
	d.putStorage(s)
	return nil
}

// Fork begins a storage that shares all that another one has written so far. Both go on with an empty node of their
// own. The new storage has the settings of the source, no history of its own, and no holder.
type Fork struct {
	Source, Target         string
	Head                   NodeID // the open node of the source, as the caller saw and synced it
	SourceOpen, TargetOpen NodeID
	Now                    time.Time
}

func (t Fork) transform(d *draft) error {
	if err := validStorage(t.Target); err != nil {
		return err
	}
	s, ok := d.storage(t.Source)
	if !ok {
		return fmt.Errorf("storage %q: %w", t.Source, errdefs.ErrNotFound)
	}
	if _, ok := d.storage(t.Target); ok {
		return fmt.Errorf("storage %q: %w", t.Target, errdefs.ErrAlreadyExists)
	}
	head, err := d.freeze(s, t.Head)
	if err != nil {
		return err
	}
	for _, id := range []NodeID{t.SourceOpen, t.TargetOpen} {
		if err := d.add(Node{ID: id, Kind: Persisted, Parent: head.ID, Base: head.Base, Created: t.Now}); err != nil {
			return err
		}
	}
	s.Head = t.SourceOpen
	d.putStorage(s)
	d.putStorage(Storage{Name: t.Target, Head: t.TargetOpen, Settings: s.Settings, Created: t.Now})
	return nil
}

// Retire forgets the oldest states of a storage beyond the number to keep, and those from before a time, but not the
// one that the storage waits to be rolled back to. What only they needed becomes mergeable, or unreachable.
type Retire struct {
	Storage string
	Keep    int
	Before  time.Time
	// Steps is how many states are forgotten at most, the oldest first; 0 means all.
	Steps int
}

func (t Retire) transform(d *draft) error {
	s, ok := d.storage(t.Storage)
	if !ok {
		return fmt.Errorf("storage %q: %w", t.Storage, errdefs.ErrNotFound)
	}
	points, aside := t.count(s)
	s.Points, s.Aside = without(s.Points, points), without(s.Aside, aside)
	d.putStorage(s)
	return nil
}

// without returns states without the oldest ones.
func without(points []Point, n int) []Point {
	if n == len(points) {
		return nil
	}
	return slices.Clone(points[n:])
}

// Forgets returns the states that would be forgotten of a storage.
func (t Retire) Forgets(s Storage) []Point {
	points, aside := t.count(s)
	return slices.Concat(s.Points[:points], s.Aside[:aside])
}

// count returns how many of the oldest rollback points, and of the oldest states set aside, are forgotten.
func (t Retire) count(s Storage) (points, aside int) {
	allPoints, allAside := len(s.Points)-len(t.points(s)), len(s.Aside)-len(t.kept(s.Aside))
	if t.Steps <= 0 {
		return allPoints, allAside
	}
	for points+aside < min(t.Steps, allPoints+allAside) {
		if aside == allAside || points < allPoints && !s.Aside[aside].Time.Before(s.Points[points].Time) {
			points++
		} else {
			aside++
		}
	}
	return points, aside
}

func (t Retire) points(s Storage) []Point {
	points := t.kept(s.Points)
	if len(points) == 0 && s.Pending != nil && s.Pending.Rollback {
		return slices.Clone(s.Points[len(s.Points)-1:])
	}
	return points
}

func (t Retire) kept(points []Point) []Point {
	points = points[max(0, len(points)-max(0, t.Keep)):]
	first := slices.IndexFunc(points, func(p Point) bool { return !p.Time.Before(t.Before) })
	if first < 0 {
		return nil
	}
	return slices.Clone(points[first:])
}

// freeze makes the open node of a storage immutable, provided it is still the one that the caller knows.
func (d *draft) freeze(s Storage, head NodeID) (Node, error) {
	n, ok := d.node(s.Head)
	if !ok {
		return Node{}, fmt.Errorf("%v of storage %q: %w", s.Head, s.Name, errdefs.ErrNotFound)
	}
	if n.ID != head {
		return Node{}, fmt.Errorf("storage %q has moved on from %v to %v: %w", s.Name, head, n.ID, errdefs.ErrAborted)
	}
	n.Frozen = true
	d.putNode(n)
	return n, nil
}

// follow moves the key that holds a storage to the base on which the storage now stands.
func (d *draft) follow(s Storage, base NodeID, now time.Time) {
	n, ok := d.name(s.Key)
	if !ok {
		return
	}
	n.Node, n.Updated = base, now
	d.putName(n)
}
