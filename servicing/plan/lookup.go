// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"path"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// paths looks up paths with the packages that have them.
type paths struct {
	views    *sides.Views
	packages *pkg.Packages
}

// own finds out which packages have a path. For what only the storage has it matters only if there is a package whose
// version the new base's replaces.
func (l *paths) own(t *sides.Three) (err error) {
	if t.O.Absent() && t.N.Absent() && !l.packages.Replaces() {
		return nil
	}
	t.Own, err = l.packages.OwnerOf(*t)
	return err
}

// look looks up a path and its owners.
func (l *paths) look(name string) (sides.Three, error) {
	t, err := l.views.Three(name)
	if err != nil {
		return t, err
	}
	err = l.own(&t)
	return t, err
}

// child looks up a name in a directory.
func (l *paths) child(dir sides.Three, name string) (sides.Three, error) {
	t, err := l.views.Moved(path.Join(dir.Was, name), path.Join(dir.Path, name))
	if err != nil {
		return t, err
	}
	err = l.own(&t)
	return t, err
}

// childOrOwn is child; in a directory that has moved to where another one was, a name speaks for itself if the old
// base or the user had it there.
func (l *paths) childOrOwn(dir sides.Three, name string) (sides.Three, error) {
	if dir.Was == dir.Path {
		return l.child(dir, name)
	}
	t, err := l.look(path.Join(dir.Path, name))
	if err != nil || !t.O.Absent() || !t.U.Absent() {
		return t, err
	}
	return l.child(dir, name)
}
