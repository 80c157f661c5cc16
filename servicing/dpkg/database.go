// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"slices"
	"strings"
)

// Package is one package as the database tells of it.
type Package struct {
	Stanza
	Name, Arch, Version string
	Want, Flag, State   string // the three words of Status: what is wanted, whether it is broken, and what it is
}

// newPackage reads a stanza; it reports false when it is not about a package.
func newPackage(s Stanza) (*Package, bool) {
	status := strings.Fields(s.Get("Status"))
	p := &Package{Stanza: s, Name: s.Get("Package"), Arch: s.Get("Architecture"), Version: s.Get("Version")}
	if p.Name == "" || len(status) != 3 {
		return nil, false
	}
	p.Want, p.Flag, p.State = status[0], status[1], status[2]
	return p, true
}

// Installed tells whether the package's files are there. It is true in the states of an unfinished installation as well.
func (p *Package) Installed() bool {
	return p != nil && p.State != "not-installed" && p.State != "config-files"
}

// Residual tells whether the package was removed and its configuration files were left.
func (p *Package) Residual() bool { return p != nil && p.State == "config-files" }

// same tells whether both are the same version in the same state of installation. Two nils are.
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

func (p *Package) absent() bool { return p == nil || p.State == "not-installed" }

// withWant returns the package with another selection state.
func (p *Package) withWant(want string) *Package {
	if p.Want == want {
		return p
	}
	changed := *p
	changed.Want = want
	changed.Stanza = p.With("Status", strings.Join([]string{want, p.Flag, p.State}, " "))
	return &changed
}

// Conffiles returns the digests (MD5, in hex) of the package's configuration files as they were shipped, by path
// without the leading slash. Obsolete ones, which the version does not have any more, are among them.
func (p *Package) Conffiles() map[string]string {
	out := make(map[string]string)
	if p == nil {
		return out
	}
	for line := range strings.SplitSeq(p.Get("Conffiles"), "\n") {
		words := strings.Fields(line)
		if len(words) >= 2 {
			out[strings.TrimPrefix(words[0], "/")] = words[1]
		}
	}
	return out
}

// Database is a status file.
type Database struct {
	Packages []*Package
	unknown  []Stanza // what is not about packages
}

// Parse reads a status file.
func Parse(content []byte) *Database {
	db := &Database{}
	for _, s := range ParseStanzas(content) {
		if p, ok := newPackage(s); ok {
			db.Packages = append(db.Packages, p)
		} else {
			db.unknown = append(db.unknown, s)
		}
	}
	return db
}

// Unfinished returns the packages that the package manager was working on when it was interrupted: neither installed nor
// removed, or with triggers that were not processed.
func (db *Database) Unfinished() []*Package {
	var out []*Package
	for _, p := range db.Packages {
		settled := slices.Contains([]string{"installed", "config-files", "not-installed"}, p.State)
		if !settled || p.Flag != "ok" {
			out = append(out, p)
		}
	}
	return out
}
