// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"context"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/ids"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// Tools are what a plan is made with.
type Tools struct {
	// Managers reads the databases of all package managers.
	Managers func(v *sides.Views, t pkg.Ties) ([]pkg.Manager, error)
	// Drivers makes the drivers of a plan, in the order in which they are asked.
	Drivers func(p Plan) []Driver
}

// Driver knows a kind of files that has a meaning of its own. It is made for one plan, and does as well what those of
// the interfaces below ask for that it has.
type Driver interface {
	// Name is what the driver is called in reports.
	Name() string
	// Takes reports whether First and Resolve are for a path.
	Takes(path string) bool
}

// Claimer is a driver that decides on some paths when the walk is over: the walk passes over them.
type Claimer interface {
	Claims(path string) bool
}

// Deferrer is a driver that looks at a path before it puts it off until the walk is over, unlike a Claimer. It reports
// whether it does; what it then does not decide on, it passes to ByRules.
type Deferrer interface {
	Defers(t sides.Three) (bool, error)
}

// Decider is a driver that decides before contents are compared. It reports false to leave the path to the next.
type Decider interface {
	First(t sides.Three) (Decision, bool, error)
}

// Resolver is a driver that decides where both sides changed the content, and both have something. It reports false
// when it cannot.
type Resolver interface {
	Resolve(t sides.Three) (Decision, bool, error)
}

// Finisher is a driver that decides, after the walk, on several paths together or on paths that the storage does not
// touch.
type Finisher interface {
	Finish(ctx context.Context) error
}

// Verifier is a driver that looks at what the plan would make, when everything is decided.
type Verifier interface {
	Verify(ctx context.Context, effects []sides.Effect) error
}

// Explainer is a driver that takes more paths than it decides on. It reports whether it decides on a path, as far as
// what is there now shows.
type Explainer interface {
	Explains(t sides.Three) (bool, error)
}

// Concerned is a driver whose paths have a kind of conflict of their own.
type Concerned interface {
	Concern() policy.Concern
}

// Renumberer is a driver that gives files of the new base other owners.
type Renumberer interface {
	Remaps() []report.IDRemap
}

// Plan is what a driver sees of the plan that it was made for.
type Plan interface {
	Reader
	Writer
	Ruler
}

// Reader is what can be known.
type Reader interface {
	Views() *sides.Views
	Packages() *pkg.Packages
	Policy() policy.Policy
	// Look looks up a path with the packages that have it.
	Look(name string) (sides.Three, error)
	// Owned adds the packages that have a path.
	Owned(t sides.Three) (sides.Three, error)
	// Excludes reports whether a path is not to be looked at.
	Excludes(name string) bool
	// Settled reports whether there is nothing to decide about a path: it is pinned or excluded.
	Settled(t sides.Three) bool
	// Touched reports whether the storage says anything.
	Touched() bool
	// Emptied reports whether the storage deletes something in a directory.
	Emptied(dir string) bool
	// Numbering is that of the result.
	Numbering() *ids.Numbering
	// UsersOwners returns the owners of what is the user's, as far as it is decided.
	UsersOwners() ids.Owners
}

// Writer is what can be decided. A decision counts unless the path is pinned.
type Writer interface {
	// At returns what was decided to stand at a path. It reports false where nothing was decided.
	At(name string) (sides.Outcome, bool)
	// Seen returns what will be seen at a path whose parents are seen.
	Seen(name string) (sides.Node, error)
	// SoFar shows what was decided until now.
	SoFar() *sides.Scene
	// Decide decides on a path, and on what follows from it for the paths beside.
	Decide(t sides.Three, d Decision) error
	// DecideAlways is Decide; what it decides counts also where neither base has anything.
	DecideAlways(t sides.Three, d Decision) error
	// Reopen drops what was reported about a path: it is decided on once more.
	Reopen(name string)
	// Hide makes nothing stand at a path, without a word in the report.
	Hide(name string)
	// Hold holds the storage because of a path, HoldFor because of anything.
	Hold(code report.HoldCode, path, message string)
	HoldFor(r report.Reason)
	// Withhold notes a path that is kept as it is though it is not the user's.
	Withhold(t sides.Three) error
}

// Ruler is how paths are decided on that no driver takes.
type Ruler interface {
	// ByRules decides on a path that the walk passed over as on any other.
	ByRules(t sides.Three) error
	// ThreeWay returns the decision by content, where nobody has a directory and the user has something.
	ThreeWay(t sides.Three) (Decision, error)
	// KeepUsers returns the decision to keep the user's version of what both sides changed.
	KeepUsers(t sides.Three) (Decision, error)
	// KeepPackaged returns the decision to keep a file whose package's version is the user's.
	KeepPackaged(t sides.Three) Decision
	// Settle changes the decision on a conflict to what the policy says.
	Settle(c policy.Concern, t sides.Three, d Decision) Decision
}
