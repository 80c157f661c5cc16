// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"bytes"
	"context"
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
}

// mergeAccounts merges the account files as one transaction.
func mergeAccounts(ctx context.Context, p *planner) error {
	f, err := p.readAccounts()
	if err != nil {
		return err
	}
	merged := accounts.Merge(f.o, f.n, f.u, accounts.Busy{UIDs: p.uids, GIDs: p.gids})
	if f.sameBases || f.untouched && !p.ownsAny(merged) {
		return p.fileByFile(f)
	}
	for i, t := range f.paths {
		if err := p.applyAccounts(t, f.n[i], f.u[i], merged.Files[i], merged.Notes); err != nil {
			return err
		}
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
			if side.to[i], err = read(side.node, maxAccounts); err != nil {
				return nil, err
			}
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

// remap makes the files of the new base follow the ids of the result.
func (p *planner) remap(ctx context.Context, r accounts.Result) error {
	if len(r.UIDs)+len(r.GIDs) == 0 {
		return nil
	}
	for _, ids := range []struct {
		kind string
		ids  map[uint32]uint32
	}{{"uid", r.UIDs}, {"gid", r.GIDs}} {
		for from, to := range ids.ids {
			p.remaps = append(p.remaps, IDRemap{Kind: ids.kind, From: from, To: to})
		}
	}
	return p.new.Tree(ctx, func(e tree.Entry) error {
		to := e.Meta
		if id, ok := r.UIDs[e.UID]; ok {
			to.UID = id
		}
		if id, ok := r.GIDs[e.GID]; ok {
			to.GID = id
		}
		if to.UID == e.UID && to.GID == e.GID {
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
	result.Meta = to
	return p.apply(t, decision{verdict: Remap, rule: "E2", driver: "accounts", reason: "belongs to an account that has another id here", result: result})
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
	p.want[e.Path] = o
	return nil
}
