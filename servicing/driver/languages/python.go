// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package languages

import (
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/langpkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// pythonDirs are the directories of a prefix that packages of Python install into; what is configured in etc is no part
// of them.
var pythonDirs = []string{"bin", "sbin", "share", "include", "man", "lib", "lib64", "libexec"}

// pythonUnits returns the packages in a directory of Python modules that have one of some paths.
func pythonUnits(rd *reader, r root, touched []string) ([]*pack, error) {
	all, err := pythonIndex(rd, r.dir)
	if err != nil {
		return nil, err
	}
	out := touchedOf(all, touched)
	for _, u := range out {
		if err := addByteCode(rd, u); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// pythonIndex returns all packages in a directory of Python modules, by name. A path that several packages have is in
// none.
func pythonIndex(rd *reader, dir string) (map[string]*pack, error) {
	all := make(map[string]*pack)
	for side := range rd.plan.Views().Sides() {
		names, err := rd.names(side, dir)
		if err != nil {
			return nil, err
		}
		for _, base := range names {
			name, version, ok := langpkg.PythonPackage(base)
			if !ok {
				continue
			}
			u := all[name]
			if u == nil {
				u = &pack{name: name, paths: make(map[string]bool), digests: make(map[string]string),
					order: langpkg.PEP440}
				all[name] = u
			}
			if err := addPython(rd, u, side, path.Join(dir, base), version); err != nil {
				return nil, err
			}
		}
	}
	disown(all)
	return all, nil
}

// addPython adds what one side has of a package, by its record. Two records of one name have no version that could be
// compared.
func addPython(rd *reader, u *pack, side int, record, version string) error {
	if u.has[side] == nil {
		u.has[side] = map[string]string{u.name: version}
	} else {
		u.has[side][u.name] += " and " + version
	}
	dir := path.Dir(record)
	files, ok, err := pythonFiles(rd, side, record)
	if err != nil {
		return err
	}
	if !ok {
		u.unread = record
	}
	for _, name := range []string{"METADATA", langpkg.PythonRecord, "PKG-INFO", ""} { // old records are one file
		u.records = append(u.records, path.Join(record, name))
	}
	if err := rd.below(record, u.paths, nil); err != nil {
		return err
	}
	if err := rd.count(len(files)); err != nil {
		return err
	}
	hashed := false
	for _, f := range files {
		full := path.Join(dir, f.Path)
		if path.IsAbs(f.Path) || !sides.PossiblePath(full) || !ofPython(full, dir) {
			continue
		}
		u.paths[full] = true
		hashed = hashed || f.SHA256 != ""
		if side == sides.User && f.SHA256 != "" && u.digests != nil {
			u.digests[full] = f.SHA256
		}
	}
	if side == sides.User && !hashed {
		u.digests = nil
	}
	return nil
}

// ofPython reports whether a path may be of a package in a directory of modules.
func ofPython(name, dir string) bool {
	if sides.Within(name, dir) {
		return true
	}
	prefix := path.Join(dir, "../../..")
	if strings.HasPrefix(prefix, "..") {
		return false
	}
	rest := name
	if prefix != "." {
		var in bool
		if rest, in = strings.CutPrefix(name, prefix+"/"); !in {
			return false
		}
	}
	first, _, _ := strings.Cut(rest, "/")
	return slices.Contains(pythonDirs, first)
}

// pythonFiles returns the files of a package, relative to the directory that its record is in. It reports false when
// the record cannot be read.
func pythonFiles(rd *reader, side int, record string) ([]langpkg.File, bool, error) {
	content, ok, err := rd.read(side, path.Join(record, langpkg.PythonRecord))
	if err != nil || !ok {
		return nil, false, err
	}
	if content != nil {
		files, ok := langpkg.ParseRecord(content)
		return files, ok, nil
	}
	content, ok, err = rd.read(side, path.Join(record, langpkg.InstalledFiles))
	if err != nil || !ok {
		return nil, false, err
	}
	if content != nil {
		files := langpkg.ParseInstalledFiles(content)
		for i := range files {
			files[i].Path = path.Join(path.Base(record), files[i].Path)
		}
		return files, true, nil
	}
	return pythonModules(rd, side, record)
}

// pythonModules returns the files of a package whose record does not list them: the modules that it names.
func pythonModules(rd *reader, side int, record string) ([]langpkg.File, bool, error) {
	content, ok, err := rd.read(side, path.Join(record, langpkg.TopLevel))
	if err != nil || !ok {
		return nil, ok, err
	}
	modules := strings.Fields(string(content))
	if content == nil {
		name, _, _ := langpkg.PythonPackage(path.Base(record))
		modules = []string{strings.ReplaceAll(name, "-", "_")}
	}
	dir, paths := path.Dir(record), make(map[string]bool)
	for _, module := range modules {
		if !sides.PossiblePath(module) {
			continue
		}
		for _, full := range []string{path.Join(dir, module), path.Join(dir, module+".py")} {
			if err := rd.below(full, paths, nil); err != nil {
				return nil, false, err
			}
		}
	}
	var out []langpkg.File
	for _, full := range slices.Sorted(keys(paths)) {
		out = append(out, langpkg.File{Path: strings.TrimPrefix(full, dir+"/")})
	}
	return out, true, nil
}

// addByteCode adds what was compiled from the modules of a package.
func addByteCode(rd *reader, u *pack) error {
	const cache = "__pycache__"
	stems := make(map[string]bool)
	dirs := make(map[string]bool)
	for name := range u.paths {
		if stem, is := strings.CutSuffix(name, ".py"); is {
			stems[stem] = true
			dirs[path.Dir(name)] = true
		}
	}
	for dir := range dirs {
		for side := range rd.plan.Views().Sides() {
			names, err := rd.names(side, path.Join(dir, cache))
			if err != nil {
				return err
			}
			for _, name := range names {
				stem, _, _ := strings.Cut(name, ".")
				if strings.HasSuffix(name, byteCode) && stems[path.Join(dir, stem)] {
					u.paths[path.Join(dir, cache, name)] = true
				}
			}
		}
	}
	return nil
}

// disown takes the paths that several packages have away from all of them.
func disown(all map[string]*pack) {
	count := make(map[string]int)
	for _, u := range all {
		for name := range u.paths {
			count[name]++
		}
	}
	for _, u := range all {
		for name := range u.paths {
			if count[name] > 1 {
				delete(u.paths, name)
			}
		}
	}
}

// touchedOf returns the packages that have one of some paths, or something below it, and those that the user
// removed, in the order of their names.
func touchedOf(all map[string]*pack, touched []string) (out []*pack) {
	owner := make(map[string]string)
	for name, u := range all {
		for p := range u.paths {
			owner[p] = name
		}
	}
	paths, wanted := slices.SortedFunc(keys(owner), sides.ComparePaths), make(map[string]bool)
	for name, u := range all {
		if len(u.has[sides.Old]) > 0 && len(u.has[sides.User]) == 0 {
			wanted[name] = true // removed by the user
		}
	}
	for _, p := range touched {
		from, _ := slices.BinarySearchFunc(paths, p, sides.ComparePaths)
		for ; from < len(paths) && sides.Within(paths[from], p); from++ {
			wanted[owner[paths[from]]] = true
		}
	}
	for _, name := range slices.Sorted(keys(wanted)) {
		out = append(out, all[name])
	}
	return out
}
