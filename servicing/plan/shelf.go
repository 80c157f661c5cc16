// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"bytes"
	"context"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// shelf settles what stands beside paths, when all else is decided.
type shelf struct {
	views  *sides.Views
	pins   *Pins
	result *result
	hidden map[string]bool // directories of the storage with whiteouts
	after  *sides.Scene    // what was decided
	needed map[string]bool // directories in which something is put beside
}

// settle moves what is put beside to where there is room for it, makes it molt's own, and ends what is over.
func (s *shelf) settle(ctx context.Context) error {
	s.after = s.result.SoFar()
	if !s.views.SameBase {
		if err := s.bringEarlier(); err != nil {
			return err
		}
	}
	if err := s.chooseTree(); err != nil {
		return err
	}
	if err := s.makeRoom(); err != nil {
		return err
	}
	s.protect()
	if s.views.SameBase {
		return nil // nothing is over
	}
	for _, in := range sides.BesideTrees() {
		stays, err := s.sweep(ctx, in)
		if err != nil {
			return err
		}
		if err := s.keepAbove(in, stays); err != nil {
			return err
		}
	}
	return nil
}

// keepAbove keeps the directories that a tree is in, or removes the one that molt made for it.
func (s *shelf) keepAbove(in string, stays bool) error {
	for dir := path.Dir(in); stays && dir != "."; dir = path.Dir(dir) {
		n, err := sides.Lookup(s.views.Plain, dir)
		if err != nil {
			return err
		}
		if _, decided := s.result.want[dir]; !n.Dir() || decided {
			continue
		}
		if sides.MoltDirectory(dir) {
			n = moltDirectory(s.views, dir)
		}
		s.result.show(dir, sides.Shows(n))
	}
	if o, decided := s.result.want[in]; stays || !decided || !o.Absent() {
		return nil
	}
	dir := path.Dir(in)
	names, err := sides.ReadDir(s.views.Plain, dir)
	if err != nil {
		return err
	}
	base, err := sides.Lookup(s.views.New, dir)
	if err == nil && base.Absent() && len(names) == 1 {
		s.result.Hide(dir)
	}
	return err
}

// protect makes the directories of what is put beside root's alone.
func (s *shelf) protect() {
	s.needed = make(map[string]bool)
	for name, o := range maps.Clone(s.result.want) {
		if !sides.InBeside(name) || o.Absent() {
			continue
		}
		for dir := path.Dir(name); sides.InBeside(dir); dir = path.Dir(dir) {
			s.needed[dir] = true
		}
		if o.Dir() {
			o.Meta = moltDirectory(s.views, name).Meta
			s.result.show(name, o)
		}
	}
}

// moltDirectory is a directory of molt's own: only root may enter it.
func moltDirectory(v *sides.Views, dir string) sides.Node {
	return sides.Node{
		View: v.New, Entry: tree.Entry{Path: dir, Kind: tree.Directory, Meta: tree.Meta{Mode: 0o700}},
	}
}

// chooseTree moves what is put beside when it cannot be where it should: /var or /var/lib is no directory, or may not
// be looked at.
func (s *shelf) chooseTree() error {
	b := &s.result.beside
	b.tree = ""
	for _, in := range sides.BesideTrees() {
		room, err := s.hasRoom(in)
		if err != nil {
			return err
		}
		if room {
			b.tree = in
			break
		}
	}
	if b.tree == sides.BesideTree {
		return nil
	}
	for _, at := range slices.SortedFunc(maps.Keys(b.put), sides.ComparePaths) {
		to := b.tree + strings.TrimPrefix(at, sides.BesideTree)
		if b.tree == "" {
			var err error
			if to, err = s.result.freeName(sides.BesideLive(b.put[at].kind, b.put[at].of)); err != nil {
				return err
			}
		}
		s.result.move(at, to)
	}
	return nil
}

// hasRoom reports whether a tree can be made in the result.
func (s *shelf) hasRoom(in string) (bool, error) {
	for at := in; at != "."; at = path.Dir(at) {
		o, err := s.after.At(at)
		if err != nil || !o.Absent() && !o.Dir() || s.pins.excludes(at) {
			return false, err
		}
	}
	return true, nil
}

// maxPath is up to how long the place of a version can be, in bytes: most programs take no longer path.
const maxPath = 4000

// makeRoom gives another name to what is put beside where its own path has no room: an element of it is a file there,
// or it is too long for most programs.
func (s *shelf) makeRoom() error {
	b := &s.result.beside
	for _, at := range slices.SortedFunc(maps.Keys(b.put), sides.ComparePaths) {
		if b.tree == "" {
			return nil
		}
		room := len(at) < maxPath
		for dir := path.Dir(at); room && dir != b.tree; dir = path.Dir(dir) {
			n, err := s.result.Seen(dir)
			if err != nil {
				return err
			}
			room = n.Absent() || n.Dir()
		}
		there, err := sides.Lookup(s.views.Plain, at)
		if err != nil {
			return err
		}
		if o := s.result.want[at]; room && (there.Absent() || there.Dir() == o.Dir()) {
			continue
		}
		s.result.move(at, sides.BesideHashed(b.tree, b.put[at].kind, b.put[at].of))
	}
	return nil
}

// bringEarlier brings what an earlier version of molt put beside paths of the result, in their own directories.
func (s *shelf) bringEarlier() error {
	for _, name := range s.result.beside.earlier {
		if err := s.pins.passed.Over(s.views.Live, name, s.bringOne(name)); err != nil {
			return err
		}
	}
	return nil
}

