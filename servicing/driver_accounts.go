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

// accountsDriver merges the account files, and lets the files of the new base follow their accounts.
type accountsDriver struct {
	plan   plan
	remaps []report.IDRemap
}

func newAccounts(p plan) driver { return &accountsDriver{plan: p} }

// Name implements the driver.
func (dr *accountsDriver) Name() string { return "accounts" }

// Takes takes no path: the driver decides when the walk is over.
func (dr *accountsDriver) Takes(string) bool { return false }

func (dr *accountsDriver) Claims(p string) bool { return slices.Contains(accounts.Paths(), p) }

// Finish merges the account files as one transaction, in the numbering that the plan is made with.
func (dr *accountsDriver) Finish(ctx context.Context) error {
	if shared := dr.plan.Numbering().Merged.Shared; len(shared) > 0 {
		message := fmt.Sprintf("/%s: the new base's %s %s", shared[0].Path, shared[0].Name, shared[0].Text)
		if len(shared) > 1 {
			message += fmt.Sprintf(" (and %d more)", len(shared)-1)
		}
		dr.plan.Hold(report.HoldAccounts, shared[0].Path, message)
	}
	for i, name := range accounts.Paths() {
		t, err := dr.plan.Look(name)
		if err != nil {
			return err
		}
		if dr.plan.Numbering().ByFile {
			err = dr.plan.ByRules(t)
		} else {
			err = dr.applyAccounts(t, dr.plan.Numbering().N[i], dr.plan.Numbering().U[i], dr.plan.Numbering().Merged.Files[i], dr.plan.Numbering().Merged.Notes)
		}
		if err != nil {
			return err
		}
	}
	return dr.remap(ctx)
}

func (dr *accountsDriver) applyAccounts(t sides.Three, base, user, content []byte, notes []accounts.Note) error {
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
	return dr.plan.Decide(t, d)
}

// remap makes the files of the new base that nothing was decided about follow the ids of the result. It goes through the
// whole base, and so does nothing where no account of it has moved.
func (dr *accountsDriver) remap(ctx context.Context) error {
	if !dr.plan.Numbering().Moves() || dr.plan.Views().SameBase {
		return nil
	}
	files := make(map[report.IDRemap]int)
	err := dr.plan.Views().New.Tree(ctx, func(e tree.Entry) error {
		to := e
		if err := dr.plan.Numbering().Amend(&to); err != nil || ids.SameOwners(to.Meta, e.Meta) {
			return err
		}
		follows, err := dr.remapOne(e.Path)
		if follows && to.UID != e.UID {
			files[report.IDRemap{Kind: "uid", From: e.UID, To: to.UID}]++
		}
		if follows && to.GID != e.GID {
			files[report.IDRemap{Kind: "gid", From: e.GID, To: to.GID}]++
		}
		return err
	})
	dr.reportMoves(files)
	return err
}

// reportMoves reports which ids of the new base are others in the result.
func (dr *accountsDriver) reportMoves(files map[report.IDRemap]int) {
	for i, k := range ids.Kinds() {
		names := accounts.Names(k.File, dr.plan.Numbering().N[k.File])
		moved := []ids.Map{dr.plan.Numbering().UIDs, dr.plan.Numbering().GIDs}[i]
		for _, ids := range []map[uint32]uint32{moved.IDs, moved.Standing} {
			for from, to := range ids {
				one := report.IDRemap{Kind: k.Kind, From: from, To: to}
				one.Files = files[one]
				if len(names[from]) > 0 {
					one.Name = report.Printable(names[from][0])
				}
				dr.remaps = append(dr.remaps, one)
			}
		}
	}
}

// remapOne gives a file of the new base the owners of the result, unless the user's stands in its place. It reports whether
// the base's stands there.
func (dr *accountsDriver) remapOne(name string) (bool, error) {
	if decided, ok := dr.plan.At(name); ok {
		return decided.View == dr.plan.Views().New, nil // in the numbering of the result
	}
	t, err := dr.plan.Look(name)
	if err != nil || dr.plan.Excludes(name) {
		return false, err
	}
	shown, err := sides.Lookup(dr.plan.Views().Plain, name)
	if err != nil || !sides.SameBacking(shown, t.N) {
		return false, err
	}
	return true, dr.plan.Decide(t, decision{
		verdict: report.Remap, rule: "E2", driver: "accounts", reason: "belongs to an account that has another id here",
		result: sides.Shows(t.N),
	})
}

// Remaps returns which ids of the new base are others in the result.
func (dr *accountsDriver) Remaps() []report.IDRemap { return dr.remaps }
