// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"bytes"
	"crypto/md5" //nolint:gosec // see matches
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/dpkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// Where dpkg keeps its books.
const (
	statusPath = "var/lib/dpkg/status"
	infoDir    = "var/lib/dpkg/info"
	updatesDir = "var/lib/dpkg/updates"
)

// books are the databases of dpkg on all sides.
type books struct {
	views   *sides.Views
	bases   [3]*dpkg.Database // by side
	choices []unit.Choice
	byInfo  map[string]*unit.Choice // by the name that the info directory has for it

	cost       [3]int64 // by side, of what was read from the info directory
	unreadable bool     // a database is none: nothing is known about packages
	abandoned  bool     // the user removed the database
	changed    bool     // the new base's database is not that of the old one

	refused unit.Refused      // the ties that could not be kept
	moves   map[string]string // of configuration files, see Renamed; nil until they are read
}

// Read reads the databases and decides on each package.
func Read(v *sides.Views, t pkg.Ties) (pkg.Manager, error) {
	b := &books{views: v, byInfo: make(map[string]*unit.Choice)}
	if err := b.read(); err != nil {
		return nil, err
	}
	b.choices = dpkg.Choose(b.bases[sides.Old], b.bases[sides.New], b.bases[sides.User], t.Kept)
	b.refused = t.Keep(b.choices, unit.Relations{
		Broken: b.broken(), Names: dpkg.Names, Source: dpkg.Source, OtherLibrary: dpkg.OtherLibrary,
	})
	for i := range b.choices {
		c := &b.choices[i]
		for _, pkg := range []*unit.Package{c.Old, c.New, c.User} {
			if pkg != nil {
				for _, name := range dpkg.InfoNames(pkg) {
					b.byInfo[name] = c
				}
			}
		}
	}
	return b, nil
}

// read reads the status files.
func (b *books) read() error {
	var contents [3][]byte
	for side, view := range b.views.Sides() {
		n, err := sides.Lookup(view, statusPath)
		if err != nil {
			return err
		}
		contents[side], err = sides.Read(n, pkg.MaxDatabase)
		if errors.Is(err, tree.ErrTooLarge) || !n.Absent() && !n.Is(tree.Regular) {
			b.unreadable = true
		} else if err != nil {
			return fmt.Errorf("read the package database: %w", err)
		}
		b.bases[side] = dpkg.Parse(contents[side])
	}
	b.changed = !bytes.Equal(contents[sides.Old], contents[sides.New])
	switch {
	case b.unreadable:
		b.bases = [3]*dpkg.Database{{}, {}, {}}
	case contents[sides.User] == nil:
		b.bases[sides.User] = b.bases[sides.Old] // the user removed the books, not the packages
		b.abandoned = contents[sides.Old] != nil
	}
	return nil
}

// broken returns a function that finds which relations would not hold between packages, but for those that do not
// hold on a side either.
func (b *books) broken() func([]*unit.Package) []unit.Problem {
	user, base := dpkg.Problems(b.bases[sides.User].Packages), dpkg.Problems(b.bases[sides.New].Packages)
	return func(all []*unit.Package) []unit.Problem { return unit.New(dpkg.Problems(all), user, base) }
}

// Name returns what the package manager is called.
func (b *books) Name() string { return driverName }

// Compare compares versions.
func (b *books) Compare(x, y string) (int, error) { return dpkg.Compare(x, y) }

// Choices returns what was decided about each package.
func (b *books) Choices() []unit.Choice { return b.choices }

// Files returns the paths of a package on one side, as its list has them.
func (b *books) Files(c *unit.Choice, side int) ([]string, error) {
	content, err := b.info(c, side, "list")
	return dpkg.ParseList(content), err
}

// Digests returns the digests of a package's files as the user's version has them.
func (b *books) Digests(c *unit.Choice) (map[string]string, error) {
	content, err := b.info(c, sides.User, "md5sums")
	if err != nil {
		return nil, err
	}
	out := dpkg.ParseDigests(content)
	maps.Copy(out, dpkg.Conffiles(c.User))
	return out, nil
}

// Matches reports whether a file has an MD5 digest; they tell what was shipped, not what is trusted.
func (b *books) Matches(n sides.Node, digest string) (bool, error) {
	got, err := sides.DigestOf(n, md5.New()) //nolint:gosec // dpkg has no others
	return hex.EncodeToString(got) == digest, err
}

// Architecture returns the one that the package manager itself is of; "" when it is not known.
func (b *books) Architecture(side int) string {
	for _, p := range b.bases[side].Packages {
		if p.Name == "dpkg" && p.Installed() {
			return p.Arch
		}
	}
	return ""
}

// Upgrade returns the command that brings packages to their newest versions.
func (b *books) Upgrade(names []string) string {
	return "apt-get update && apt-get install --only-upgrade " + strings.Join(names, " ")
}

// info reads a file about a package from the info directory; nil when there is none.
func (b *books) info(c *unit.Choice, side int, kind string) ([]byte, error) {
	pkg := sides.On(c, side)
	if pkg == nil {
		return nil, nil
	}
	for _, name := range dpkg.InfoNames(pkg) {
		n, err := sides.Lookup(b.views.Sides()[side], path.Join(infoDir, name+"."+kind))
		if err != nil {
			return nil, err
		}
		if !n.Absent() {
			return b.readInfo(n, side)
		}
	}
	return nil, nil
}

// The costs of what is read from the info directory: all of it is in memory together, and each line becomes a path
// there.
const (
	maxInfo  = 160 << 20 // on one side
	maxOne   = 16 << 20
	lineCost = 100
)

// readInfo reads a file about a package. One that is too large, or one too many, makes the database unreadable.
func (b *books) readInfo(n sides.Node, side int) ([]byte, error) {
	content, err := sides.Read(n, min(maxOne, maxInfo-b.cost[side]))
	if errors.Is(err, tree.ErrTooLarge) {
		b.unreadable = true
		return nil, nil
	}
	b.cost[side] += int64(len(content)) + lineCost*int64(bytes.Count(content, []byte{'\n'}))
	return content, err
}

// infoChoice returns the package that a file in the info directory is about; nil for none.
func (b *books) infoChoice(p string) *unit.Choice {
	name, ok := strings.CutPrefix(p, infoDir+"/")
	if !ok {
		return nil
	}
	pkg, _, ok := dpkg.InfoName(name)
	if !ok {
		return nil
	}
	return b.byInfo[pkg]
}
