// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"errors"
	"fmt"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/dpkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

const diversionsPath = "var/lib/dpkg/diversions"

// holdClashes holds the storage where a package of the user's and a new one of the base have the same file: dpkg would
// refuse to install the second one, unless one says that it replaces files of the other.
func (dr *driver) holdClashes() error {
	diverted, err := dr.diversions()
	if err != nil {
		return err
	}
	for i := range dr.books.choices {
		c := &dr.books.choices[i]
		if !c.Differs() || !c.User.Installed() {
			continue
		}
		list, err := dr.plan.Packages().List(c, sides.User)
		if err != nil {
			return err
		}
		for _, p := range list {
			other, err := dr.clashing(c, p)
			if err != nil {
				return err
			}
			if other == nil || strings.Contains(diverted, "/"+p+"\n") {
				continue
			}
			dr.plan.HoldFor(report.Reason{
				Code: report.HoldDependency, Path: p, Package: c.Key, Version: c.User.Version,
				Message: fmt.Sprintf("%s is in %s %s of the user's and in %s %s of the new base: dpkg would not "+
					"install both",
					tree.Shown(p), c.Key, c.User.Version, other.Key, other.New.Version),
			})
			break
		}
	}
	return nil
}

// diversions returns the diversions of the user's; "" where there are none, and where they are larger than any that
// dpkg writes.
func (dr *driver) diversions() (string, error) {
	n, err := sides.Lookup(dr.plan.Views().User, diversionsPath)
	if err != nil || !n.Is(tree.Regular) {
		return "", err
	}
	content, err := sides.Read(n, pkg.MaxDatabase)
	if errors.Is(err, tree.ErrTooLarge) {
		return "", nil
	}
	return string(content), err
}

// clashing returns the package of the new base that has a file of one of the user's packages, and had not before; nil
// for none.
func (dr *driver) clashing(c *unit.Choice, p string) (*unit.Choice, error) {
	t, err := dr.plan.Look(p)
	if err != nil {
		return nil, err
	}
	other := t.Own[sides.New]
	if other == nil || other == c || other.Differs() || !other.Effective.Installed() || t.Own[sides.Old] == other {
		return nil, nil
	}
	sameName := other.New.Name == c.User.Name // of another architecture: the file is shared
	if sameName || !t.N.File() || dpkg.Replace(c.User, other.New) || dpkg.Replace(other.New, c.User) {
		return nil, nil
	}
	return other, nil
}
