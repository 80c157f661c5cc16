// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package languages

import (
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/langpkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

const (
	packageJSON = "package.json"
	nodeBins    = ".bin"
)

// nodePackage returns the package below a directory of Node packages that a path is in; "" for none.
func nodePackage(dir, name string) string {
	rest := strings.TrimPrefix(name, dir+"/")
	first, rest, _ := strings.Cut(rest, "/")
	if strings.HasPrefix(first, "@") {
		second, _, _ := strings.Cut(rest, "/")
		if second == "" {
			return ""
		}
		return first + "/" + second
	}
	if strings.HasPrefix(first, ".") {
		return ""
	}
	return first
}

// nodeUnits returns the packages in a directory of Node packages that have one of some paths, or that the user removed,
// each with the packages that are installed in it.
func nodeUnits(rd *reader, r root, touched []string) ([]*pack, error) {
	wanted := make(map[string]bool)
	for _, p := range touched {
		if name := nodePackage(r.dir, p); name != "" && sides.Within(p, r.dir) {
			wanted[name] = true
		}
	}
	user, err := nodeNames(rd, sides.User, r.dir)
	if err != nil {
		return nil, err
	}
	old, err := nodeNames(rd, sides.Old, r.dir)
	if err != nil {
		return nil, err
	}
	for _, name := range old {
		if !slices.Contains(user, name) {
			wanted[name] = true
		}
	}
	var out []*pack
	for _, name := range slices.Sorted(keys(wanted)) {
		u, err := nodeUnit(rd, r.dir, name)
		if err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	return out, nil
}

// nodeNames returns the packages that one side has in a directory of Node packages.
func nodeNames(rd *reader, side int, dir string) (out []string, err error) {
	names, err := rd.names(side, dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, "@") {
			if !strings.HasPrefix(name, ".") {
				out = append(out, name)
			}
			continue
		}
		inner, err := rd.names(side, path.Join(dir, name))
		if err != nil {
			return nil, err
		}
		for _, one := range inner {
			out = append(out, path.Join(name, one))
		}
	}
	return out, nil
}

func nodeUnit(rd *reader, dir, name string) (*pack, error) {
	at := path.Join(dir, name)
	u := &pack{
		name: name, records: []string{path.Join(at, packageJSON)}, paths: make(map[string]bool),
		order: langpkg.Semantic,
	}
	for side := range rd.plan.Views().Sides() {
		content, ok, err := rd.read(side, u.records[0])
		if err != nil {
			return nil, err
		}
		if !ok {
			u.unread = u.records[0]
			continue
		}
		if content == nil {
			continue
		}
		said, ok := langpkg.ParseNode(content)
		if !ok {
			said.Version = "without a version"
		}
		u.has[side] = map[string]string{name: said.Version}
		if err := addNodeBins(rd, u, side, dir, at, said.Bins); err != nil {
			return nil, err
		}
	}
	return u, rd.below(at, u.paths, nil)
}

// addNodeBins adds the links to a package's programs, beside the packages or in the prefix that they are installed in.
func addNodeBins(rd *reader, u *pack, side int, dir, at string, bins []string) error {
	places := []string{path.Join(dir, nodeBins)}
	if path.Base(path.Dir(dir)) == "lib" {
		places = append(places, path.Join(dir, "../../bin"))
	}
	for _, bin := range bins {
		for _, place := range places {
			full := path.Join(place, bin)
			if !sides.PossiblePath(full) || strings.Contains(bin, "/") {
				continue
			}
			n, err := sides.Lookup(rd.plan.Views().Sides()[side], full)
			if err != nil {
				return err
			}
			if n.Is(tree.Symlink) && sides.Within(path.Join(place, n.Link), at) {
				u.paths[full] = true
			}
		}
	}
	return nil
}

// nodeCaches are directories in one of Node packages that tools use for what they can make again.
var nodeCaches = []string{".cache", ".vite", ".vite-temp", ".tmp"}

// nodeTreeUnits returns the tree: with all packages, and the locks beside it.
func nodeTreeUnits(rd *reader, r root, _ []string) ([]*pack, error) {
	u := &pack{paths: make(map[string]bool), order: langpkg.Semantic}
	for _, name := range nodeLocks {
		u.records = append(u.records, path.Join(r.dir, name))
	}
	for side := range rd.plan.Views().Sides() {
		if err := addNodeTree(rd, u, side, r.dir); err != nil {
			return nil, err
		}
	}
	for _, name := range nodeTreeLocks {
		u.paths[path.Join(path.Dir(r.dir), name)] = true
	}
	skip := func(full string) bool {
		if path.Dir(full) == r.dir && slices.Contains(nodeCaches, path.Base(full)) {
			return true
		}
		return path.Dir(full) == r.dir && !u.knows(full, r.dir)
	}
	return []*pack{u}, rd.below(r.dir, u.paths, skip)
}

// knows reports whether something in a directory of Node packages is of the tree: a package that a side's lock has, a
// scope, or what the package manager itself writes.
func (u *pack) knows(full, dir string) bool {
	base := path.Base(full)
	if strings.HasPrefix(base, "@") || strings.HasPrefix(base, ".") {
		return true
	}
	for _, has := range u.has {
		if _, known := has[nodePackage(dir, full)]; known {
			return true
		}
	}
	return false
}

// addNodeTree adds the packages that one side has in a tree: those of the lock, else those that lie there.
func addNodeTree(rd *reader, u *pack, side int, dir string) error {
	content, ok, err := rd.read(side, path.Join(dir, nodeLocks[0]))
	if err != nil {
		return err
	}
	if !ok {
		u.unread = path.Join(dir, nodeLocks[0])
		return nil
	}
	if content != nil {
		u.has[side] = make(map[string]string)
		for where, version := range langpkg.ParseNodeLock(content) {
			u.has[side][strings.TrimPrefix(where, nodeModules+"/")] = version
		}
		return nil
	}
	names, err := nodeNames(rd, side, dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := addNodeVersion(rd, u, side, dir, name); err != nil {
			return err
		}
	}
	return nil
}

func addNodeVersion(rd *reader, u *pack, side int, dir, name string) error {
	content, _, err := rd.read(side, path.Join(dir, name, packageJSON))
	if err != nil || content == nil {
		return err
	}
	if said, ok := langpkg.ParseNode(content); ok {
		if u.has[side] == nil {
			u.has[side] = make(map[string]string)
		}
		u.has[side][name] = said.Version
	}
	return nil
}
