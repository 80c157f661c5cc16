// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import "slices"

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
)

// HoldInfo describes a sort of reasons.
type HoldInfo struct {
	Code  HoldCode
	Means string
	Do    string // what a person can do about it
}

// HoldCodes returns all sorts of reasons.
func HoldCodes() []HoldInfo {
	return []HoldInfo{
		{
			HoldCheck, "something that works now would not work any more",
			"install what is missing in the container, or let the policy warn about this finding",
		},
		{
			HoldConflict, "both sides changed something, and the policy says to hold",
			"settle the conflict in the container, or give another policy for the update, or pin the path",
		},
		{
			HoldDependency, "a package of the user and one of the new base do not go together",
			"bring the package to the version that goes with the new base inside the container, or remove it there, and update again; or let `--policy dependency=keep` hide the new version of what it needs",
		},
		{
			HoldInterrupted, "the package manager was stopped at its work in the container",
			"start the container, let the package manager finish, and update again",
		},
		{
			HoldPackageDatabase, "the database of packages cannot be read, or cannot be merged with the new base's",
			"repair the database in the container, or install again on the new base what the user installed",
		},
		{
			HoldDistribution, "the new base is of another distribution",
			"name another image, or --force the update if the two go together",
		},
		{
			HoldArchitecture, "the new base is for other machines",
			"name the image for this architecture",
		},
		{
			HoldLibrary, "the new base has another C library",
			"name the image with the same C library, or --force the update if no program of the container needs it",
		},
		{
			HoldPin, "a pinned path has no place in the new base",
			"unpin the path, or make its directory in the new base",
		},
		{
			HoldAccounts, "files of one account would belong to another account, or to none",
			"unpin the account files, or give the account another id and its files to that id in the container, or in the new base",
		},
	}
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

// hold records that the storage must be held because of a path.
func (p *planner) hold(code HoldCode, path, message string) {
	p.holdFor(Reason{Code: code, Path: path, Message: message})
}

// holdFor records a reason why the storage must be held, once.
func (p *planner) holdFor(r Reason) {
	r.Message, r.Path, r.Package, r.Version = printable(r.Message), printable(r.Path), printable(r.Package), printable(r.Version)
	for _, info := range HoldCodes() {
		if info.Code == r.Code {
			r.Do = info.Do
		}
	}
	if !slices.Contains(p.holds, r) {
		p.holds = append(p.holds, r)
	}
}
