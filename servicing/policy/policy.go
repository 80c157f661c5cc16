// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package policy is what a person decides beforehand: options, pins and excluded paths, and for each kind of conflict
// and of finding what is to be done about it. It is data and the checks on it; nothing here looks at a storage.
package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Options are what a person decided beforehand. The zero value is the careful one. They can be read from JSON and TOML.
type Options struct {
	// Policy says what to do about conflicts and findings, where it is not the default.
	Policy Policy `json:"policy,omitempty" toml:"policy,omitempty"`
	// Pins are paths that stay the user's.
	Pins []Pin `json:"pins,omitempty" toml:"pins,omitempty"`
	// Exclude holds paths that are never looked at, because something is mounted there when the container runs. They
	// are written like those of pins.
	Exclude []string `json:"exclude,omitempty" toml:"exclude,omitempty"`
	// Force makes reasons to hold the storage no obstacle to writing. They are in the report all the same.
	Force bool `json:"force,omitempty" toml:"force,omitempty"`
	// Now is the time that pins expire by. Without it none does.
	Now time.Time `json:"-" toml:"-"`
	// Wall is what the clock of the machine says where that may be later than Now, as long as it is not believed. A pin
	// that is over by it alone is kept, and the report says so.
	Wall time.Time `json:"-" toml:"-"`
}

// Over returns these options where they say something, and else those of the base: the more particular ones go over the
// more general ones. Pins and excluded paths add up; of two pins of one path, the particular one counts.
func (o Options) Over(base Options) Options {
	out := Options{Force: o.Force || base.Force, Now: o.Now, Wall: o.Wall}
	if out.Now.IsZero() {
		out.Now, out.Wall = base.Now, base.Wall
	}
	if len(o.Policy)+len(base.Policy) > 0 {
		out.Policy = make(Policy)
		maps.Copy(out.Policy, base.Policy)
		maps.Copy(out.Policy, o.Policy)
	}
	out.Pins = slices.Clone(o.Pins)
	for _, pin := range base.Pins {
		if !slices.ContainsFunc(o.Pins, func(other Pin) bool { return other.Path == pin.Path }) {
			out.Pins = append(out.Pins, pin)
		}
	}
	out.Exclude = slices.Clone(o.Exclude)
	for _, p := range base.Exclude {
		if !slices.Contains(out.Exclude, p) {
			out.Exclude = append(out.Exclude, p)
		}
	}
	return out
}

// ErrOptions is wrapped by the error about options that mean nothing.
var ErrOptions = errors.New("invalid options")

// Validate returns an error that says what is wrong, and what is allowed instead.
func (o Options) Validate() error {
	errs := []error{o.Policy.validate()}
	for _, pin := range o.Pins {
		if err := checkSelector(pin.Path); err != nil {
			errs = append(errs, fmt.Errorf("%w: pin %q: %w", ErrOptions, pin.Path, err))
		}
	}
	for _, p := range o.Exclude {
		if err := checkSelector(p); err != nil {
			errs = append(errs, fmt.Errorf("%w: exclude %q: %w", ErrOptions, p, err))
		}
	}
	return errors.Join(errs...)
}

// Policy says what to do about concerns.
type Policy map[Concern]Action

// Concern is a kind of conflict between the user and the new base, or a kind of finding of a check.
type Concern string

// Action is what a policy says to do.
type Action string

// The actions on conflicts.
const (
	ActionKeep   Action = "keep"   // the user's stays
	ActionTake   Action = "take"   // the new base's is shown; the user's is put beside
	ActionBeside Action = "beside" // the user's stays, the new base's is put beside
	ActionHold   Action = "hold"   // the storage is held; also for findings
)

// ActionKeepSource is the other action on packages that need one another: those that are built from one source stay
// together, and the storage is held where more would have to stay.
const ActionKeepSource Action = "keep-source"

// The other actions on findings.
const (
	ActionWarn   Action = "warn"   // it is in the report
	ActionIgnore Action = "ignore" // it is not even looked for
)

// The kinds of conflict.
const (
	ConcernText          Concern = "text"            // a text changed on both sides in the same place
	ConcernBinary        Concern = "binary"          // a file of no package that is not a text, changed on both sides
	ConcernPackageFile   Concern = "package-file"    // a program or library of a package, replaced by the user
	ConcernData          Concern = "data"            // a file among data, changed on both sides
	ConcernMetadata      Concern = "metadata"        // mode, owner or an attribute, changed on both sides
	ConcernDeletedByBase Concern = "deleted-by-base" // changed by the user, not in the new base
	ConcernDeletedByUser Concern = "deleted-by-user" // deleted by the user, changed by the new base
	ConcernTypeByUser    Concern = "type-by-user"    // replaced by the user with another kind of file
	// replaced by the base with another kind of file, changed by the user
	ConcernTypeByBase Concern = "type-by-base"
	ConcernIdentity   Concern = "identity"   // what makes the instance itself, different in the new base
	ConcernDependency Concern = "dependency" // a package of the user's needs another version than the base's
)

