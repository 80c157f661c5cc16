// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import "slices"

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
	// Means says what it is, and Do what there is to do about it, in the container or by a policy.
	Means string `json:"means"`
	Do    string `json:"do"`
	// Note says where the default is finer than the action tells; "" for nowhere.
	Note string `json:"note,omitempty"`
}

// Finding reports whether the concern is about what a check finds, and not about a conflict.
func (c ConcernInfo) Finding() bool { return slices.Contains(c.Allowed, ActionWarn) }

// What can be done about each of them; the default is one of those.
var (
	conflict = []Action{ActionKeep, ActionTake, ActionBeside, ActionHold}
	whole    = []Action{ActionKeep, ActionTake, ActionHold}
	finding  = []Action{ActionHold, ActionWarn, ActionIgnore}
)

// concerns are all of them. To add one is a row here; where it is a finding, one in the checks as well.
var concerns = []ConcernInfo{
	{
		Concern: ConcernText, Default: ActionBeside, Allowed: conflict,
		Means: "you and the base changed a text in the same place",
		Do:    "compare both, and write what you want",
	},
	{
		Concern: ConcernBinary, Default: ActionBeside, Allowed: conflict,
		Means: "you and the base changed a file of no package that is no text",
		Do:    "compare both, and put in force the one that you want",
	},
	{
		Concern: ConcernPackageFile, Default: ActionKeep, Allowed: conflict,
		Means: "you replaced a program or a library of a package, and the base has a newer one",
		Do:    "nothing, or have the base's taken",
	},
	{
		Concern: ConcernData, Default: ActionKeep, Allowed: conflict,
		Means: "you and the base changed a file among data",
		Do:    "nothing, or have the base's taken",
	},
	{
		Concern: ConcernMetadata, Default: ActionKeep, Allowed: whole,
		Means: "you and the base changed a mode, an owner or an attribute",
		Do:    "nothing, or set them as you want",
		Note:  "permissions that the base takes away are taken away all the same",
	},
	{
		Concern: ConcernDeletedByBase, Default: ActionKeep, Allowed: whole,
		Means: "the base no longer has a file that you changed",
		Do:    "remove it where you no longer need it",
		Note:  "a program of a package that is gone is set aside",
	},
	{
		Concern: ConcernDeletedByUser, Default: ActionKeep, Allowed: whole,
		Means: "the base changed a file that you deleted",
		Do:    "nothing, or have the base's taken",
	},
	{
		Concern: ConcernTypeByUser, Default: ActionKeep, Allowed: whole,
		Means: "you replaced a file by another kind of file, and the base changed it",
		Do:    "nothing, or have the base's taken",
		Note:  "a new file of the base is put beside a directory",
	},
	{
		Concern: ConcernTypeByBase, Default: ActionTake, Allowed: []Action{ActionTake, ActionHold},
		Means: "the base replaced by another kind of file what you changed",
		Do:    "look for yours beside, and bring over what you need",
	},
	{
		Concern: ConcernIdentity, Default: ActionKeep, Allowed: whole,
		Means: "what makes this instance itself is different in the base",
		Do:    "nothing",
	},
	{
		Concern: ConcernDependency, Default: ActionKeepSource,
		Allowed: []Action{ActionKeepSource, ActionKeep, ActionHold},
		Means:   "a package of yours needs another version than the base's",
		Do:      "bring the package to a version that goes with the new base, in the container",
		Note: "keep-source keeps what is needed, with all packages of its source, where what needs it is of " +
			"that source, too; keep does so whatever the source; the fixes of what is kept wait",
	},
	{
		Concern: ConcernPackagedProgram, Default: ActionHold, Allowed: finding,
		Means: "a program of a package lacks a library, a version of one, or its loader",
		Do:    "bring the package to a version that goes with the new base, in the container",
	},
	{
		Concern: ConcernOwnProgram, Default: ActionWarn, Allowed: finding,
		Means: "a program of no package lacks a library, a version of one, or its loader",
		Do:    "build or install the program again, in the container",
	},
	{
		Concern: ConcernReplacedLibrary, Default: ActionWarn, Allowed: finding,
		Means: "a library of yours lacks versions of symbols that the base's in its place has",
		Do:    "remove the library, or build it again, in the container",
	},
	{
		Concern: ConcernScript, Default: ActionWarn, Allowed: finding,
		Means: "the interpreter of a script is gone",
		Do:    "install the interpreter, or name another one in the script, in the container",
	},
	{
		Concern: ConcernModules, Default: ActionWarn, Allowed: finding,
		Means: "the interpreter that modules are installed for is gone",
		Do:    "install the modules again for the interpreter that is there",
	},
	{
		Concern: ConcernServerData, Default: ActionWarn, Allowed: finding,
		Means: "the server of some data is gone, or is of a release that does not read them",
		Do:    "install that release of the server, or move the data to the one that is there, in the container",
	},
	{
		Concern: ConcernLink, Default: ActionWarn, Allowed: finding,
		Means: "a symbolic link leads nowhere any more",
		Do:    "remove the link, or give it another target, in the container",
	},
	{
		Concern: ConcernAccount, Default: ActionWarn, Allowed: finding,
		Means: "an owner of files has another name now, or none",
		Do:    "give the files to the account that they are for, in the container",
	},
	{
		Concern: ConcernPackageFiles, Default: ActionHold, Allowed: finding,
		Means: "a file of a package is not there any more",
		Do:    "install the package again, in the container",
	},
}

// Concerns returns all concerns, with their defaults and what is allowed. A program of a package that does not start
// any longer holds the storage: its dependencies hold, or else dpkg's relations would have held it, so that nobody
// would be told by anything else. What belongs to no package warns only: it may be a leftover, and must not keep out
// every later fix.
func Concerns() []ConcernInfo { return slices.Clone(concerns) }

// InfoOf describes a concern. It reports false when there is none of that name.
func InfoOf(c Concern) (ConcernInfo, bool) {
	all := Concerns()
	i := slices.IndexFunc(all, func(info ConcernInfo) bool { return info.Concern == c })
	if i < 0 {
		return ConcernInfo{}, false
	}
	return all[i], true
}
