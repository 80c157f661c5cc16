// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"path"
	"unicode/utf8"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// The suffixes of what is put beside a path.
const (
	besideSuffix = ".molt-new" // the new base's version, where the user's stays
	asideSuffix  = ".molt-old" // the user's version, where the new base's stands
)

// beside returns the name with a suffix, in the same directory; of a long name only the beginning, so that a number
// has room, too.
func beside(p, suffix string) string {
	const maxName, number = 255, 8
	dir, name := path.Split(p)
	if room := maxName - number - len(suffix); len(name) > room {
		name = name[:room]
		for utf8.ValidString(p) && !utf8.ValidString(name) {
			name = name[:len(name)-1] // not in the middle of a character
		}
	}
	return dir + name + suffix
}

// putBeside puts the new base's version beside the user's, in place of what an earlier update put there.
func (r *result) putBeside(t sides.Three) error {
	name := beside(t.Path, besideSuffix)
	there, err := sides.Lookup(r.views.Plain, name)
	if err != nil {
		return err
	}
	old, err := sides.SameContent(there, t.O)
	if err != nil {
		return err
	}
	same, err := sides.SameContent(there, t.N)
	if err != nil {
		return err
	}
	if !there.Absent() && !old && !same {
		if name, err = r.freeName(name); err != nil { // the user worked on it
			return err
		}
	}
	r.show(name, sides.Shows(t.N).Unprivileged())
	return nil
}

// freeName returns the name, with a number if something stands there: what a user has is not overwritten.
func (r *result) freeName(name string) (string, error) {
	for i, free := 1, name; ; i++ {
		n, err := sides.Lookup(r.views.Plain, free)
		if err != nil {
			return "", err
		}
		if _, wanted := r.want[free]; n.Absent() && !wanted {
			return free, nil
		}
		free = fmt.Sprintf("%s.%d", name, i)
	}
}

// dropBeside removes what an earlier update put beside a path, if the conflict is over and nobody changed it.
func (r *result) dropBeside(t sides.Three) error {
	name := beside(t.Path, besideSuffix)
	left, err := sides.Lookup(r.views.Plain, name)
	if err != nil || left.Absent() || t.O.Absent() {
		return err
	}
	same, err := sides.SameContent(left, t.O)
	if err != nil || !same {
		return err
	}
	dropped, err := r.views.Three(name)
	if err != nil {
		return err
	}
	return r.Decide(dropped, Decision{
		Verdict: report.Drop, Rule: "R4", Reason: "put here by an earlier update; the conflict is over",
		Result: sides.Nothing(),
	})
}