// The kinds of findings.
const (
	// a program of a package lacks a library, a version or its loader
	ConcernPackagedProgram Concern = "packaged-program"
	ConcernOwnProgram      Concern = "own-program"      // the same for a program of no package
	ConcernReplacedLibrary Concern = "replaced-library" // a library of the user's lacks symbol versions of the base's
	ConcernScript          Concern = "script"           // the interpreter of a script is gone
	ConcernModules         Concern = "modules"          // the interpreter that modules are installed for is gone
	ConcernServerData      Concern = "server-data"      // the server of some data is gone, or too old for them
	ConcernLink            Concern = "link"             // a symbolic link leads nowhere any longer
	ConcernAccount         Concern = "account"          // an owner of files has no name any longer
	ConcernPackageFiles    Concern = "package-files"    // a file of a package is not there any longer
)

// ConcernInfo describes a concern.
type ConcernInfo struct {
	Concern Concern  `json:"concern"`
	Default Action   `json:"default"`
	Allowed []Action `json:"allowed"`
	// Note says where the default is finer than the action tells; "" for nowhere.
	Note string `json:"note,omitempty"`
}

// Concerns returns all concerns, with their defaults and what is allowed. A program of a package that does not start
// any longer holds the storage: its dependencies hold, or else dpkg's relations would have held it, so that nobody
// would be told by anything else. What belongs to no package warns only: it may be a leftover, and must not keep out
// every later fix.
func Concerns() []ConcernInfo {
	conflict := []Action{ActionKeep, ActionTake, ActionBeside, ActionHold}
	whole := []Action{ActionKeep, ActionTake, ActionHold}
	finding := []Action{ActionHold, ActionWarn, ActionIgnore}
	return []ConcernInfo{
		{ConcernText, ActionBeside, conflict, ""},
		{ConcernBinary, ActionBeside, conflict, ""},
		{ConcernPackageFile, ActionKeep, conflict, ""},
		{ConcernData, ActionKeep, conflict, ""},
		{ConcernMetadata, ActionKeep, whole, "permissions that the base takes away are taken away all the same"},
		{ConcernDeletedByBase, ActionKeep, whole, "a program of a package that is gone is set aside"},
		{ConcernDeletedByUser, ActionKeep, whole, ""},
		{ConcernTypeByUser, ActionKeep, whole, "a new file of the base is put beside a directory"},
		{ConcernTypeByBase, ActionTake, []Action{ActionTake, ActionHold}, ""},
		{ConcernIdentity, ActionKeep, whole, ""},
		{
			ConcernDependency, ActionKeepSource, []Action{ActionKeepSource, ActionKeep, ActionHold},
			"keep-source keeps what is needed, with all packages of its source, where what needs it is of that " +
				"source, too; " +
				"keep does so whatever the source; the fixes of what is kept wait",
		},
		{ConcernPackagedProgram, ActionHold, finding, ""},
		{ConcernOwnProgram, ActionWarn, finding, ""},
		{ConcernReplacedLibrary, ActionWarn, finding, ""},
		{ConcernScript, ActionWarn, finding, ""},
		{ConcernModules, ActionWarn, finding, ""},
		{ConcernServerData, ActionWarn, finding, ""},
		{ConcernLink, ActionWarn, finding, ""},
		{ConcernAccount, ActionWarn, finding, ""},
		{ConcernPackageFiles, ActionHold, finding, ""},
	}
}

// Action returns what the policy says about a concern, by default what Concerns says.
func (p Policy) Action(c Concern) Action {
	if a, given := p[c]; given {
		return a
	}
	info, _ := InfoOf(c)
	return info.Default
}

// InfoOf describes a concern. It reports false when there is none of that name.
func InfoOf(c Concern) (ConcernInfo, bool) {
	all := Concerns()
	i := slices.IndexFunc(all, func(info ConcernInfo) bool { return info.Concern == c })
	if i < 0 {
		return ConcernInfo{}, false
	}
	return all[i], true
}

func (p Policy) validate() error {
	var errs []error
	for _, c := range slices.Sorted(maps.Keys(p)) {
		info, known := InfoOf(c)
		switch {
		case !known:
			var names []Concern
			for _, info := range Concerns() {
				names = append(names, info.Concern)
			}
			errs = append(errs, fmt.Errorf(
				"%w: policy for %q: there is no such kind of conflict or finding; there are %s", ErrOptions, c,
				join(names),
			))
		case !slices.Contains(info.Allowed, p[c]):
			errs = append(
				errs, fmt.Errorf("%w: policy for %q: it cannot be %q; allowed are %s", ErrOptions, c, p[c],
					join(info.Allowed)),
			)
		}
	}
	return errors.Join(errs...)
}

func join[T ~string](all []T) string {
	var out []string
	for _, one := range all {
		out = append(out, string(one))
	}
	return strings.Join(out, ", ")
}
