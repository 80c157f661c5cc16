// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"bytes"
	"crypto/md5" //nolint:gosec // dpkg's digests are MD5; they tell what was shipped, not what is trusted
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/dpkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Where dpkg keeps its books, and how much of one file is read.
const (
	statusPath  = "var/lib/dpkg/status"
	infoDir     = "var/lib/dpkg/info"
	updatesDir  = "var/lib/dpkg/updates"
	maxDatabase = 64 << 20
)

// packages knows the packages of all sides: whose version counts, and which files are theirs.
type packages struct {
	*views
	bases   [3]*dpkg.Database // by side
	choices []dpkg.Choice
	byInfo  map[string]*dpkg.Choice // by the name that the info directory has for it
	owners  map[string]owner        // by path; nil as long as nobody asked
	digests map[*dpkg.Choice]map[string]string
	lists   map[listID][]string
	alias   [3]map[string]string // by side: symbolic links in the root that lead to directories

	unreadable bool // a database is none: nothing is known about packages
	abandoned  bool // the user removed the database
	changed    bool // the new base's database is not that of the old one
	replaced   bool // there is a package of which the user has another version than both bases, and the new base's counts
}

// The sides in arrays.
const (
	sideOld = iota
	sideNew
	sideUser
)

// owner tells which package has a path in its list, on each side; nil for none.
type owner [3]*dpkg.Choice

type listID struct {
	side int
	key  string
}

// newPackages reads the databases and decides on each package.
func newPackages(v *views) (*packages, error) {
	k := &packages{
		views:   v,
		byInfo:  make(map[string]*dpkg.Choice),
		digests: make(map[*dpkg.Choice]map[string]string),
		lists:   make(map[listID][]string),
	}
	if err := k.readDatabases(); err != nil {
		return nil, err
	}
	for side := range k.sides() {
		var err error
		if k.alias[side], err = k.aliases(side); err != nil {
			return nil, err
		}
	}
	k.choices = dpkg.Choose(k.bases[sideOld], k.bases[sideNew], k.bases[sideUser])
	for i := range k.choices {
		c := &k.choices[i]
		k.replaced = k.replaced || replaces(c)
		for _, pkg := range []*dpkg.Package{c.Old, c.New, c.User} {
			if pkg != nil {
				for _, name := range pkg.InfoNames() {
					k.byInfo[name] = c
				}
			}
		}
	}
	return k, nil
}

// readDatabases reads the status files.
func (k *packages) readDatabases() error {
	var contents [3][]byte
	for side, view := range k.sides() {
		n, err := lookup(view, statusPath)
		if err != nil {
			return err
		}
		contents[side], err = read(n, maxDatabase)
		if errors.Is(err, tree.ErrTooLarge) || !n.absent() && !n.is(tree.Regular) {
			k.unreadable = true
		} else if err != nil {
			return fmt.Errorf("read the package database: %w", err)
		}
		k.bases[side] = dpkg.Parse(contents[side])
	}
	k.changed = !bytes.Equal(contents[sideOld], contents[sideNew])
	switch {
	case k.unreadable:
		k.bases = [3]*dpkg.Database{{}, {}, {}}
	case contents[sideUser] == nil:
		k.bases[sideUser] = k.bases[sideOld] // the user removed the books, not the packages
		k.abandoned = contents[sideOld] != nil
	}
	return nil
}

func (k *packages) sides() [3]*tree.View { return [3]*tree.View{k.old, k.new, k.user} }

// on returns the package as one side has it.
func on(c *dpkg.Choice, side int) *dpkg.Package { return [3]*dpkg.Package{c.Old, c.New, c.User}[side] }

// differs tells whether the user's side of a package counts and is not what the new base has.
func differs(c *dpkg.Choice) bool { return c != nil && c.Side == dpkg.User }

// replaces tells whether the new base's version of a package takes the place of one that the user installed.
func replaces(c *dpkg.Choice) bool {
	return c != nil && c.Side == dpkg.Base && c.UserVersionOnly && c.User.Installed()
}

// list returns the paths of a package on one side, with symbolic links of the root resolved (/lib is /usr/lib).
func (k *packages) list(c *dpkg.Choice, side int) ([]string, error) {
	id := listID{side, c.Key}
	if list, known := k.lists[id]; known {
		return list, nil
	}
	content, err := k.info(c, side, "list")
	if err != nil {
		return nil, err
	}
	list := dpkg.ParseList(content)
	for i := range list {
		list[i] = resolveAlias(k.alias[side], list[i])
	}
	k.lists[id] = list
	return list, nil
}

// info reads a file about a package from the info directory; nil when there is none.
func (k *packages) info(c *dpkg.Choice, side int, kind string) ([]byte, error) {
	pkg := on(c, side)
	if pkg == nil {
		return nil, nil
	}
	for _, name := range pkg.InfoNames() {
		n, err := lookup(k.sides()[side], path.Join(infoDir, name+"."+kind))
		if err != nil {
			return nil, err
		}
		if !n.absent() {
			return read(n, maxDatabase)
		}
	}
	return nil, nil
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
	for i := range k.choices {
		c := &k.choices[i]
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
		_, conffile := c.User.Conffiles()[p]
		return conffile
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
	return c != nil && c.Side == dpkg.Base && !c.New.Installed() && o[sideNew] == nil
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
	got, err := md5Of(t.u)
	return got == want, err
}

// digestsOf returns the digests of a package's files as the user's version has them.
func (k *packages) digestsOf(c *dpkg.Choice) (map[string]string, error) {
	if known, ok := k.digests[c]; ok {
		return known, nil
	}
	content, err := k.info(c, sideUser, "md5sums")
	if err != nil {
		return nil, err
	}
	out := make(map[string]string)
	for _, digests := range []map[string]string{dpkg.ParseDigests(content), c.User.Conffiles()} {
		for p, digest := range digests {
			out[resolveAlias(k.alias[sideUser], p)] = digest
		}
	}
	k.digests[c] = out
	return out, nil
}

func md5Of(n node) (string, error) {
	file, err := n.view.OpenEntry(n.Entry)
	if err != nil {
		return "", err
	}
	defer file.Close()
	h := md5.New() //nolint:gosec // see the import
	if _, err := io.Copy(h, file); err != nil {
		return "", fmt.Errorf("read %q: %w", n.Path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// infoChoice returns the package that a file in the info directory is about; nil for none.
func (k *packages) infoChoice(p string) *dpkg.Choice {
	name, ok := strings.CutPrefix(p, infoDir+"/")
	if !ok {
		return nil
	}
	pkg, _, ok := dpkg.InfoName(name)
	if !ok {
		return nil
	}
	return k.byInfo[pkg]
}
