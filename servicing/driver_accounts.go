// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/accounts"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// maxAccounts is the size up to which an account file is read.
const maxAccounts = 16 << 20

func claimsAccounts(_ *planner, p string) bool { return slices.Contains(accounts.Paths(), p) }

// mergeAccounts merges the account files as one transaction, in the numbering that the plan is made with.
func mergeAccounts(ctx context.Context, p *planner) error {
	if shared := p.ids.merged.Shared; len(shared) > 0 {
		message := fmt.Sprintf("/%s: the new base's %s %s", shared[0].Path, shared[0].Name, shared[0].Text)
		if len(shared) > 1 {
			message += fmt.Sprintf(" (and %d more)", len(shared)-1)
		}
		p.hold(report.HoldAccounts, shared[0].Path, message)
	}
	for i, name := range accounts.Paths() {
		t, err := p.look(name)
		if err != nil {
			return err
		}
		if p.ids.byFile {
			err = p.decideClaimed(t)
		} else {
			err = p.applyAccounts(t, p.ids.n[i], p.ids.u[i], p.ids.merged.Files[i], p.ids.merged.Notes)
		}
		if err != nil {
			return err
		}
	}
	return p.remap(ctx)
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
	d := decision{driver: "accounts", rule: "E1", verdict: report.Merge, reason: "merged by name and field"}
	switch {
	case content == nil:
		d.verdict, d.reason, d.quiet = report.Keep, "removed", true
	case user == nil:
		d.verdict, d.result = report.Take, outcome{node: t.n, made: true, content: content}
	default:
		d.result = makes(t, content)
		if bytes.Equal(content, user) {
			d.verdict = report.Keep
		} else if bytes.Equal(content, base) {
			d.verdict = report.Take
		}
	}
	for _, note := range notes {
		if note.Path == t.path {
			d.reason += fmt.Sprintf("; %s: %s", note.Name, note.Text)
		}
	}
	return p.apply(t, d)
}

// remap makes the files of the new base that nothing was decided about follow the ids of the result. It goes through the
// whole base, and so does nothing where no account of it has moved.
func (p *planner) remap(ctx context.Context) error {
	if !p.ids.moves() || p.sameBase {
		return nil
	}
	files := make(map[report.IDRemap]int)
	err := p.new.Tree(ctx, func(e tree.Entry) error {
		to := e
		if err := p.ids.amend(&to); err != nil || sameOwners(to.Meta, e.Meta) {
			return err
		}
		follows, err := p.remapOne(e.Path)
		if follows && to.UID != e.UID {
			files[report.IDRemap{Kind: "uid", From: e.UID, To: to.UID}]++
		}
		if follows && to.GID != e.GID {
			files[report.IDRemap{Kind: "gid", From: e.GID, To: to.GID}]++
		}
		return err
	})
	p.reportMoves(files)
	return err
}

// reportMoves reports which ids of the new base are others in the result.
func (p *planner) reportMoves(files map[report.IDRemap]int) {
	for i, k := range idKinds() {
		names := accounts.Names(k.file, p.ids.n[k.file])
		moved := []idMap{p.ids.uids, p.ids.gids}[i]
		for _, ids := range []map[uint32]uint32{moved.ids, moved.standing} {
			for from, to := range ids {
				one := report.IDRemap{Kind: k.kind, From: from, To: to}
				one.Files = files[one]
				if len(names[from]) > 0 {
					one.Name = report.Printable(names[from][0])
				}
				p.remaps = append(p.remaps, one)
			}
		}
	}
}

// remapOne gives a file of the new base the owners of the result, unless the user's stands in its place. It reports whether
// the base's stands there.
func (p *planner) remapOne(name string) (bool, error) {
	if decided, ok := p.want[name]; ok {
		return decided.view == p.new, nil // in the numbering of the result
	}
	t, err := p.look(name)
	if err != nil || p.pins.excludes(name) {
		return false, err
	}
	shown, err := lookup(p.plain, name)
	if err != nil || !sameBacking(shown, t.n) {
		return false, err
	}
	return true, p.apply(t, decision{
		verdict: report.Remap, rule: "E2", driver: "accounts", reason: "belongs to an account that has another id here",
		result: shows(t.n),
	})
}
