// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"maps"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// newPackage reads a stanza; it reports false when it is not about a package.
func newPackage(s Stanza) (*unit.Package, bool) {
	status := statusOf(s)
	p := &unit.Package{Name: s.Get("Package"), Arch: s.Get("Architecture"), Version: s.Get("Version"), Record: s.raw}
	if p.Name == "" || len(status) != 3 {
		return nil, false
	}
	p.Held = status[0] == "hold"
	switch status[2] {
	case "not-installed":
		p.State = unit.Absent
	case "config-files":
		p.State = unit.Residual
		p.Left = slices.Sorted(maps.Keys(Conffiles(p)))
	default: // an unfinished installation as well
		p.State = unit.Installed
	}
	return p, true
}

// statusOf returns the three words of the status: what is wanted, whether it is broken, and what it is.
func statusOf(s Stanza) []string { return strings.Fields(s.Get("Status")) }

// stanza returns the record of a package.
func stanza(p *unit.Package) Stanza { return Stanza{raw: p.Record} }

// wanted returns the selection state of a package.
func wanted(p *unit.Package) string { return statusOf(stanza(p))[0] }

// withWant returns the package with another selection state.
func withWant(p *unit.Package, want string) *unit.Package {
	status := statusOf(stanza(p))
	if status[0] == want {
		return p
	}
	changed := *p
	changed.Held = want == "hold"
	changed.Record = stanza(p).With("Status", strings.Join([]string{want, status[1], status[2]}, " ")).raw
	return &changed
}

// Conffiles returns the digests (MD5, in hex) of a package's configuration files as they were shipped, by path
// without the leading slash. Obsolete ones, which the version does not have any longer, are among them.
func Conffiles(p *unit.Package) map[string]string {
	out := make(map[string]string)
	if p == nil {
		return out
	}
	for line := range strings.SplitSeq(stanza(p).Get("Conffiles"), "\n") {
		words := strings.Fields(line)
		if len(words) >= 2 {
			out[strings.TrimPrefix(words[0], "/")] = words[1]
		}
	}
	return out
}

// Database is a status file.
type Database struct {
	Packages []*unit.Package
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

// Unfinished returns the packages that the package manager was working on when it was interrupted: neither installed
// nor removed, or with triggers that were not processed.
func (db *Database) Unfinished() []*unit.Package {
	var out []*unit.Package
	for _, p := range db.Packages {
		status := statusOf(stanza(p))
		settled := slices.Contains([]string{"installed", "config-files", "not-installed"}, status[2])
		if !settled || status[1] != "ok" {
			out = append(out, p)
		}
	}
	return out
}

// Condition returns the state of a package as the database writes it: what it is, and whether it is broken.
func Condition(p *unit.Package) (state, flag string) {
	status := statusOf(stanza(p))
	return status[2], status[1]
}
