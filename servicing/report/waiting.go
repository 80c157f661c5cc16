// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// Waiting is a package of the new base that waits: the user's version of it stays, because other packages of the user
// need that version. It does not count as the user's choice: a later servicing that is given it, see [Input], brings
// the new version as soon as nothing needs the old one.
type Waiting struct {
	Package string `json:"package"`
	Arch    string `json:"arch,omitempty"`
	Source  string `json:"source"` // what the package is built from
	Kept    string `json:"kept"`   // the version that stays
	Base    string `json:"base"`   // the new base's version; "" where the new base does not have the package
	// Fix: the new base's version is higher than the one that stays.
	Fix bool `json:"fix"`
	// For lists the packages that need the version that stays; it is empty for one that stays together with another
	// one.
	For  []unit.Dependent `json:"for,omitempty"`
	With string           `json:"with,omitempty"` // the package that it stays together with
	Do   string           `json:"do"`             // the command that brings the new version, inside the container
}

// Why says what the version that stays is needed for.
func (w Waiting) Why() string {
	if len(w.For) == 0 {
		return "it stays together with " + w.With
	}
	var out []string
	for _, d := range w.For {
		out = append(out, fmt.Sprintf("%s %s needs %s", d.Package, d.Version, d.Needs))
	}
	return strings.Join(out, "; ")
}

// Mark returns what marks the package as kept.
func (w Waiting) Mark() unit.Mark { return unit.Mark{Name: w.Package, Arch: w.Arch, Version: w.Kept} }

// FixesWaiting returns the packages of the new base that wait and are newer than what stays.
func (r *Report) FixesWaiting() []Waiting {
	return slices.DeleteFunc(slices.Clone(r.Waiting), func(w Waiting) bool { return !w.Fix })
}
