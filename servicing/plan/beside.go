// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// version is a version of a path that a plan puts beside.
type version struct {
	kind report.BesideKind
	of   string
}

// besides are the versions of paths that are not in force. While a plan is made, they stand in [sides.BesideTree]; what
// becomes of them shows when all else is decided.
type besides struct {
	put     map[string]version // by where they stand
	places  map[string]string  // by the path that it is a version of, where the last one stands
	earlier []string           // files of the storage that an earlier version of molt may have put beside
	tree    string             // where all of them go; "" for the directories of their paths
}

func newBesides() besides {
	return besides{put: make(map[string]version), places: make(map[string]string), tree: sides.BesideTree}
}

// note notes where a version of a path stands.
func (b *besides) note(at string, v version) {
	b.put[at], b.places[v.of] = v, at
}

// putBeside puts the new base's version beside the user's, in place of what an earlier update put there.
func (r *result) putBeside(t sides.Three) {
	at := sides.BesideAt(report.BesideNew, t.Path)
	r.beside.note(at, version{report.BesideNew, t.Path})
	r.show(at, alone(t.N))
}

// putAside puts the user's version beside.
func (r *result) putAside(t sides.Three) error {
	at, err := r.asideFor(t.Path, t.U)
	if err != nil {
		return err
	}
	r.show(at, alone(t.U))
	return nil
}

// alone shows a file that gives nobody anything, and is no other name of another file.
func alone(n sides.Node) sides.Outcome {
	o := sides.Shows(n).Unprivileged()
	o.Nlink = 1
	return o
}

// aside returns where the user's version of a path can be put; what another update put there is not overwritten.
func (r *result) aside(p string) (string, error) { return r.asideFor(p, sides.Node{}) }

// asideFor is aside, for a file that may be there already.
func (r *result) asideFor(p string, n sides.Node) (string, error) {
	first := sides.BesideAt(report.BesideOld, p)
	for i := 0; ; i++ {
		at := sides.BesideNumbered(first, i)
		free, err := r.isFree(at, n)
		if err != nil {
			return "", err
		}
		if free {
			r.beside.note(at, version{report.BesideOld, p})
			return at, nil
		}
	}
}

// isFree reports whether nothing else than a file is, or will be, where something is to be put beside.
func (r *result) isFree(at string, file sides.Node) (bool, error) {
	if _, wanted := r.want[at]; wanted {
		return false, nil
	}
	for _, in := range sides.BesideTrees() {
		there, err := sides.Lookup(r.views.Plain, in+strings.TrimPrefix(at, sides.BesideTree))
		if err != nil || there.Absent() {
			continue // what cannot be read is replaced: it is molt's own
		}
		same, err := sides.SameContent(there, file)
		if err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

// lateAside is aside when it is known where everything is put.
func (r *result) lateAside(p string) (string, error) {
	if r.beside.tree == "" {
		return r.freeName(sides.BesideLive(report.BesideOld, p))
	}
	at, err := r.aside(p)
	if err != nil || r.beside.tree == sides.BesideTree {
		return at, err
	}
	delete(r.beside.put, at)
	at = r.beside.tree + strings.TrimPrefix(at, sides.BesideTree)
	r.beside.note(at, version{report.BesideOld, p})
	return at, nil
}

// notKept says what becomes of a file that is not put beside.
func notKept(n sides.Node) string {
	return "a " + n.Kind.String() + " is not set aside: a rollback brings it back"
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

// besideOf returns where the version of a path stands that is not in force; "" where there is none.
func (r *result) besideOf(p string) (string, error) {
	at := r.beside.places[p]
	if at == "" {
		return "", nil
	}
	n, err := r.Seen(at)
	if err != nil || n.Absent() {
		return "", err
	}
	return at, nil
}

// move moves what a plan puts beside, with everything below it.
func (r *result) move(from, to string) {
	moved := func(name string) string {
		if name != "" && sides.Within(name, from) {
			return to + strings.TrimPrefix(name, from)
		}
		return name
	}
	for _, name := range slices.Sorted(maps.Keys(r.want)) {
		o := r.want[name]
		o.LinkTo = moved(o.LinkTo)
		if moved(name) != name {
			delete(r.want, name)
		}
		r.want[moved(name)] = o
	}
	for i, f := range r.findings {
		r.findings[i].Path = moved(f.Path)
	}
	v := r.beside.put[from]
	delete(r.beside.put, from)
	r.beside.put[to] = v
	if r.beside.places[v.of] == from {
		r.beside.places[v.of] = to
	}
}
