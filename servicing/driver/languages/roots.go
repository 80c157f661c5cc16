// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package languages

import (
	"cmp"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// kind is a kind of packages.
type kind int

// The kinds of packages.
const (
	pythonPackages kind = iota
	nodePackages
	nodeTree
	gems
	bundle
	composer
	conda
	cargo
	rPackages
)

// kinds says of each kind what its packages are called in reports, and how they are found.
var kinds map[kind]kindInfo

func init() { //nolint:gochecknoinits // what finds packages asks the table for the others
	kinds = map[kind]kindInfo{
		pythonPackages: {"Python package", pythonUnits},
		nodePackages:   {"Node package", nodeUnits},
		nodeTree:       {"tree of Node packages", nodeTreeUnits},
		gems:           {"gem", gemUnits},
		bundle:         {"bundle of gems", bundleUnits},
		composer:       {"tree of PHP packages", composerUnits},
		conda:          {"conda environment", condaUnits},
		cargo:          {"set of crates", cargoUnits},
		rPackages:      {"R package", rUnits},
	}
}

// kindInfo says what packages of a kind are called, and returns those in a root that some paths may belong to.
type kindInfo struct {
	called string
	units  func(rd *reader, r root, touched []string) ([]*pack, error)
}

// root is a directory with packages of a kind.
type root struct {
	dir  string
	kind kind
}

func (r root) compare(other root) int {
	return cmp.Or(strings.Compare(r.dir, other.dir), cmp.Compare(r.kind, other.kind))
}

// place is a name in a directory where a root may be.
type place struct{ dir, name string }

// The names that show where to look.
const (
	nodeModules  = "node_modules"
	vendorDir    = "vendor"
	condaMeta    = "conda-meta"
	specDir      = "specifications"
	crates       = ".crates.toml"
	crates2      = ".crates2.json"
	composerLock = "composer.lock"
	gemfileLock  = "Gemfile.lock"
)

var (
	// nodeLocks are in a directory of Node packages that is a tree, and nodeTreeLocks beside it.
	nodeLocks     = []string{".package-lock.json", ".yarn-integrity", ".yarn-state.yml", ".modules.yaml"}
	nodeTreeLocks = []string{"package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml"}
	// prefixDirs are what conda installs into.
	prefixDirs = []string{
		condaMeta, "bin", "sbin", "lib", "lib64", "libexec", "include", "share", "etc", "ssl", "man", "condabin",
		"shell",
		"compiler_compat",
	}
	// gemDirs are in a home of gems.
	gemDirs = []string{specDir, "gems", "extensions", "build_info", "cache", "doc"}
)

// rootOf returns the outermost root that a path belongs to; nil for none. What is in a store belongs to that.
func (dr *driver) rootOf(name string) (*root, error) {
	for begin, end := 0, 0; end < len(name); begin = end + 1 {
		if i := strings.IndexByte(name[begin:], '/'); i >= 0 {
			end = begin + i
		} else {
			end = len(name)
		}
		dir, below := ".", end < len(name)
		if begin > 0 {
			dir = name[:begin-1]
		}
		r, err := dr.rememberedAt(place{dir, name[begin:end]}, below)
		if r != nil || err != nil {
			return r, err
		}
	}
	return nil, nil
}

// rememberedAt is rootAt, which looks once for all that is in a name.
func (dr *driver) rememberedAt(at place, below bool) (*root, error) {
	if !below {
		return dr.rootAt(at, below)
	}
	r, known := dr.found[at]
	if known {
		return r, nil
	}
	r, err := dr.rootAt(at, below)
	if err == nil {
		dr.found[at] = r
	}
	return r, err
}

// rootAt returns the root that a name in a directory leads to; below reports whether it is about what is in that name.
func (dr *driver) rootAt(at place, below bool) (*root, error) {
	r, err := dr.kindAt(at, below)
	if err != nil || r == nil {
		return nil, err
	}
	store, err := dr.stores.Root(path.Dir(r.dir))
	if err != nil || store != "" {
		return nil, err
	}
	return r, nil
}

func (dr *driver) kindAt(at place, below bool) (*root, error) {
	full := path.Join(at.dir, at.name)
	switch {
	case (at.name == "site-packages" || at.name == "dist-packages") && below:
		return &root{full, pythonPackages}, nil
	case at.name == nodeModules && below:
		return dr.nodeRoot(full)
	case at.name == vendorDir && below:
		return dr.vendorRoot(at.dir)
	case at.name == "site-library" && below:
		return &root{full, rPackages}, nil
	case slices.Contains([]string{crates, crates2, "bin"}, at.name):
		if is, err := dr.any(at.dir, crates, crates2); err != nil || is {
			return &root{at.dir, cargo}, err
		}
	}
	if !below {
		return dr.lockedRoot(at)
	}
	return dr.prefixRoot(at)
}

// lockedRoot returns the tree that a file is the lock of.
func (dr *driver) lockedRoot(at place) (*root, error) {
	switch {
	case slices.Contains(nodeTreeLocks, at.name):
		r, err := dr.nodeRoot(path.Join(at.dir, nodeModules))
		if r.kind != nodeTree {
			r = nil
		}
		return r, err
	case at.name == composerLock || at.name == gemfileLock:
		return dr.vendorRoot(at.dir)
	}
	return nil, nil
}

// prefixRoot returns the root that a directory is because of what else is in it.
func (dr *driver) prefixRoot(at place) (*root, error) {
	if at.dir != "." && slices.Contains(prefixDirs, at.name) {
		if is, err := dr.any(at.dir, condaMeta); err != nil || is {
			return &root{at.dir, conda}, err
		}
	}
	if slices.Contains(gemDirs, at.name) {
		if is, err := dr.any(at.dir, specDir); err != nil || is {
			return &root{at.dir, gems}, err
		}
	}
	return nil, nil
}

// nodeRoot returns a directory of Node packages: a tree if there is a lock for all of it. What is installed globally,
// in the lib of a prefix, is no tree.
func (dr *driver) nodeRoot(dir string) (*root, error) {
	if path.Base(path.Dir(dir)) == "lib" {
		return &root{dir, nodePackages}, nil
	}
	tree, err := dr.any(dir, nodeLocks...)
	if tree {
		return &root{dir, nodeTree}, err
	}
	return &root{dir, nodePackages}, err
}

// vendorRoot returns what is vendored in a directory: PHP's packages, or a bundle of gems.
func (dr *driver) vendorRoot(dir string) (*root, error) {
	vendor := path.Join(dir, vendorDir)
	if is, err := dr.any(vendor, "composer/installed.json"); err != nil || is {
		return &root{vendor, composer}, err
	}
	if is, err := dr.any(dir, gemfileLock); err != nil || !is {
		return nil, err
	}
	if is, err := dr.any(vendor, "bundle"); err != nil || !is {
		return nil, err
	}
	return &root{path.Join(vendor, "bundle"), bundle}, nil
}

// any reports whether any side has one of some names in a directory.
func (dr *driver) any(dir string, names ...string) (bool, error) {
	for _, view := range dr.plan.Views().Sides() {
		for _, name := range names {
			n, err := sides.Lookup(view, path.Join(dir, name))
			if err != nil || !n.Absent() {
				return err == nil, err
			}
		}
	}
	return false, nil
}

// ofSystem reports whether a package manager of the system has a package.
func ofSystem(c *unit.Choice) bool { return c != nil }

// changedBySystem reports whether the user has another version of a package than the old base, by a package manager of
// the system.
func changedBySystem(c *unit.Choice) bool { return c != nil && c.UserVersionOnly }

func keys[K comparable, V any](m map[K]V) iter.Seq[K] { return maps.Keys(m) }
