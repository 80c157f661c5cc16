// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/accounts"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// maxAccounts is the size up to which an account file is read.
const maxAccounts = 16 << 20

func claimsAccounts(_ *planner, p string) bool { return slices.Contains(accounts.Paths(), p) }

// accountFiles are the account files of all sides.
type accountFiles struct {
	paths     []three
	o, n, u   accounts.Files
	sameBases bool // neither base differs from the other
	untouched bool // the user changed none
	odd       bool // one of them is no regular file, or too large
}

// mergeAccounts merges the account files as one transaction.
func mergeAccounts(ctx context.Context, p *planner) error {
	f, err := p.readAccounts()
	if err != nil {
		return err
	}
	merged := accounts.Merge(f.o, f.n, f.u, accounts.Busy{UIDs: p.uids, GIDs: p.gids})
	switch {
	case f.odd, f.untouched && !p.ownsAny(merged):
		return p.fileByFile(f)
	case f.sameBases:
		err = p.fileByFile(f)
	default:
		for i, t := range f.paths {
			err = errors.Join(err, p.applyAccounts(t, f.n[i], f.u[i], merged.Files[i], merged.Notes))
		}
	}
	if err != nil {
		return err
	}
	return p.remap(ctx, merged)
}

func (p *planner) readAccounts() (*accountFiles, error) {
	f := &accountFiles{sameBases: true, untouched: true}
	for i, name := range accounts.Paths() {
		t, err := p.look(name)
		if err != nil {
			return nil, err
		}
		f.paths = append(f.paths, t)
		for _, side := range []struct {
			node
			to *accounts.Files
		}{{t.o, &f.o}, {t.n, &f.n}, {t.u, &f.u}} {
			side.to[i], err = read(side.node, maxAccounts)
			if err != nil && !errors.Is(err, tree.ErrTooLarge) {
				return nil, err
			}
			f.odd = f.odd || err != nil || !side.absent() && !side.is(tree.Regular)
		}
		same, err := compare(t)
		if err != nil {
			return nil, err
		}
		f.sameBases = f.sameBases && same.on
		f.untouched = f.untouched && same.ou
	}
	return f, nil
}

// ownsAny tells whether the storage has files of an id that the new base gives to another name.
func (p *planner) ownsAny(r accounts.Result) bool {
	for _, id := range r.UIDs {
		if p.uids[id] {
			return true
		}
	}
	for _, id := range r.GIDs {
		if p.gids[id] {
			return true
		}
	}
	return false
}

// fileByFile decides on the account files as on any others: at most one side changed them.
func (p *planner) fileByFile(f *accountFiles) error {
	for _, t := range f.paths {
		if err := p.decideClaimed(t); err != nil {
			return err
		}
	}
	return nil
}

// decideClaimed decides on a path that the walk passed over as on any other.
func (p *planner) decideClaimed(t three) error {
	plain, err := lookup(p.plain, t.path)
	if err != nil || sameBacking(plain, t.n) {
		return err // the storage says nothing about it
	}
	switch {
	case t.u.absent():
		return p.deleted(t)
	case t.u.dir():
		return p.directory(tree.Change{Entry: t.u.Entry}, t)
	default:
		return p.file(t)
	}
}

// sameBacking tells whether two nodes are one file, or both nothing.
func sameBacking(a, b node) bool {
	if a.absent() || b.absent() {
		return a.absent() && b.absent()
	}
	return a.Dev == b.Dev && a.Ino == b.Ino
}

func (p *planner) applyAccounts(t three, base, user, content []byte, notes []accounts.Note) error {
	d := decision{driver: "accounts", rule: "E1", verdict: Merge, reason: "merged by name and field"}
	switch {
	case content == nil:
		d.verdict, d.reason, d.quiet = Keep, "removed", true
	case user == nil:
		d.verdict, d.result = Take, outcome{node: t.n, made: true, content: content}
	default:
		d.result = makes(t, content)
		if bytes.Equal(content, user) {
			d.verdict = Keep
		} else if bytes.Equal(content, base) {
			d.verdict = Take
		}
	}
	for _, note := range notes {
		if note.Path == t.path {
			d.reason += fmt.Sprintf("; %s: %s", note.Name, note.Text)
		}
	}
	return p.apply(t, d)
}

