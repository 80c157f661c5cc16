// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"fmt"
	"hash"
	"io"
	"maps"
	"path"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
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
	matches(n node, digest string) (bool, error)
	// architecture returns the one that the system is of, "" when it is not known.
	architecture(side int) string
	// upgrade returns the command that brings packages, and what they need, to the newest version that there is.
	upgrade(names []string) string
}

// packages knows the packages of all sides: whose version counts, and which files are theirs.
type packages struct {
	*views
	dpkg     *dpkgBooks
	apk      *apkBooks
	managers map[string]manager // by driver
	of       map[*unit.Choice]string
	owners   map[string]owner // by path; nil as long as nobody asked
	digests  map[*unit.Choice]map[string]string
	lists    map[listID][]string
	alias    [3]map[string]string // by side: symbolic links in the root that lead to directories
	replaced bool                 // there is a package of which the user has another version than both bases, and the new base's counts
}

// The sides in arrays.
const (
	sideOld = iota
	sideNew
	sideUser
)

// owner tells which package has a path in its list, on each side; nil for none.
type owner [3]*unit.Choice

type listID struct {
	side int
	c    *unit.Choice
}

// newPackages reads the databases and decides on each package. Ties is what to do about packages that the user's packages need at
// another version than the new base's.
func newPackages(v *views, ties policy.Action) (*packages, error) {
	k := &packages{
		views:   v,
		of:      make(map[*unit.Choice]string),
		digests: make(map[*unit.Choice]map[string]string),
		lists:   make(map[listID][]string),
	}
	for side := range k.sides() {
		var err error
		if k.alias[side], err = k.aliases(side); err != nil {
			return nil, err
		}
	}
	var err error
	if k.dpkg, err = newDpkgBooks(v, ties); err != nil {
		return nil, err
	}
	if k.apk, err = newApkBooks(v, ties); err != nil {
		return nil, err
	}
	k.managers = map[string]manager{"dpkg": k.dpkg, "apk": k.apk}
	for driver, m := range k.managers {
		for i := range m.decided() {
			c := &m.decided()[i]
			k.of[c] = driver
			k.replaced = k.replaced || replaces(c)
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

// on returns the package as one side has it.
func on(c *unit.Choice, side int) *unit.Package { return [3]*unit.Package{c.Old, c.New, c.User}[side] }

// differs tells whether the user's side of a package counts and is not what the new base has.
func differs(c *unit.Choice) bool { return c != nil && c.Side == unit.User }

// replaces tells whether the new base's version of a package takes the place of one that the user installed.
func replaces(c *unit.Choice) bool {
	return c != nil && c.Side == unit.Base && c.UserVersionOnly && c.User.Installed()
}

// replacesAny reports whether the new base's version of some package takes the place of one that the user has, or that was kept.
func replacesAny(choices []unit.Choice) bool {
	return slices.ContainsFunc(choices, func(c unit.Choice) bool { return replaces(&c) })
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
	view := k.sides()[side]
	names, err := readDir(view, ".")
	if err != nil {
		return nil, err
	}
	out := make(map[string]string)
	for _, name := range names {
		n, err := lookup(view, name)
		if err != nil {
			return nil, err
		}
		if !n.is(tree.Symlink) {
			continue
		}
		target, ok, err := resolveDir(view, name)
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
	first, rest, _ := cut(p)
	if target, ok := aliases[first]; ok {
		return path.Join(target, rest)
	}
	return p
}

// ownerOf returns whose a path is. The lists are read when it is asked for the first time.
func (k *packages) ownerOf(t three) (owner, error) {
	if k.owners == nil {
		if err := k.readOwners(); err != nil {
			return owner{}, err
		}
	}
	was := k.owners[t.was]
	return owner{was[sideOld], k.owners[t.path][sideNew], was[sideUser]}, nil
}

func (k *packages) readOwners() error {
	owners := make(map[string]owner)
	for _, c := range k.choices() {
		for side := range k.sides() {
			if !on(c, side).Installed() {
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

// pinned tells whether a path belongs to a package whose version is the user's, and so is the user's as well.
func (o owner) pinned(p string) bool {
	c := o[sideUser]
	if c == nil && o[sideOld] != nil && o[sideOld].User.Residual() {
		c = o[sideOld] // its configuration files are left
	}
	if !differs(c) {
		return false
	}
	if c.User.Residual() {
		return slices.Contains(c.User.Left, p)
	}
	return c.User.Installed()
}

// returns tells whether a path that the user does not have is one that the user's version of its package does not have,
// while that of the new base counts and has it.
func (o owner) returns() bool {
	c := o[sideNew]
	return replaces(c) && o[sideUser] == nil
}

// removed tells whether a path belongs to a package that is not in the result because the new base does not have it.
func (o owner) removed() bool {
	c := o[sideOld]
	if o[sideUser] != nil {
		c = o[sideUser]
	}
	return c != nil && c.Side == unit.Base && !c.New.Installed() && o[sideNew] == nil
}

// sameVersion tells whether a path belongs to a package that the user brought to the same version as the new base.
func (o owner) sameVersion() bool {
	c := o[sideUser]
	return replaces(c) && c == o[sideNew] && c.User.Version == c.New.Version
}

// owned tells whether a path belongs to a package in one of the bases.
func (o owner) owned() bool { return o[sideOld] != nil || o[sideNew] != nil }

// shipped tells whether the user's file is as the user's version of its package shipped it, while the new base's version
// counts: then the user did not change it.
func (k *packages) shipped(t three) (bool, error) {
	c := t.own[sideUser]
	if !replaces(c) || t.u.absent() {
		return false, nil
	}
	if !t.u.is(tree.Regular) {
		return true, nil
	}
	digests, err := k.digestsOf(c)
	if err != nil {
		return false, err
	}
	want, known := digests[t.was]
	if !known {
		return false, nil
	}
	return k.managers[k.of[c]].matches(t.u, want)
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
		out[resolveAlias(k.alias[sideUser], p)] = digest
	}
	k.digests[c] = out
	return out, nil
}

// digestOf returns the digest of a regular file's content.
func digestOf(n node, h hash.Hash) ([]byte, error) {
	file, err := n.view.OpenEntry(n.Entry)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if _, err := io.Copy(h, file); err != nil {
		return nil, fmt.Errorf("read %s: %w", tree.Shown(n.Path), err)
	}
	return h.Sum(nil), nil
}