// bringOne brings one of them if there still is what it is a version of.
func (s *shelf) bringOne(name string) error {
	kind, of, _ := sides.BesideEarlier(name)
	t, err := s.views.Three(of)
	if err != nil {
		return err
	}
	stands, err := s.after.At(of)
	if err != nil {
		return err
	}
	n, err := sides.Lookup(s.views.User, name)
	if err != nil || stands.Absent() || !sides.KeptBeside(n) {
		return err
	}
	return s.bring(version{kind, of}, t, sides.Three{Path: name, Was: name, U: n})
}

// bring moves one file to where versions stand that are not in force, or drops it: the new base's where there is a
// newer one, or the conflict is over. What the user made of it is the user's.
func (s *shelf) bring(v version, t, file sides.Three) error {
	const reason = "put into the directory of its path by an earlier version of molt"
	if v.kind == report.BesideNew {
		old, err := sides.SameContent(file.U, t.O)
		if err != nil {
			return err
		}
		wanted, err := s.wanted(t, file.U)
		if err != nil {
			return err
		}
		_, newer := s.result.want[sides.BesideAt(v.kind, v.of)]
		switch {
		case old && (newer || !wanted):
			return s.result.Decide(file, Decision{Verdict: report.Drop, Rule: "R4", Reason: reason,
				Result: sides.Nothing()})
		case !old:
			v = version{report.BesideOld, file.Path}
		}
	}
	if sides.BesideLive(v.kind, v.of) != file.Path && v.kind == report.BesideOld {
		v.of = file.Path // one of many
	}
	to := sides.BesideAt(v.kind, v.of)
	if v.kind == report.BesideOld {
		var err error
		if to, err = s.result.asideFor(v.of, file.U); err != nil {
			return err
		}
	}
	s.result.beside.note(to, v)
	s.result.Hide(file.Path)
	file.Path = to
	d := Decision{Verdict: report.Relocate, Rule: "R4", Reason: reason, Result: alone(file.U)}
	return s.result.DecideAlways(file, d)
}

// wanted reports whether a version of the new base is still the one that is not in force at a path.
func (s *shelf) wanted(t sides.Three, file sides.Node) (bool, error) {
	stands, err := s.after.At(t.Path)
	if err != nil || t.N.Absent() {
		return false, err
	}
	inForce, err := sameAs(t.N, stands)
	if err != nil || inForce {
		return false, err
	}
	return sides.SameContent(file, t.N)
}

// sameAs reports whether a file has the content of an outcome.
func sameAs(n sides.Node, o sides.Outcome) (bool, error) {
	if !o.Made || !n.Is(tree.Regular) {
		return sides.SameContent(n, o.Node)
	}
	if n.Size != int64(len(o.Content)) {
		return false, nil
	}
	content, err := sides.Read(n, n.Size)
	return bytes.Equal(content, o.Content), err
}

// sweep ends what earlier updates put beside and what is over, below a directory. It reports whether something stays.
func (s *shelf) sweep(ctx context.Context, dir string) (stays bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if len(dir) > maxPath {
		return true, nil // nothing of molt's is that deep
	}
	names, err := sides.ReadDir(s.views.Plain, dir)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		at := path.Join(dir, name)
		if _, decided := s.result.want[at]; decided {
			continue
		}
		n, err := sides.Lookup(s.views.Plain, at)
		if err != nil {
			return false, err
		}
		one := false
		if n.Dir() {
			one, err = s.sweep(ctx, at)
		} else {
			one, err = s.keep(at, n)
			err = s.pins.passed.Over(s.views.Live, at, err)
		}
		if err != nil {
			return false, err
		}
		stays = stays || one
	}
	kind, _, ok := sides.BesideOf(dir)
	users := ok && kind == report.BesideOld && len(names) == 0 // an empty directory of the user's
	stays = stays || users || s.needed[dir]
	there, err := sides.Lookup(s.views.Plain, dir)
	if err != nil || there.Absent() {
		return stays, err
	}
	if !stays {
		s.result.Hide(dir)
		return false, nil
	}
	o := sides.Shows(moltDirectory(s.views, dir)) // whoever opened it in the meantime
	o.Force = s.hidden[dir]                       // whiteouts are invisible only where directories merge
	if s.result.want[dir].Absent() {
		s.result.show(dir, o)
	}
	return true, nil
}

// keep keeps what an earlier update put beside, or ends it. It reports whether it stays.
func (s *shelf) keep(at string, n sides.Node) (bool, error) {
	kind, of, ok := sides.BesideOf(at)
	if !ok {
		return true, nil
	}
	t, err := s.views.Three(of)
	if err != nil {
		return false, err
	}
	stays := false
	if kind == report.BesideNew {
		stays, err = s.wanted(t, n)
	} else {
		var stands sides.Outcome
		if stands, err = s.after.At(of); err != nil {
			return false, err
		}
		stays, err = sameAs(n, stands)
		stays = !stays
	}
	if err != nil {
		return false, err
	}
	if stays {
		if s.result.beside.places[of] == "" {
			s.result.beside.places[of] = at
		}
		return true, nil
	}
	dropped, err := s.views.Three(at)
	if err != nil {
		return false, err
	}
	return false, s.result.DecideAlways(dropped, Decision{
		Verdict: report.Drop, Rule: "R4", Reason: "put here by an earlier update; the conflict is over",
		Result: sides.Nothing(),
	})
}
