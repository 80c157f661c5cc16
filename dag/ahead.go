// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag

import (
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"
)

// What is staged ahead of time: the side effects of an update are determined and written while its storage stays where
// it is. The storage gets an empty open node of its own for that; what is staged is good as long as that stays empty.

// begun returns the outcome with which an update begins for a storage.
func begun(until State, now time.Time) Outcome {
	if until == Announced {
		return Outcome{State: Announced, Time: now}
	}
	return Outcome{State: Staging, Until: until, Time: now}
}

// Stage records what an update would come to for a storage, which does not move: its open node is frozen, an empty one
// follows on the same base, and the delta storage, if there are side effects, stands ready beside that. An update that
// was asked to go on in the meantime, see [Proceed], still has to move the storage. It fails with errdefs.ErrAborted
// when the update was withdrawn for the storage.
type Stage struct {
	Update       UpdateID
	Storage      string
	Head         NodeID // the open node whose content the side effects were determined from
	Delta        NodeID // 0 when there are no side effects
	Open         NodeID
	Report       string
	FixesWaiting int // how many fixes of the new base wait
	Now          time.Time
}

func (t Stage) transform(d *draft) error {
	u, s, err := d.updateOf(t.Update, t.Storage)
	if err != nil {
		return err
	}
	o := u.Outcomes[s.Name]
	switch {
	case o.State == Withdrawn:
		return withdrawnError(s.Name, u)
	case o.State != Staging:
		return fmt.Errorf("update %v of storage %q is not to be staged, it is %s: %w", u.ID, s.Name, o.State,
			errdefs.ErrFailedPrecondition)
	}
	if _, ok := d.node(u.To); !ok {
		return fmt.Errorf("new base %v of update %v is gone: %w", u.To, u.ID, errdefs.ErrNotFound)
	}
	head, err := d.freeze(s, t.Head)
	if err != nil {
		return err
	}
	if !startsAt(d.node, u, head.Base) {
		return fmt.Errorf("storage %q stands on %v, not on %v: %w", s.Name, head.Base, u.From,
			errdefs.ErrFailedPrecondition)
	}
	if t.Delta != 0 {
		if err := d.add(Node{ID: t.Delta, Kind: Delta, Parent: head.ID, Base: u.To, Frozen: true,
			Created: t.Now}); err != nil {
			return err
		}
	}
	if err := d.add(Node{ID: t.Open, Kind: Persisted, Parent: head.ID, Base: head.Base, Created: t.Now}); err != nil {
		return err
	}
	s.Head = t.Open
	d.putStorage(s)
	d.putUpdate(u.With(s.Name, Outcome{
		State: Staged, Until: o.Until, Delta: t.Delta, Open: t.Open, Report: t.Report, FixesWaiting: t.FixesWaiting,
		Time: t.Now,
	}))
	return nil
}

// Proceed has an update that was announced or staged go on to be applied. Storages are those that it is to move; all
// that are announced or staged when empty. It fails with errdefs.ErrFailedPrecondition when there is none, or for a
// storage of which the update is neither.
type Proceed struct {
	Update   UpdateID
	Storages []string
	Now      time.Time
}

