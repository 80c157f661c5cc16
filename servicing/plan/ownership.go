// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"github.com/molt-snapshotter/molt-snapshotter/servicing/ids"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// ownership is what belongs to whom, as far as it is known, and the numbering that follows from it.
type ownership struct {
	views     *sides.Views
	numbering *ids.Numbering // of the result
	known     ids.Owners     // those that the numbering was decided with
	found     ids.Owners     // of the storage's files
	again     bool           // the plan is to be made again, with the owners that it has found
}

func newOwnership(v *sides.Views) *ownership {
	return &ownership{
		views: v, numbering: &ids.Numbering{AccountFiles: &ids.AccountFiles{}, ByFile: true, Old: v.Old},
		known: ids.NewOwners(), found: ids.NewOwners(),
	}
}

// number decides on the numbering with the owners that are known, and reads the new base in it from now on.
func (o *ownership) number(files *ids.AccountFiles, known ids.Owners) {
	o.known = known
	o.numbering = ids.NewNumbering(o.views, files, known)
	o.views.UseNumbering(o.numbering)
}

// users returns the owners of what is the user's, as far as this plan has found it: of the storage's files, and of
// what is the user's though the storage does not have it.
func (o *ownership) users(r *result) ids.Owners {
	kept := ids.NewOwners()
	for _, one := range r.want {
		if one.View == o.views.User || one.View == o.views.Old {
			kept.Add(one.Meta, 0)
		}
	}
	return kept.With(o.found)
}

// renumbers finds out whether the plan is to be made again.
func (o *ownership) renumbers(r *result) bool {
	all := o.known.With(o.users(r))
	if o.views.SameBase || !o.known.Adds(all) {
		return false
	}
	o.again = !o.numbering.Same(ids.NewNumbering(o.views, o.numbering.AccountFiles, all))
	o.known = all
	return o.again
}
