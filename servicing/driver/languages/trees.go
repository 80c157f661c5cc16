// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package languages

import (
	"encoding/json"
	"iter"
	"maps"
	"path"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/langpkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// composerUnits returns a tree of PHP packages, with the lock beside it.
func composerUnits(rd *reader, r root, _ []string) ([]*pack, error) {
	record, lock := path.Join(r.dir, "composer/installed.json"), path.Join(path.Dir(r.dir), composerLock)
	u := &pack{records: []string{record}, paths: map[string]bool{lock: true}, order: langpkg.Semantic}
	for side := range rd.plan.Views().Sides() {
		content, ok, err := rd.read(side, record)
		if err != nil {
			return nil, err
		}
		if !ok {
			u.unread = record
		}
		if content != nil {
			u.has[side] = langpkg.ParseComposer(content)
		}
	}
	return []*pack{u}, rd.below(r.dir, u.paths, nil)
}

// condaUnits returns an environment: what conda installed in it, and what pip did.
func condaUnits(rd *reader, r root, _ []string) ([]*pack, error) {
	meta := path.Join(r.dir, condaMeta)
	u := &pack{records: []string{path.Join(meta, "history")}, paths: make(map[string]bool), order: langpkg.PEP440}
	if err := rd.below(meta, u.paths, nil); err != nil {
		return nil, err
	}
	for side := range rd.plan.Views().Sides() {
		names, err := rd.names(side, meta)
		if err != nil {
			return nil, err
		}
		for _, base := range names {
			name, version, ok := langpkg.CondaPackage(base)
			if !ok {
				continue
			}
			if u.has[side] == nil {
				u.has[side] = make(map[string]string)
			}
			u.has[side][name] = version
			u.records = append(u.records, path.Join(meta, base))
			if err := addConda(rd, u, side, r.dir, path.Join(meta, base)); err != nil {
				return nil, err
			}
		}
		if err := addPip(rd, u, side, r.dir); err != nil {
			return nil, err
		}
	}
	return []*pack{u}, addByteCode(rd, u)
}

// addConda adds the files of one package of an environment.
func addConda(rd *reader, u *pack, side int, dir, record string) error {
	content, ok, err := rd.read(side, record)
	if err != nil {
		return err
	}
	var said struct {
		Files []string `json:"files"`
	}
	if !ok || json.Unmarshal(content, &said) != nil {
		u.unread = record
	}
	if err := rd.count(len(said.Files)); err != nil {
		return err
	}
	for _, name := range said.Files {
		if full := path.Join(dir, name); sides.PossiblePath(name) && sides.Within(full, dir) {
			u.paths[full] = true
		}
	}
	return nil
}

// addPip adds the packages that pip installed in an environment.
func addPip(rd *reader, u *pack, side int, dir string) error {
	names, err := rd.names(side, path.Join(dir, "lib"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, "python") {
			continue
		}
		modules := path.Join(dir, "lib", name, "site-packages")
		list, err := rd.names(side, modules)
		if err != nil {
			return err
		}
		for _, base := range list {
			called, version, ok := langpkg.PythonPackage(base)
			if !ok || u.has[side] == nil {
				continue
			}
			one := &pack{name: called, paths: make(map[string]bool)}
			if err := addPython(rd, one, side, path.Join(modules, base), version); err != nil {
				return err
			}
			u.has[side]["pip "+called] = version
			maps.Copy(u.paths, one.paths)
		}
	}
	return nil
}

// cargoUnits returns what cargo installed in a root: the programs, and the records of them.
func cargoUnits(rd *reader, r root, _ []string) ([]*pack, error) {
	u := &pack{paths: make(map[string]bool), order: langpkg.Semantic}
	for _, one := range []struct {
		name  string
		parse func([]byte) (langpkg.CargoInstalls, bool)
	}{{crates2, langpkg.ParseCrates2}, {crates, langpkg.ParseCrates}} {
		record := path.Join(r.dir, one.name)
		u.records, u.paths[record] = append(u.records, record), true
		for side := range rd.plan.Views().Sides() {
			content, ok, err := rd.read(side, record)
			if err != nil {
				return nil, err
			}
			if content == nil && ok {
				continue
			}
			said, ok := one.parse(content)
			if !ok {
				u.unread = record
				continue
			}
			if u.has[side] == nil {
				u.has[side] = make(map[string]string)
			}
			maps.Copy(u.has[side], said.Versions)
			for _, bin := range said.Bins {
				u.paths[path.Join(r.dir, "bin", bin)] = true
			}
		}
	}
	return []*pack{u}, nil
}

func values[K comparable, V any](m map[K]V) iter.Seq[V] { return maps.Values(m) }
