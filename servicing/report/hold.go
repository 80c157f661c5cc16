// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// HoldCode says, to programs, for what sort of reason a storage is held.
type HoldCode string

// The sorts of reasons.
const (
	HoldCheck           HoldCode = "check"
	HoldConflict        HoldCode = "conflict"
	HoldDependency      HoldCode = "dependency"
	HoldInterrupted     HoldCode = "package-manager-interrupted"
	HoldPackageDatabase HoldCode = "package-database"
	HoldDistribution    HoldCode = "other-distribution"
	HoldArchitecture    HoldCode = "other-architecture"
	HoldLibrary         HoldCode = "other-c-library"
	HoldPin             HoldCode = "pin"
	HoldAccounts        HoldCode = "accounts"
	HoldAttributes      HoldCode = "attributes"
	HoldOverlay         HoldCode = "overlay-attribute"
)

// HoldInfo describes a sort of reasons.
type HoldInfo struct {
	Code  HoldCode
	Means string
	Do    string // what a person can do about it
	// Always: the storage is held although Options.Force is given.
	Always bool
}

// HoldCodes returns all sorts of reasons.
func HoldCodes() []HoldInfo { return slices.Clone(holdCodes) }

var holdCodes = []HoldInfo{
	{
		Code:  HoldCheck,
		Means: "something that works now would not work any more",
		Do:    "install what is missing in the container, or let the policy warn about this finding",
	},
	{
		Code:  HoldConflict,
		Means: "both sides changed something, and the policy says to hold",
		Do:    "settle the conflict in the container, or give another policy for the update, or pin the path",
	},
	{
		Code:  HoldDependency,
		Means: "a package of the user and one of the new base do not go together",
		Do: "bring the package to the version that goes with the new base inside the container, or remove it there, " +
			"and update again; or let `--policy dependency=keep` keep what it needs at the version that it needs, " +
			"so that those fixes wait",
	},
	{
		Code:  HoldInterrupted,
		Means: "the package manager was stopped at its work in the container",
		Do:    "start the container, let the package manager finish, and update again",
	},
	{
		Code:  HoldPackageDatabase,
		Means: "the database of packages cannot be read, or cannot be merged with the new base's",
		Do:    "repair the database in the container, or install again on the new base what the user installed",
	},
	{
		Code:  HoldDistribution,
		Means: "the new base is of another distribution",
		Do:    "name another image, or --force the update if the two go together",
	},
	{
		Code:  HoldArchitecture,
		Means: "the new base is for other machines",
		Do:    "name the image for this architecture",
	},
	{
		Code:  HoldLibrary,
		Means: "the new base has another C library",
		Do:    "name the image with the same C library, or --force the update if no program of the container needs it",
	},
	{
		Code:  HoldPin,
		Means: "a pinned path has no place in the new base",
		Do:    "unpin the path, or make its directory in the new base",
	},
	{
		Code:  HoldAccounts,
		Means: "files of one account would belong to another account, or to none",
		Do: "unpin the account files, or give the account another id and its files to that id in the container, " +
			"or in the new base",
	},
	{
		Code:  HoldAttributes,
		Means: "there are more extended attributes than can be read or held in memory",
		Do: "remove extended attributes of the path inside the container (`setfattr -x NAME PATH`), or remove the " +
			"file, " +
			"and update again",
		Always: true,
	},
	{
		Code:  HoldOverlay,
		Means: "a file carries an attribute of overlayfs whose meaning would be lost on another base",
		Do: "copy the path to another name inside the container, remove the original, rename the copy, and " +
			"update again",
		Always: true,
	},
}

// Reason is a reason why a storage must be held.
type Reason struct {
	Code    HoldCode `json:"code"`
	Message string   `json:"message"`
	Do      string   `json:"do"` // what a person can do about it
	Path    string   `json:"path,omitempty"`
	Package string   `json:"package,omitempty"`
	Version string   `json:"version,omitempty"`
}

// info returns what is known of a sort of reasons.
func (c HoldCode) info() HoldInfo {
	i := slices.IndexFunc(holdCodes, func(info HoldInfo) bool { return info.Code == c })
	if i < 0 {
		return HoldInfo{Code: c}
	}
	return holdCodes[i]
}

// Forceable reports whether Options.Force sets the reason aside.
func (r Reason) Forceable() bool { return !r.Code.info().Always }

// Complete returns the reason with what a person can do about it, and with texts that JSON can hold.
func (r Reason) Complete() Reason {
	for _, text := range []*string{&r.Message, &r.Path, &r.Package, &r.Version} {
		*text = Printable(*text)
	}
	r.Do = r.Code.info().Do
	return r
}

// Refused returns the report of a storage that must be held because of an error: one that names a path which was
// made so that it cannot be serviced. It reports false for any other error.
func Refused(err error) (*Report, bool) {
	var held Reason
	refused, isRefused := errors.AsType[*tree.RefusedError](err)
	unread, isUnread := errors.AsType[*tree.UnreadableError](err)
	switch {
	case isRefused:
		held = Reason{Code: HoldOverlay, Path: refused.Path, Message: refused.Error()}
	case isUnread && unread.Why == tree.LongList:
		held = Reason{Code: HoldAttributes, Path: unread.Path, Message: unread.Error()}
	default:
		return nil, false
	}
	return &Report{
		Version: Version, Counts: make(map[Verdict]int), Paths: []PathReport{}, Effects: []EffectReport{},
		Packages: []PackageReport{}, IDs: []IDRemap{}, Holds: []Reason{held.Complete()},
		Findings: []CheckFinding{}, Pins: []PinReport{},
	}, true
}
