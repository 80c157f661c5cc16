// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package apk

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // apk's digests of files; they tell what was shipped, not what is trusted
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"path"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/apk"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// Where apk keeps its books.
var apkDirs = []string{"lib/apk/db", "usr/lib/apk/db"}

const (
	apkInstalled = "installed"
	apkTriggers  = "triggers"
	apkScripts   = "scripts.tar"
	apkScripts3  = "scripts.tar.gz" // of apk 3
	apkWorld     = "etc/apk/world"
)

// books are the databases of apk on all sides.
type books struct {
	views   *sides.Views
	dirs    [3]string // by side, where the database is; "" where there is none
	bases   [3]*apk.Database
	worlds  [3][]byte
	choices []unit.Choice

	unreadable bool // a database is none: nothing is known about packages
	abandoned  bool // the user removed the database
	changed    bool // the new base's database is not that of the old one

	refused unit.Refused // the ties that could not be kept
}

// Read reads the databases and decides on each package.
func Read(v *sides.Views, t pkg.Ties) (pkg.Manager, error) {
	b := &books{views: v}
	var contents [3][]byte
	for side, view := range b.views.Sides() {
		if err := b.find(side, view); err != nil {
			return nil, err
		}
		var err error
		if contents[side], err = b.read(view, path.Join(b.dirs[side], apkInstalled)); err != nil {
			return nil, err
		}
		if b.worlds[side], err = b.read(view, apkWorld); err != nil {
			return nil, err
		}
		b.bases[side] = apk.Parse(contents[side])
	}
	b.changed = !bytes.Equal(contents[sides.Old], contents[sides.New])
	switch {
	case b.unreadable:
		b.bases = [3]*apk.Database{{}, {}, {}}
	case contents[sides.User] == nil:
		b.bases[sides.User] = b.bases[sides.Old] // the user removed the books, not the packages
		b.abandoned = contents[sides.Old] != nil
	}
	b.choices = apk.Choose(b.bases[sides.Old], b.bases[sides.New], b.bases[sides.User], b.worlds[sides.User], t.Kept)
	b.refused = t.Keep(b.choices, unit.Relations{
		Broken: b.broken(b.worlds[sides.User]), Names: apk.Names, Source: apk.Source, OtherLibrary: apk.OtherLibrary,
	})
	return b, nil
}

// broken returns a function that finds which relations would not hold between packages and with a world, but for
// those that do not hold on a side either.
func (b *books) broken(world []byte) func([]*unit.Package) []unit.Problem {
	known := func(side int) []unit.Problem { return apk.Problems(b.bases[side].Packages, b.worlds[side]) }
	user, base := known(sides.User), known(sides.New)
	return func(all []*unit.Package) []unit.Problem { return unit.New(apk.Problems(all, world), user, base) }
}

// find finds out where a side has its database.
func (b *books) find(side int, view *tree.View) error {
	for _, dir := range apkDirs {
		n, err := sides.Lookup(view, path.Join(dir, apkInstalled))
		if err != nil {
			return err
		}
		if !n.Absent() {
			b.dirs[side] = dir
			return nil
		}
	}
	return nil
}

// read reads a file of the database; nil when there is none.
func (b *books) read(view *tree.View, name string) ([]byte, error) {
	n, err := sides.Lookup(view, name)
	if err != nil {
		return nil, err
	}
	content, err := sides.Read(n, pkg.MaxDatabase)
	if errors.Is(err, tree.ErrTooLarge) || !n.Absent() && !n.Is(tree.Regular) {
		b.unreadable = true
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the package database: %w", err)
	}
	return content, nil
}

// Name returns what the package manager is called.
func (b *books) Name() string { return driverName }

// Compare compares versions.
func (b *books) Compare(x, y string) (int, error) { return apk.Compare(x, y) }

// Choices returns what was decided about each package.
func (b *books) Choices() []unit.Choice { return b.choices }

// Files returns the paths of a package on one side.
func (b *books) Files(c *unit.Choice, side int) ([]string, error) {
	return apk.Files(sides.On(c, side)), nil
}

// Digests returns the digests of a package's files as the user's version has them.
func (b *books) Digests(c *unit.Choice) (map[string]string, error) {
	return apk.Digests(c.User), nil
}

// Matches reports whether a file has a digest as the database writes them.
func (b *books) Matches(n sides.Node, digest string) (bool, error) {
	for prefix, h := range map[string]hash.Hash{"Q1": sha1.New(), "Q2": sha256.New()} { //nolint:gosec // see the import
		if want, ok := strings.CutPrefix(digest, prefix); ok {
			got, err := sides.DigestOf(n, h)
			return base64.StdEncoding.EncodeToString(got) == want, err
		}
	}
	return false, nil
}

// Architecture returns the one of the first package that has one.
func (b *books) Architecture(side int) string {
	for _, p := range b.bases[side].Packages {
		if p.Arch != "" && p.Arch != "noarch" {
			return p.Arch
		}
	}
	return ""
}

// Upgrade returns the command that brings packages to their newest versions.
func (b *books) Upgrade(names []string) string {
	return "apk update && apk add --upgrade " + strings.Join(names, " ")
}

// scripts returns the name of the archive of scripts on a side.
func (b *books) scripts(side int) (string, error) {
	n, err := sides.Lookup(b.views.Sides()[side], path.Join(b.dirs[side], apkScripts3))
	if err == nil && !n.Absent() {
		return apkScripts3, nil
	}
	return apkScripts, err
}

// has reports whether a path is one of the files of the database.
func (b *books) has(name string) bool {
	dir, file := path.Split(name)
	ours := dir == apkDirs[0]+"/" || dir == apkDirs[1]+"/"
	return ours && (file == apkInstalled || file == apkTriggers || file == apkScripts || file == apkScripts3)
}
