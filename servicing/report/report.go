// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package report holds what servicing finds out and decides, as data: the report of a plan, of an audit, the
// explanation of a path, how a path changed, and the codes of the reasons to hold a storage. It decides nothing.
package report

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// Version is the version of the form of Report.
const Version = 1

// Report is what was decided, as data. The same inputs give the same report, byte for byte when it is encoded. Fields
// may be added without a new version.
type Report struct {
	Version int `json:"version"`
	// Counts holds by verdict how many paths there were; also those that are not listed because there is nothing to
	// tell of them: the user's own, and those that neither side changed.
	Counts   map[Verdict]int `json:"counts"`
	Packages []PackageReport `json:"packages"` // those that differ between the sides
	IDs      []IDRemap       `json:"ids"`
	Holds    []Reason        `json:"holds"`
	Findings []CheckFinding  `json:"findings"` // what would not work any longer, in order of the paths
	Pins     []PinReport     `json:"pins"`     // those that were given, the expired ones included
	// Waiting lists the packages whose new version waits, because the user's packages need the old one; for the next
	// servicing, too.
	Waiting []Waiting `json:"waiting,omitempty"`
	// Withheld is what only a pin, or a package that waits, keeps; for the next servicing.
	Withheld []Withheld `json:"withheld,omitempty"`
	Forced   bool       `json:"forced,omitempty"` // there are holds, but Options.Force was given
	// HiddenFixes is how many versions of packages of the new base are hidden at some path, and do not wait.
	HiddenFixes int      `json:"hidden_fixes,omitempty"`
	Unread      []Unread `json:"unread,omitempty"` // what a look at a storage in use passed over
	// Paths lists, in order, the paths that one of the bases has and that the user or the base changed. The lists that
	// can be long come last: who reads a report as it comes knows the rest by then.
	Paths []PathReport `json:"paths"`
	// Effects lists, parents first, what the delta storage consists of.
	Effects []EffectReport `json:"effects"`
}

// PathReport is the verdict on one path.
type PathReport struct {
	Path      string  `json:"path"`
	PathBytes []byte  `json:"path_bytes,omitempty"` // the path, where it is not valid UTF-8
	Was       string  `json:"was,omitempty"`        // the path before, where it is another one
	Verdict   Verdict `json:"verdict"`
	Rule      string  `json:"rule"` // the case or rule
	Driver    string  `json:"driver,omitempty"`
	Reason    string  `json:"reason"`
	Old       Content `json:"old"`
	New       Content `json:"new"`
	User      Content `json:"user"`
	Result    Content `json:"result"`
	// Beside is where, in the container, the version is that is not in force: the new base's or the user's.
	Beside  string `json:"beside,omitempty"`
	Package string `json:"package,omitempty"` // whose the path is
	Hidden  []Fix  `json:"hidden,omitempty"`  // changes of the new base that are not effective here
}

// Content says what is at a path: the digest of a regular file, "size:<bytes>" for one of more than 4 GiB,
// "symlink:<target>", "unread" for a file that a look could not read, else the kind; "" for nothing.
type Content string

// Digest returns the digest of a regular file. It reports false for everything else.
func (c Content) Digest() (digest.Digest, bool) {
	d, err := digest.Parse(string(c))
	return d, err == nil
}

// Fix is a version of a package in the new base.
type Fix struct {
	Package string `json:"package"`
	Version string `json:"version"`
}

// EffectReport is one path of the delta storage.
type EffectReport struct {
	Path      string `json:"path"`
	PathBytes []byte `json:"path_bytes,omitempty"`
	What      string `json:"what"` // "whiteout", "hard link", or the kind of the file
}

// PackageReport is what was decided about a package.
type PackageReport struct {
	Name      string    `json:"name"`
	Old       string    `json:"old"` // versions; "" where it is not installed
	New       string    `json:"new"`
	User      string    `json:"user"`
	Effective string    `json:"effective"`
	Side      unit.Side `json:"side"`
	Reason    string    `json:"reason"`
}

// IDRemap says that files of the new base that belong to one id belong to another one in the result.
type IDRemap struct {
	Kind string `json:"kind"` // "uid" or "gid"
	From uint32 `json:"from"`
	To   uint32 `json:"to"`
	// Name is the account or group of the new base.
	Name string `json:"name,omitempty"`
	// Files is how many files of the new base that are seen belong to it.
	Files int `json:"files,omitempty"`
}

// CountHidden counts the fixes that are hidden at some path, each once.
func (r *Report) CountHidden() int {
	hidden := make(map[Fix]bool)
	for _, p := range r.Paths {
		for _, f := range p.Hidden {
			waits := slices.ContainsFunc(r.Waiting, func(w Waiting) bool { return w.Package == f.Package })
			if !waits {
				hidden[f] = true
			}
		}
	}
	return len(hidden)
}
