// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pkg knows the packages of a system, whatever its package managers are: whose version of a package counts,
// which files are its, and which fixes wait. What a package manager has to know is an interface; each one is a
// package below this one.
package pkg

import (
	"iter"
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// MaxDatabase is how much of one file of a package database is read.
const MaxDatabase = 32 << 20

// Manager knows the databases of one package manager, on all sides. Paths are relative to the root, as it writes them.
type Manager interface {
	// Name is what the package manager is called, in reports as well.
	Name() string
	// Choices returns what was decided about each package; always the same slice.
	Choices() []unit.Choice
	// Files returns the paths of a package on one side.
	Files(c *unit.Choice, side int) ([]string, error)
	// Digests returns the digests of a package's files as the user's version has them.
	Digests(c *unit.Choice) (map[string]string, error)
	// Matches reports whether a regular file has such a digest.
	Matches(n sides.Node, digest string) (bool, error)
	// Architecture returns the one that the system is of, "" when it is not known.
	Architecture(side int) string
	// Compare compares versions as the package manager does.
	Compare(a, b string) (int, error)
	// Upgrade returns the command that brings packages, and what they need, to the newest version that there is.
	Upgrade(names []string) string
}

// Packages knows the packages of all sides: whose version counts, and which files are theirs.
type Packages struct {
	views    *sides.Views
	managers []Manager // in the order of their names
	by       map[*unit.Choice]Manager
	owners   map[string]sides.Owner // by path; nil as long as nobody asked
	digests  map[*unit.Choice]map[string]string
	lists    map[listID][]string
	alias    [3]map[string]string // by side: symbolic links in the root that lead to directories
	// replaced: there is a package of which the user has another version than both bases, and the new base's counts.
	replaced bool
}

type listID struct {
	side int
	c    *unit.Choice
}

// New returns what all package managers of a system know.
func New(v *sides.Views, managers ...Manager) (*Packages, error) {
	k := &Packages{
		views:    v,
		managers: slices.SortedFunc(slices.Values(managers), byName),
		by:       make(map[*unit.Choice]Manager),
		digests:  make(map[*unit.Choice]map[string]string),
		lists:    make(map[listID][]string),
	}
	for side := range k.views.Sides() {
		var err error
		if k.alias[side], err = k.aliases(side); err != nil {
			return nil, err
		}
	}
	for _, m := range k.managers {
		for i := range m.Choices() {
			c := &m.Choices()[i]
			k.by[c] = m
			k.replaced = k.replaced || c.Replaces()
		}
	}
	return k, nil
}

// byName orders package managers.
func byName(a, b Manager) int { return strings.Compare(a.Name(), b.Name()) }

// All returns what was decided about each package of all package managers.
func (k *Packages) All() []*unit.Choice {
	var out []*unit.Choice
	for _, m := range k.managers {
		choices := m.Choices()
		for i := range choices {
			out = append(out, &choices[i])
		}
	}
	return out
}

// ManagerOf returns the name of the package manager of the first of some packages that is one; "" when none is.
func (k *Packages) ManagerOf(choices ...*unit.Choice) string {
	for _, c := range choices {
		if c != nil {
			return k.by[c].Name()
		}
	}
	return ""
}

// Architecture returns the one that a side is of; "" when it is not known.
func (k *Packages) Architecture(side int) string {
	for _, m := range k.managers {
		if arch := m.Architecture(side); arch != "" {
			return arch
		}
	}
	return ""
}

// List returns the paths of a package on one side, with symbolic links of the root resolved (/lib is /usr/lib).
func (k *Packages) List(c *unit.Choice, side int) ([]string, error) {
	id := listID{side, c}
	if list, known := k.lists[id]; known {
		return list, nil
	}
	list, err := k.by[c].Files(c, side)
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
func (k *Packages) aliases(side int) (map[string]string, error) {
	view := k.views.Sides()[side]
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

// OwnerOf returns whose a path is. The lists are read when it is asked for the first time.
func (k *Packages) OwnerOf(t sides.Three) (sides.Owner, error) {
	if err := k.readOwners(); err != nil {
		return sides.Owner{}, err
	}
	was := k.owners[t.Was]
	return sides.Owner{was[sides.Old], k.owners[t.Path][sides.New], was[sides.User]}, nil
}

// Replaces reports whether there is a package of which the user has another version than both bases, and the new
// base's counts.
func (k *Packages) Replaces() bool { return k.replaced }

// BaseFiles yields the paths in the lists of the new base's packages, with the package, in no order.
func (k *Packages) BaseFiles() (iter.Seq2[string, *unit.Choice], error) {
	if err := k.readOwners(); err != nil {
		return nil, err
	}
	return func(yield func(string, *unit.Choice) bool) {
		for name, o := range k.owners {
			if c := o[sides.New]; c != nil && !yield(name, c) {
				return
			}
		}
	}, nil
}

// readOwners reads the lists of all packages, unless that is done.
func (k *Packages) readOwners() error {
	if k.owners != nil {
		return nil
	}
	owners := make(map[string]sides.Owner)
	for _, c := range k.All() {
		for side := range k.views.Sides() {
			if !sides.On(c, side).Installed() {
				continue
			}
			list, err := k.List(c, side)
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

// Shipped reports whether the user's file is as the user's version of its package shipped it, while the new base's
// version counts: then the user did not change it.
func (k *Packages) Shipped(t sides.Three) (bool, error) {
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
	return k.by[c].Matches(t.U, want)
}

// digestsOf returns the digests of a package's files as the user's version has them.
func (k *Packages) digestsOf(c *unit.Choice) (map[string]string, error) {
	if known, ok := k.digests[c]; ok {
		return known, nil
	}
	shipped, err := k.by[c].Digests(c)
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

// Hidden returns what the user's version of a path hides: the package of the new base that has it, or all with
// something below it that the update changed.
func (k *Packages) Hidden(t sides.Three) []report.Fix {
	found := make(map[*unit.Choice]bool)
	if c := t.Own[sides.New]; c != nil && t.N.File() {
		found[c] = true
	}
	if t.N.Dir() && !t.U.Dir() {
		for p, o := range k.owners {
			c := o[sides.New]
			if c == nil || p == t.Path || !sides.Within(p, t.Path) {
				continue
			}
			if !c.Old.Installed() || c.Old.Version != c.New.Version {
				found[c] = true
			}
		}
	}
	var out []report.Fix
	for c := range found {
		out = append(out, report.Fix{Package: c.Key, Version: c.New.Version})
	}
	slices.SortFunc(out, func(a, b report.Fix) int { return strings.Compare(a.Package, b.Package) })
	return out
}

// Report returns the packages whose version is not the same on all sides.
func (k *Packages) Report() []report.PackageReport {
	var out []report.PackageReport
	for _, c := range k.All() {
		r := report.PackageReport{
			Name: c.Key, Old: c.Old.InstalledVersion(), New: c.New.InstalledVersion(), User: c.User.InstalledVersion(),
			Effective: c.Effective.InstalledVersion(), Side: c.Side, Reason: c.Reason,
		}
		if r.Old != r.New || r.Old != r.User {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b report.PackageReport) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Order compares versions as the package manager of a package does.
func (k *Packages) Order(c *unit.Choice, a, b string) (int, error) { return k.by[c].Compare(a, b) }

// Resolved returns where a path of a side is when symbolic links in the root are followed.
func (k *Packages) Resolved(side int, p string) string { return resolveAlias(k.alias[side], p) }

// Renamer is a package manager whose packages say where their files went.
type Renamer interface {
	// Renamed returns where the new base's version of a package has a file that earlier versions had at a path, as far
	// as the package says so; "" for nowhere.
	Renamed(p string) (string, error)
}

// Renamed returns where a package of the new base says that a file of its earlier versions is now; "" for nowhere.
func (k *Packages) Renamed(p string) (string, error) {
	for _, m := range k.managers {
		r, ok := m.(Renamer)
		if !ok {
			continue
		}
		if to, err := r.Renamed(p); err != nil || to != "" {
			return to, err
		}
	}
	return "", nil
}

// Find returns the package manager of a type among those that were given; the zero one if there is none.
func Find[M Manager](k *Packages) (found M) {
	for _, m := range k.managers {
		if is, ok := m.(M); ok {
			return is
		}
	}
	return found
}
