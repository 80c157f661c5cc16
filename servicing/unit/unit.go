// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package unit decides about packages, whatever package manager they are of: a package is a unit, its files and its
// record are one side's. It knows what all databases of packages have in common, and reads none of them.
package unit

// State tells what is there of a package.
type State uint8

// The states.
const (
	Absent    State = iota // nothing: the database knows the name only
	Residual               // the package was removed, its configuration files were left
	Installed              // its files are there, perhaps of an installation that was not finished
)

// Package is one package as a database tells of it. The nil package is one that the database does not know.
type Package struct {
	Name, Arch, Version string
	State               State
	Held                bool     // the user asked for it to stay at its version
	Record              string   // what the database says, verbatim
	Left                []string // the configuration files that a residual package left, relative to the root
}

// Installed reports whether the package's files are there.
func (p *Package) Installed() bool { return p != nil && p.State == Installed }

// InstalledVersion returns the version of an installed package, "" for any other.
func (p *Package) InstalledVersion() string {
	if !p.Installed() {
		return ""
	}
	return p.Version
}

// Residual reports whether the package was removed and its configuration files were left.
func (p *Package) Residual() bool { return p != nil && p.State == Residual }

// same reports whether both are the same version in the same state of installation. Two nils are.
func (p *Package) same(other *Package) bool {
	switch {
	case p.absent() || other.absent():
		return p.absent() && other.absent()
	case p.Residual() || other.Residual():
		return p.Residual() && other.Residual()
	default:
		return p.Version == other.Version && p.Arch == other.Arch
	}
}

func (p *Package) absent() bool { return p == nil || p.State == Absent }

// Problem is a relation of an installed package that does not hold.
type Problem struct {
	Package *Package
	Field   string   // as the package manager calls it: Depends, Breaks, ...
	Text    string   // the relation as it is written
	Names   []string // the names in it
}