func (t Proceed) transform(d *draft) error {
	u, ok := d.update(t.Update)
	if !ok {
		return fmt.Errorf("update %v: %w", t.Update, errdefs.ErrNotFound)
	}
	if err := d.layersOf(u); err != nil {
		return err
	}
	names := t.Storages
	if len(names) == 0 {
		for name, o := range u.Outcomes {
			if _, there := d.storage(name); there && o.proceeds() {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("update %v is %s, and neither announced nor staged for any storage: %w", u.ID, u.State,
			errdefs.ErrFailedPrecondition)
	}
	for _, name := range names {
		o := u.Outcomes[name]
		if _, ok := d.storage(name); !ok || !o.proceeds() {
			return fmt.Errorf("update %v is neither announced nor staged for storage %q: %w", u.ID, name,
				errdefs.ErrFailedPrecondition)
		}
		o.Until, o.Reasons, o.Time = "", nil, t.Now
		if o.State == Announced {
			o.State = Staging
		}
		u = u.With(name, o)
	}
	d.putUpdate(u)
	return nil
}

// Announced returns the storages, by name, for which an update waits to be asked for and nothing was staged.
func (u Update) Announced() (names []string) {
	for name, o := range u.Outcomes {
		if o.State == Announced && !o.Gone {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Awaits reports whether the side effects on a storage are to be staged once that is free: it was in use when its turn
// came.
func (o Outcome) Awaits() bool { return o.State == Announced && o.Until == Staged }

// ToStage returns the updates whose side effects are to be staged once a storage is free, see [Outcome.Awaits]: for
// each such storage the latest one that begins where it stands.
func (g *Graph) ToStage() map[string]UpdateID {
	waiting := map[string]UpdateID{}
	for _, u := range g.Updates() {
		if u.Cause != ByCommit {
			continue
		}
		for name, o := range u.Outcomes {
			if s, ok := g.storages[name]; ok && o.Awaits() && u.StartsAt(g, g.Base(s)) {
				waiting[name] = u.ID
			}
		}
	}
	return waiting
}

// Ahead reports whether what the update comes to is ready.
func (o Outcome) Ahead() bool { return o.State == Staged && o.Open != 0 }

// proceeds reports whether an update waits, for this storage, to be asked for.
func (o Outcome) proceeds() bool { return o.State == Announced || o.Until == Staged }

// Underway reports whether the update is at work with the storage, or was when the daemon ended.
func (o Outcome) Underway() bool { return o.State == Staging || o.State == Staged && o.Until != Staged }

// Underway reports whether the update is at work with some storage, or was when the daemon ended.
func (u Update) Underway() bool {
	for _, o := range u.Outcomes {
		if o.Underway() {
			return true
		}
	}
	return false
}

// Staged returns the update that has side effects ready for moving a storage to a base, and what it came to.
func (g *Graph) Staged(s Storage, to NodeID) (id UpdateID, o Outcome, ok bool) {
	for _, u := range g.Updates() {
		if o := u.Outcomes[s.Name]; o.Ahead() && o.Open == s.Head && u.To == to {
			return u.ID, o, true
		}
	}
	return 0, Outcome{}, false
}

// Ready reports whether what was staged ahead for a storage is there, and for its head.
func (u Update) Ready(node NodeLookup, s Storage, o Outcome) bool {
	open, _ := node(o.Open)
	delta, there := node(o.Delta)
	return s.Head == o.Open && (o.Delta == 0 || there && delta.Kind == Delta && delta.Base == u.To &&
		delta.Parent == open.Parent)
}

// takeStaged takes what was staged ahead for a storage that moves now.
func (d *draft) takeStaged(t Switch, u Update) error {
	by, ok := d.update(t.Ahead)
	o := by.Outcomes[t.Storage]
	if !ok || !o.Ahead() || o.Open != t.Head || o.Delta != t.Delta || by.To != u.To {
		return fmt.Errorf("update %v has nothing staged for storage %q: %w", t.Ahead, t.Storage, errdefs.ErrAborted)
	}
	if by.ID != u.ID {
		d.putUpdate(by.With(t.Storage, Outcome{State: Aborted, Reasons: []string{fmt.Sprintf("superseded by %v", u.ID)},
			Time: t.Now}))
	}
	return nil
}

// unstage drops what was staged for storages that have another open node now. An operator has to ask for the update.
func (d *draft) unstage() {
	for name, s := range d.Storages {
		if s == nil || d.g.storages[name].Head == s.Head {
			continue
		}
		for u := range merged(d.Updates, d.g.updates) {
			o := u.Outcomes[name]
			if !o.Ahead() || o.Open == s.Head {
				continue
			}
			next := Outcome{State: Announced,
				Reasons: []string{"the storage has changed since its side effects were determined"}, Time: o.Time}
			if o.Until == "" {
				next = Outcome{State: Staging, Time: o.Time}
			}
			d.putUpdate(u.With(name, next))
		}
	}
}
