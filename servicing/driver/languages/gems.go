// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package languages

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/langpkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

const gemspec = ".gemspec"

// gemVersions are the versions of a gem that a side has, by the name of the directory that each is in.
type gemVersions map[string]string

// gemIndex returns, by name, the versions of all gems that one side has in a home.
func gemIndex(rd *reader, side int, dir string) (map[string]gemVersions, error) {
	out := make(map[string]gemVersions)
	for _, specs := range []string{specDir, path.Join(specDir, "default")} {
		names, err := rd.names(side, path.Join(dir, specs))
		if err != nil {
			return nil, err
		}
		for _, base := range names {
			full, is := strings.CutSuffix(base, gemspec)
			if !is {
				continue
			}
			name, version, ok := langpkg.GemPackage(full)
			if !ok {
				continue
			}
			if out[name] == nil {
				out[name] = make(gemVersions)
			}
			out[name][full] = version
		}
	}
	return out, nil
}

// gemUnits returns the gems in a home that have one of some paths, or that the user removed. Ruby has several versions
// of a gem side by side: each is a unit, except where every side has just one of them, which then is another version of
// the same.
func gemUnits(rd *reader, r root, touched []string) ([]*pack, error) {
	var index [3]map[string]gemVersions
	wanted := make(map[string]bool)
	for side := range index {
		var err error
		if index[side], err = gemIndex(rd, side, r.dir); err != nil {
			return nil, err
		}
	}
	for _, p := range touched {
		if full := gemOf(r.dir, p); full != "" {
			if name, _, ok := langpkg.GemPackage(full); ok {
				wanted[name] = true
			}
		}
	}
	for name, versions := range index[sides.Old] {
		for full := range versions {
			if _, has := index[sides.User][name][full]; !has {
				wanted[name] = true
			}
		}
	}
	var out []*pack
	for _, name := range slices.Sorted(keys(wanted)) {
		units, err := gemsNamed(rd, r.dir, name, index)
		if err != nil {
			return nil, err
		}
		out = append(out, units...)
	}
	return out, nil
}

// gemOf returns the gem that a path in a home is of, as its directory is called; "" for none.
func gemOf(dir, name string) string {
	parts := strings.Split(strings.TrimPrefix(name, dir+"/"), "/")
	if len(parts) < 2 || !sides.Within(name, dir) {
		return ""
	}
	base := parts[1]
	switch {
	case parts[0] == "extensions" && len(parts) > 3:
		return parts[3]
	case parts[0] == specDir && base == "default" && len(parts) > 2:
		base = parts[2]
	}
	for _, suffix := range []string{gemspec, ".gem", ".info"} {
		base = strings.TrimSuffix(base, suffix)
	}
	return base
}

// gemsNamed returns the units of the gems of a name.
func gemsNamed(rd *reader, dir, name string, index [3]map[string]gemVersions) ([]*pack, error) {
	single, all := true, make(map[string]string)
	for _, side := range index {
		single = single && len(side[name]) <= 1
		maps.Copy(all, side[name])
	}
	var groups [][]string
	if single {
		groups = [][]string{slices.Sorted(keys(all))}
	} else {
		for _, full := range slices.Sorted(keys(all)) {
			groups = append(groups, []string{full})
		}
	}
	var out []*pack
	for _, group := range groups {
		u := &pack{name: name, paths: make(map[string]bool), order: langpkg.Gem}
		for side := range index {
			for _, full := range group {
				if version, has := index[side][name][full]; has {
					u.has[side] = map[string]string{name: version}
				}
			}
		}
		for _, full := range group {
			if err := addGem(rd, u, dir, full); err != nil {
				return nil, err
			}
		}
		out = append(out, u)
	}
	return out, nil
}

// addGem adds the files of one version of a gem.
func addGem(rd *reader, u *pack, dir, full string) error {
	places := []string{
		path.Join(specDir, full+gemspec), path.Join(specDir, "default", full+gemspec), path.Join("gems", full),
		path.Join("build_info", full+".info"), path.Join("cache", full+".gem"), path.Join("doc", full),
	}
	u.records = append(u.records, path.Join(dir, places[0]), path.Join(dir, places[1]))
	for side := range rd.plan.Views().Sides() {
		platforms, err := rd.names(side, path.Join(dir, "extensions"))
		if err != nil {
			return err
		}
		for _, platform := range platforms {
			abis, err := rd.names(side, path.Join(dir, "extensions", platform))
			if err != nil {
				return err
			}
			for _, abi := range abis {
				places = append(places, path.Join("extensions", platform, abi, full))
			}
		}
	}
	for _, one := range places {
		if err := rd.below(path.Join(dir, one), u.paths, nil); err != nil {
			return err
		}
	}
	return nil
}

// bundleUnits returns a bundle, with the lock beside the directory that it is vendored in.
func bundleUnits(rd *reader, r root, _ []string) ([]*pack, error) {
	lock := path.Join(r.dir, "../..", gemfileLock)
	u := &pack{records: []string{lock}, paths: map[string]bool{lock: true}, order: langpkg.Gem}
	for side := range rd.plan.Views().Sides() {
		abis, err := rd.names(side, path.Join(r.dir, "ruby"))
		if err != nil {
			return nil, err
		}
		for _, abi := range abis {
			index, err := gemIndex(rd, side, path.Join(r.dir, "ruby", abi))
			if err != nil {
				return nil, err
			}
			for name, versions := range index {
				if u.has[side] == nil {
					u.has[side] = make(map[string]string)
				}
				u.has[side][name] = strings.Join(slices.Sorted(values(versions)), " and ")
			}
		}
	}
	return []*pack{u}, rd.below(r.dir, u.paths, nil)
}

// rUnits returns the packages in a library of R that have one of some paths, or that the user removed.
func rUnits(rd *reader, r root, touched []string) ([]*pack, error) {
	wanted := make(map[string]bool)
	for _, p := range touched {
		if rest, in := strings.CutPrefix(p, r.dir+"/"); in {
			name, _, _ := strings.Cut(rest, "/")
			wanted[name] = true
		}
	}
	user, err := rd.names(sides.User, r.dir)
	if err != nil {
		return nil, err
	}
	old, err := rd.names(sides.Old, r.dir)
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
		at := path.Join(r.dir, name)
		u := &pack{
			name: name, records: []string{path.Join(at, "DESCRIPTION")}, paths: make(map[string]bool),
			order: langpkg.Dotted,
		}
		for side := range rd.plan.Views().Sides() {
			content, _, err := rd.read(side, u.records[0])
			if err != nil {
				return nil, err
			}
			if content != nil && sides.PossiblePath(at) {
				_, version := langpkg.ParseDescription(content)
				u.has[side] = map[string]string{name: version}
			}
		}
		if err := rd.below(at, u.paths, nil); err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	return out, nil
}
