// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"maps"
	"path"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// fileID identifies a file whatever its names are.
type fileID struct{ dev, ino uint64 }

// link is a name of a file with several names.
type link struct {
	was, path string // in the storage and in the result
	own       bool   // neither base has something there
}

// links are the files of the storage with several names.
type links struct {
	views    *sides.Views
	packages *pkg.Packages
	result   *result
	groups   map[fileID][]link
}

// keep keeps names of one file of the storage together: when one of them gets a merged content or other metadata, those
// that neither base has something to say about follow.
func (k *links) keep() error {
	for _, links := range k.groups {
		changed, err := k.changedLink(links)
		if err != nil {
			return err
		}
		if changed == "" {
			if err := k.moveTogether(links); err != nil {
				return err
			}
			continue
		}
		for _, l := range links {
			if !l.own {
				continue
			}
			user, err := sides.Lookup(k.views.User, l.path)
			if err != nil {
				return err
			}
			o := k.result.want[changed]
			if o.Gains(user) {
				continue // what the base gives to its name is not for one of the user's own
			}
			o.LinkTo = changed
			k.result.show(l.path, o)
		}
	}
	return nil
}

// moveTogether writes all names of a file that is written again because one of them has moved: else that one would be
// a file of its own.
func (k *links) moveTogether(links []link) error {
	moved := func(l link) bool {
		o, decided := k.result.want[l.path]
		return decided && l.was != l.path && o.View == k.views.User
	}
	if !slices.ContainsFunc(links, moved) {
		return nil
	}
	for _, l := range links {
		o, decided := k.result.want[l.path]
		if !decided && l.own {
			n, err := sides.Lookup(k.views.User, l.was)
			if err != nil {
				return err
			}
			o = sides.Shows(n)
		}
		if o.View != k.views.User || o.Made {
			continue
		}
		o.Force = true
		k.result.show(l.path, o)
	}
	return nil
}

// changedLink returns the first name whose file is the user's, but not as it was; "" when there is none.
func (k *links) changedLink(links []link) (string, error) {
	for _, l := range links {
		o, decided := k.result.want[l.path]
		if !decided || l.own || o.View != k.views.User {
			continue
		}
		user, err := sides.Lookup(k.views.User, l.path)
		if err != nil {
			return "", err
		}
		if o.Made || !sides.SameMeta(o.Kind, o.Meta, user.Meta) {
			return l.path, nil
		}
	}
	return "", nil
}

// complete adds, where a name of a file is copied out of the new base, the other names of that file in the same
// directory and in the same package: else the group would be split between the delta storage and the base.
func (k *links) complete() error {
	for _, name := range slices.Sorted(maps.Keys(k.result.want)) {
		o := k.result.want[name]
		if o.View != k.views.New || o.Kind == tree.Directory || o.Nlink < 2 || o.Made {
			continue
		}
		shown, err := sides.Lookup(k.views.Plain, name)
		if err != nil {
			return err
		}
		if sides.SameBacking(shown, o.Node) && sides.SameMeta(o.Kind, shown.Meta, o.Meta) {
			continue // not copied
		}
		if err := k.completeGroup(o); err != nil {
			return err
		}
	}
	return nil
}

func (k *links) completeGroup(o sides.Outcome) error {
	names, err := k.otherNames(o.Path)
	if err != nil {
		return err
	}
	for _, name := range names {
		other, err := sides.Lookup(k.views.New, name)
		if err != nil {
			return err
		}
		if _, decided := k.result.want[other.Path]; decided || !sides.SameBacking(other, o.Node) {
			continue
		}
		shown, err := sides.Lookup(k.views.Plain, other.Path)
		if err != nil {
			return err
		}
		if sides.SameBacking(shown, other) && !o.Gains(other) {
			other.Meta = o.Meta
			k.result.show(other.Path, sides.Outcome{Node: other, Force: true})
		}
	}
	return nil
}

// otherNames returns where other names of a file of the new base may be: in the same directory, and in its package.
func (k *links) otherNames(name string) ([]string, error) {
	names, err := k.views.New.ReadDir(path.Dir(name))
	if err != nil {
		return nil, err
	}
	for i := range names {
		names[i] = path.Join(path.Dir(name), names[i])
	}
	own, err := k.packages.OwnerOf(sides.Three{Path: name, Was: name})
	if err != nil || own[sides.New] == nil {
		return names, err
	}
	list, err := k.packages.List(own[sides.New], sides.New)
	return slices.Concat(names, list), err
}
