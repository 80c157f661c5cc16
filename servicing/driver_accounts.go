// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/accounts"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/ids"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

func claimsAccounts(_ *planner, p string) bool { return slices.Contains(accounts.Paths(), p) }

// mergeAccounts merges the account files as one transaction, in the numbering that the plan is made with.
func mergeAccounts(ctx context.Context, p *planner) error {
	if shared := p.ids.Merged.Shared; len(shared) > 0 {
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
		if p.ids.ByFile {
			err = p.decideClaimed(t)
		} else {
			err = p.applyAccounts(t, p.ids.N[i], p.ids.U[i], p.ids.Merged.Files[i], p.ids.Merged.Notes)
		}
		if err != nil {
			return err
		}
	}
	return p.remap(ctx)
}

// decideClaimed decides on a path that the walk passed over as on any other.
func (p *planner) decideClaimed(t sides.Three) error {
	plain, err := sides.Lookup(p.Plain, t.Path)
	if err != nil || sides.SameBacking(plain, t.N) {
		return err // the storage says nothing about it
	}
	switch {
	case t.U.Absent():
		return p.deleted(t)
	case t.U.Dir():
		return p.directory(tree.Change{Entry: t.U.Entry}, t)
	default:
		return p.file(t)
	}
}

func (p *planner) applyAccounts(t sides.Three, base, user, content []byte, notes []accounts.Note) error {
	d := decision{driver: "accounts", rule: "E1", verdict: report.Merge, reason: "merged by name and field"}
	switch {
	case content == nil:
		d.verdict, d.reason, d.quiet = report.Keep, "removed", true
	case user == nil:
		d.verdict, d.result = report.Take, sides.Outcome{Node: t.N, Made: true, Content: content}
	default:
		d.result = sides.Makes(t, content)
		if bytes.Equal(content, user) {
			d.verdict = report.Keep
		} else if bytes.Equal(content, base) {
			d.verdict = report.Take
		}
	}
	for _, note := range notes {
		if note.Path == t.Path {
			d.reason += fmt.Sprintf("; %s: %s", note.Name, note.Text)
		}
	}
	return p.apply(t, d)
}

// remap makes the files of the new base that nothing was decided about follow the ids of the result. It goes through the
// whole base, and so does nothing where no account of it has moved.
func (p *planner) remap(ctx context.Context) error {
	if !p.ids.Moves() || p.SameBase {
		return nil
	}
	files := make(map[report.IDRemap]int)
	err := p.New.Tree(ctx, func(e tree.Entry) error {
		to := e
		if err := p.ids.Amend(&to); err != nil || ids.SameOwners(to.Meta, e.Meta) {
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
	for i, k := range ids.Kinds() {
		names := accounts.Names(k.File, p.ids.N[k.File])
		moved := []ids.Map{p.ids.UIDs, p.ids.GIDs}[i]
		for _, ids := range []map[uint32]uint32{moved.IDs, moved.Standing} {
			for from, to := range ids {
				one := report.IDRemap{Kind: k.Kind, From: from, To: to}
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
		return decided.View == p.New, nil // in the numbering of the result
	}
	t, err := p.look(name)
	if err != nil || p.pins.excludes(name) {
		return false, err
	}
	shown, err := sides.Lookup(p.Plain, name)
	if err != nil || !sides.SameBacking(shown, t.N) {
		return false, err
	}
	return true, p.apply(t, decision{
		verdict: report.Remap, rule: "E2", driver: "accounts", reason: "belongs to an account that has another id here",
		result: sides.Shows(t.N),
	})
}
