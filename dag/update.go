// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"
)

// UpdateID names an update. Ids start at 1 and rise; 0 means "no update".
type UpdateID uint64

// String returns the id as people write it.
func (id UpdateID) String() string { return fmt.Sprintf("u%d", uint64(id)) }

// State is how far an update, or one storage in it, has come.
type State string

// The states of an update and of a storage in it.
const (
	// Planned: recorded; for a storage in use, waiting for its next start.
	Planned State = "planned"
	// Staging: the side effects are being determined. Nothing of it shows yet.
	Staging State = "staging"
	// Staged: the side effects are determined and written; nothing has switched yet.
	Staged State = "staged"
	// Announced: the update is known, and left to an operator, who asks for it.
	Announced State = "announced"
	// Applied: the storage stands on the new base.
	Applied State = "applied"
	// Held: the storage cannot be serviced, for the reasons given, and stands where it stood.
	Held State = "held"
	// Aborted: given up; the storage stands where it stood.
	Aborted State = "aborted"
	// RolledBack: applied and undone.
	RolledBack State = "rolled-back"
	// Withdrawn: taken back by an operator before it was applied; the storage stands where it stood.
	Withdrawn State = "withdrawn"
)

// Cause says what began an update.
type Cause string

// The causes of updates.
const (
	// ByCommand: an operator named the update, and the storages or their base.
	ByCommand Cause = "command"
	// ByBind: the specification of a container names another base than before. Such an update is of one storage only.
	ByBind Cause = "bind"
	// ByCommit: a layer was committed that updates the base.
	ByCommit Cause = "commit"
)

// Final reports whether nothing more will happen by itself.
func (s State) Final() bool { return s != Planned && s != Staging && s != Staged }

// Update is the recorded transition of a base layer to another one.
type Update struct {
	ID   UpdateID `json:"id"`
	From NodeID   `json:"from"`
	To   NodeID   `json:"to"`
	// FromRef and ToRef are what the bases were called when the update was asked for, for people.
	FromRef string `json:"from_ref,omitempty"`
	ToRef   string `json:"to_ref,omitempty"`
	// Cause says what began the update.
	Cause Cause `json:"cause"`
	Terms
	// Retracted updates were rolled back as a whole: they lead no new container to their new base.
	Retracted bool `json:"retracted,omitempty"`
	// Settings are what servicing was told for this update. The graph does not look into them.
	Settings json.RawMessage `json:"settings,omitempty"`
	State    State           `json:"state"`
	// Outcomes has one entry for each storage of the update, by name.
	Outcomes map[string]Outcome `json:"outcomes,omitempty"`
	Created  time.Time          `json:"created"`
	Updated  time.Time          `json:"updated"`
	// Claim is of updates by commit only.
	Claim
}

// Claim is what a layer said of itself when it was committed, as far as From and To do not say it.
type Claim struct {
	// Of is the layer that To updates, where an update to Of was announced for storages that stand on From: this one
	// takes them along. A storage that has come to stand on Of in the meantime is moved from there. The update does not
	// keep it.
	Of NodeID `json:"of,omitempty"`
	// Claimed updates are announced by what an image says of itself, for which nobody vouches.
	Claimed bool `json:"claimed,omitempty"`
}

// Terms are how an update was asked for.
type Terms struct {
	// AllOrNothing updates switch every storage in one transaction, or none.
	AllOrNothing bool `json:"all_or_nothing,omitempty"`
	// AssumeFree updates have an operator answer for storages of which it cannot be found out whether they are in use.
	AssumeFree bool `json:"assume_free,omitempty"`
	// Standing updates take in the storages that come to stand on the old base later, too, see [Update.Joining]. Their
	// layers are kept.
	Standing bool `json:"standing,omitempty"`
	// Anonymous updates are of storages without a name, too.
	Anonymous bool `json:"anonymous,omitempty"`
}

// Outcome is what an update came to for one storage.
type Outcome struct {
	State State `json:"state"`
	// Reasons say why a storage is held, planned, aborted or withdrawn, or what rolled it back.
	Reasons []string `json:"reasons,omitempty"`
	// Use is the kind of use that a planned move waits for, as the snapshotter calls it; empty when it waits for
	// something else.
	Use string `json:"use,omitempty"`
	// Delta is the delta storage that was recorded, or that is ready while the update is staged; 0 when there are no
	// side effects. After a rollback, and after a merge, the node may be gone.
	Delta NodeID `json:"delta,omitempty"`
	// Until is Staged where the update goes no further by itself, and empty where it is to be applied.
	Until State `json:"until,omitempty"`
	// Open is the open node that the storage has since the update was staged ahead of time. What is staged is good as
	// long as nothing is in it.
	Open NodeID `json:"open,omitempty"`
	// FixesWaiting is how many fixes of the new base wait, because the storage needs an earlier version of their
	// packages.
	FixesWaiting int `json:"fixes_waiting,omitempty"`
	// Report names the report of this storage, empty while there is none.
	Report string `json:"report,omitempty"`
	// Gone is set once the storage was removed: a later one of that name is another one.
	Gone bool      `json:"gone,omitempty"`
	Time time.Time `json:"time"`
}

// Renamed returns a copy of the update in which the outcome of one storage is that of another one.
func (u Update) Renamed(from, to string) Update {
	outcomes := maps.Clone(u.Outcomes)
	outcomes[to] = outcomes[from]
	delete(outcomes, from)
	u.Outcomes = outcomes
	return u.Settled(u.Updated)
}

// With returns a copy of the update in which a storage has the given outcome.
func (u Update) With(storage string, o Outcome) Update {
	outcomes := make(map[string]Outcome, len(u.Outcomes)+1)
	maps.Copy(outcomes, u.Outcomes)
	outcomes[storage] = o
	u.Outcomes = outcomes
	return u.Settled(o.Time)
}

// Settled returns the update with its state derived from those of its storages.
func (u Update) Settled(now time.Time) Update {
	counts := map[State]int{}
	for _, o := range u.Outcomes {
		counts[o.State]++
	}
	u.Updated = now
	switch {
	case len(u.Outcomes) == 0:
	case counts[Staging] > 0:
		u.State = Staging
	case counts[Staged] > 0:
		u.State = Staged
	case counts[Applied] > 0:
		u.State = Applied
	case counts[Planned] > 0:
		u.State = Planned
	case counts[Announced] > 0:
		u.State = Announced
	case counts[RolledBack] > 0:
		u.State = RolledBack
	case counts[Withdrawn] > 0:
		u.State = Withdrawn
	default:
		u.State = Aborted
	}
	return u
}
