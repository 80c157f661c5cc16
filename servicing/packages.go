// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"maps"
	"path"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// maxDatabase is how much of one file of a package database is read.
const maxDatabase = 32 << 20

// manager knows the databases of one package manager, on all sides. Paths are relative to the root, as it writes them.
type manager interface {
	// decided returns what was decided about each package; always the same slice.
	decided() []unit.Choice
	// files returns the paths of a package on one side.
	files(c *unit.Choice, side int) ([]string, error)
	// shipped returns the digests of a package's files as the user's version has them.
	shipped(c *unit.Choice) (map[string]string, error)
	// matches tells whether a regular file has such a digest.
	matches(n sides.Node, digest string) (bool, error)
	// architecture returns the one that the system is of, "" when it is not known.
	architecture(side int) string
	// upgrade returns the command that brings packages, and what they need, to the newest version that there is.
	upgrade(names []string) string
}

// packages knows the packages of all sides: whose version counts, and which files are theirs.
type packages struct {
	*sides.Views
	dpkg     *dpkgBooks
	apk      *apkBooks
	managers map[string]manager // by driver
	of       map[*unit.Choice]string
	owners   map[string]sides.Owner // by path; nil as long as nobody asked
	digests  map[*unit.Choice]map[string]string
	lists    map[listID][]string
	alias    [3]map[string]string // by side: symbolic links in the root that lead to directories
	replaced bool                 // there is a package of which the user has another version than both bases, and the new base's counts
}

type listID struct {
	side int
	c    *unit.Choice
}

// newPackages reads the databases and decides on each package. Ties is what to do about packages that the user's packages need at
// another version than the new base's.
func newPackages(v *sides.Views, ties policy.Action, kept map[unit.Mark]bool) (*packages, error) {
	k := &packages{
		Views:   v,
		of:      make(map[*unit.Choice]string),
		digests: make(map[*unit.Choice]map[string]string),
		lists:   make(map[listID][]string),
	}
	for side := range k.Sides() {
		var err error
		if k.alias[side], err = k.aliases(side); err != nil {
			return nil, err
		}
	}
	var err error
	if k.dpkg, err = newDpkgBooks(v, ties, kept); err != nil {
		return nil, err
	}
	if k.apk, err = newApkBooks(v, ties, kept); err != nil {
		return nil, err
	}
	k.managers = map[string]manager{"dpkg": k.dpkg, "apk": k.apk}
	for driver, m := range k.managers {
		for i := range m.decided() {
			c := &m.decided()[i]
			k.of[c] = driver
			k.replaced = k.replaced || c.Replaces()
		}
	}
	return k, nil
}

// choices returns what was decided about each package of all package managers.
func (k *packages) choices() []*unit.Choice {
	var out []*unit.Choice
	for _, driver := range slices.Sorted(maps.Keys(k.managers)) {
		choices := k.managers[driver].decided()
		for i := range choices {
			out = append(out, &choices[i])
		}
	}
	return out
}

// driverOf returns the driver that knows the first of some packages that is one; "" when none is.
func (k *packages) driverOf(choices ...*unit.Choice) string {
	for _, c := range choices {
		if c != nil {
			return k.of[c]
		}
	}
	return ""
}

// architecture returns the one that a side is of; "" when it is not known.
func (k *packages) architecture(side int) string {
	for _, driver := range slices.Sorted(maps.Keys(k.managers)) {
		if arch := k.managers[driver].architecture(side); arch != "" {
			return arch
		}
	}
	return ""
}

// list returns the paths of a package on one side, with symbolic links of the root resolved (/lib is /usr/lib).
func (k *packages) list(c *unit.Choice, side int) ([]string, error) {
	id := listID{side, c}
	if list, known := k.lists[id]; known {
		return list, nil
	}
	list, err := k.managers[k.of[c]].files(c, side)
	if err != nil {
		return nil, err
	}
	for i := range list {
		list[i] = resolveAlias(k.alias[side], list[i])
	}
	k.lists[id] = list
	return list, nil
}

// aliases returns the symbolic links in the root that lead to directories.
func (k *packages) aliases(side int) (map[string]string, error) {
	view := k.Sides()[side]
	names, err := sides.ReadDir(view, ".")
	if err != nil {
		return nil, err
	}
	out := make(map[string]string)
	for _, name := range names {
		n, err := sides.Lookup(view, name)
		if err != nil {
			return nil, err
		}
		if !n.Is(tree.Symlink) {
			continue
		}
		target, ok, err := sides.ResolveDir(view, name)
		if err != nil {
			return nil, err
		}
		if ok {
			out[name] = target
		}
	}
	return out, nil
}

func resolveAlias(aliases map[string]string, p string) string {
	first, rest, _ := sides.Cut(p)
	if target, ok := aliases[first]; ok {
		return path.Join(target, rest)
	}
	return p
}

// ownerOf returns whose a path is. The lists are read when it is asked for the first time.
func (k *packages) ownerOf(t sides.Three) (sides.Owner, error) {
	if k.owners == nil {
		if err := k.readOwners(); err != nil {
			return sides.Owner{}, err
		}
	}
	was := k.owners[t.Was]
	return sides.Owner{was[sides.Old], k.owners[t.Path][sides.New], was[sides.User]}, nil
}

func (k *packages) readOwners() error {
	owners := make(map[string]sides.Owner)
	for _, c := range k.choices() {
		for side := range k.Sides() {
			if !sides.On(c, side).Installed() {
				continue
			}
			list, err := k.list(c, side)
			if err != nil {
				return err
			}
			for _, p := range list {
				o := owners[p]
				o[side] = c
				owners[p] = o
			}
		}
	}
	k.owners = owners
	return nil
}

// shipped tells whether the user's file is as the user's version of its package shipped it, while the new base's version
// counts: then the user did not change it.
func (k *packages) shipped(t sides.Three) (bool, error) {
	c := t.Own[sides.User]
	if !c.Replaces() || t.U.Absent() {
		return false, nil
	}
	if !t.U.Is(tree.Regular) {
		return true, nil
	}
	digests, err := k.digestsOf(c)
	if err != nil {
		return false, err
	}
	want, known := digests[t.Was]
	if !known {
		return false, nil
	}
	return k.managers[k.of[c]].matches(t.U, want)
}

// digestsOf returns the digests of a package's files as the user's version has them.
func (k *packages) digestsOf(c *unit.Choice) (map[string]string, error) {
	if known, ok := k.digests[c]; ok {
		return known, nil
	}
	shipped, err := k.managers[k.of[c]].shipped(c)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string)
	for p, digest := range shipped {
		out[resolveAlias(k.alias[sides.User], p)] = digest
	}
	k.digests[c] = out
	return out, nil
}
