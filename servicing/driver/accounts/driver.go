// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package accounts merges the account files as one transaction, lets the files of the new base follow their accounts,
// and holds the storage where a file would belong to a stranger.
package accounts

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/accounts"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/ids"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// driverName is what the driver is called in reports.
const driverName = "accounts"

// What the driver does besides having a name.
var (
	_ plan.Finisher   = (*driver)(nil)
	_ plan.Verifier   = (*driver)(nil)
	_ plan.Renumberer = (*driver)(nil)
	_ plan.Claimer    = (*driver)(nil)
)

// driver merges the account files, and lets the files of the new base follow their accounts.
type driver struct {
	plan   plan.Plan
	remaps []report.IDRemap
}

// New makes the driver of a plan.
func New(p plan.Plan) plan.Driver { return &driver{plan: p} }

// Name returns what the driver is called.
func (dr *driver) Name() string { return driverName }

// Takes takes no path: the driver decides when the walk is over.
func (dr *driver) Takes(string) bool { return false }

func (dr *driver) Claims(p string) bool { return slices.Contains(accounts.Paths(), p) }

// Finish merges the account files as one transaction, in the numbering that the plan is made with.
func (dr *driver) Finish(ctx context.Context) error {
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
			err = dr.applyAccounts(
				t, dr.plan.Numbering().N[i], dr.plan.Numbering().U[i], dr.plan.Numbering().Merged.Files[i],
				dr.plan.Numbering().Merged.Notes,
			)
		}
		if err != nil {
			return err
		}
	}
	return dr.remap(ctx)
}

func (dr *driver) applyAccounts(t sides.Three, base, user, content []byte, notes []accounts.Note) error {
	d := plan.Decision{Driver: driverName, Rule: "E1", Verdict: report.Merge, Reason: "merged by name and field"}
	switch {
	case content == nil:
		d.Verdict, d.Reason, d.Quiet = report.Keep, "removed", true
	case user == nil:
		d.Verdict, d.Result = report.Take, sides.Outcome{Node: t.N, Made: true, Content: content}
	default:
		d.Result = sides.Makes(t, content)
		if bytes.Equal(content, user) {
			d.Verdict = report.Keep
		} else if bytes.Equal(content, base) {
			d.Verdict = report.Take
		}
	}
	for _, note := range notes {
		if note.Path == t.Path {
			d.Reason += fmt.Sprintf("; %s: %s", note.Name, note.Text)
		}
	}
	return dr.plan.Decide(t, d)
}

// remap makes the files of the new base that nothing was decided about follow the ids of the result. It goes through
// the whole base, and so does nothing where no account of it has moved.
func (dr *driver) remap(ctx context.Context) error {
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
func (dr *driver) reportMoves(files map[report.IDRemap]int) {
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

// remapOne gives a file of the new base the owners of the result, unless the user's stands in its place. It reports
// whether the base's stands there.
func (dr *driver) remapOne(name string) (bool, error) {
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
	return true, dr.plan.Decide(t, plan.Decision{
		Verdict: report.Remap, Rule: "E2", Driver: driverName, Reason: "belongs to an account that has another id here",
		Result: sides.Shows(t.N),
	})
}

// Remaps returns which ids of the new base are others in the result.
func (dr *driver) Remaps() []report.IDRemap { return dr.remaps }