// idMap says which ids of the new base's files become which.
type idMap struct {
	ids, standing map[uint32]uint32
}

// of returns the id for a file of the new base; old is the id that it has in the old base, if it is there.
func (m idMap) of(id uint32, old *uint32) uint32 {
	if to, ok := m.ids[id]; ok {
		return to
	}
	if to, ok := m.standing[id]; ok && (old == nil || *old != id) {
		return to
	}
	return id
}

// remap makes the files of the new base follow the ids of the result.
func (p *planner) remap(ctx context.Context, r accounts.Result) error {
	uids, gids := idMap{r.UIDs, r.StandingUIDs}, idMap{r.GIDs, r.StandingGIDs}
	if len(uids.ids)+len(uids.standing)+len(gids.ids)+len(gids.standing) == 0 {
		return nil
	}
	for _, one := range []struct {
		kind string
		ids  map[uint32]uint32
	}{{"uid", uids.ids}, {"uid", uids.standing}, {"gid", gids.ids}, {"gid", gids.standing}} {
		for from, to := range one.ids {
			p.remaps = append(p.remaps, IDRemap{Kind: one.kind, From: from, To: to})
		}
	}
	return p.new.Tree(ctx, func(e tree.Entry) error {
		to := e.Meta
		to.UID, to.GID = uids.of(e.UID, nil), gids.of(e.GID, nil)
		to.Xattrs = remapLists(e.Xattrs, uids, gids)
		if to.UID == e.UID && to.GID == e.GID && sameLists(to.Xattrs, e.Xattrs) {
			return nil
		}
		old, err := lookup(p.old, e.Path)
		if err != nil {
			return err
		}
		if !old.absent() {
			to.UID, to.GID = uids.of(e.UID, &old.UID), gids.of(e.GID, &old.GID)
		}
		if sameLists(old.Xattrs, e.Xattrs) {
			to.Xattrs = e.Xattrs // the user saw it so
		}
		if to.UID == e.UID && to.GID == e.GID && sameLists(to.Xattrs, e.Xattrs) {
			return nil
		}
		return p.remapOne(e, to)
	})
}

// remapOne gives a file of the new base other owners, unless the user's stands in its place.
func (p *planner) remapOne(e tree.Entry, to tree.Meta) error {
	if decided, ok := p.want[e.Path]; ok {
		return p.remapDecided(decided, e, to)
	}
	shown, err := lookup(p.plain, e.Path)
	if err != nil || !sameBacking(shown, node{p.new, e}) {
		return err
	}
	t, err := p.look(e.Path)
	if err != nil {
		return err
	}
	result := shows(t.n)
	result.Meta = notAsRoot(e.Meta, to)
	return p.apply(t, decision{
		verdict: Remap, rule: "E2", driver: "accounts", reason: "belongs to an account that has another id here",
		result: result,
	})
}

// remapDecided gives an outcome other owners where it has them from the new base.
func (p *planner) remapDecided(o outcome, e tree.Entry, to tree.Meta) error {
	if o.absent() {
		return nil
	}
	user, err := lookup(p.user, e.Path)
	if err != nil {
		return err
	}
	fromBase := o.view == p.new
	if o.UID == e.UID && (fromBase || user.UID != e.UID) {
		o.UID = to.UID
	}
	if o.GID == e.GID && (fromBase || user.GID != e.GID) {
		o.GID = to.GID
	}
	if fromBase && sameLists(o.Xattrs, e.Xattrs) {
		o.Xattrs = to.Xattrs
	}
	o.Meta = notAsRoot(e.Meta, o.Meta)
	p.show(e.Path, o)
	return nil
}
