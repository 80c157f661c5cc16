// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sqlite keeps databases of SQLite together with their journals.
package sqlite

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// sqliteCompanions are the suffixes of the files that belong to a database: what they hold is part of it, and only of
// it.
var sqliteCompanions = []string{"-journal", "-wal"}

// driverName is what the driver is called in reports.
const driverName = "sqlite"

// What the driver does besides having a name.
var (
	_ plan.Decider   = (*driver)(nil)
	_ plan.Resolver  = (*driver)(nil)
	_ plan.Explainer = (*driver)(nil)
)

// driver keeps databases of SQLite.
type driver struct{ plan plan.Plan }

// New makes the driver of a plan.
func New(p plan.Plan) plan.Driver { return &driver{p} }

// Name returns what the driver is called.
func (dr *driver) Name() string { return driverName }

// Takes takes every path: what a file is does not show in its name.
func (dr *driver) Takes(string) bool { return true }

// Explains reports whether a path is a database now.
func (dr *driver) Explains(t sides.Three) (bool, error) { return isSQLite(t.U) }

// First keeps the user's database where the storage has a journal of it, touched itself or not: with another
// database under it, the journal would destroy that.
func (dr *driver) First(t sides.Three) (plan.Decision, bool, error) {
	i := slices.IndexFunc(sqliteCompanions, func(suffix string) bool { return strings.HasSuffix(t.Path, suffix) })
	if i < 0 || !t.U.Is(tree.Regular) || t.U.Size == 0 {
		return plan.Decision{}, false, nil
	}
	was := strings.TrimSuffix(t.Was, sqliteCompanions[i])
	database, err := dr.plan.Views().Moved(was, strings.TrimSuffix(t.Path, sqliteCompanions[i]))
	if err != nil {
		return plan.Decision{}, false, err
	}
	if is, err := isSQLite(database.U); err != nil || !is {
		return plan.Decision{}, false, err
	}
	if same, err := sides.SameContent(database.U, database.N); err != nil || !same {
		if err != nil {
			return plan.Decision{}, false, err
		}
		kept := plan.Decision{
			Verdict: report.Keep, Rule: "G1", Driver: driverName, Reason: "a database whose journal is in the storage",
			Result: sides.Shows(sides.Merged(database, database.U)),
		}
		dr.plan.Reopen(database.Path)
		if err := dr.plan.DecideAlways(database, kept); err != nil {
			return plan.Decision{}, false, err
		}
	}
	return plan.Decision{
		Verdict: report.Keep, Rule: "G1", Reason: "the journal of a database", Result: sides.Shows(t.U),
		Quiet: t.O.Absent() && t.N.Absent(),
	}, true, nil
}

// Resolve keeps a database that both sides changed.
func (dr *driver) Resolve(t sides.Three) (plan.Decision, bool, error) {
	is, err := isSQLite(t.U)
	return plan.Decision{
		Verdict: report.Keep, Rule: "G1", Reason: "a database: data of the user",
		Result: sides.Shows(sides.Merged(t, t.U)),
	}, is, err
}

// isSQLite reports whether a file is a database of SQLite.
func isSQLite(n sides.Node) (bool, error) {
	const magic = "SQLite format 3\x00"
	if !n.Is(tree.Regular) || n.Size < int64(len(magic)) {
		return false, nil
	}
	file, err := n.View.OpenEntry(n.Entry)
	if err != nil {
		return false, err
	}
	defer file.Close()
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(file, head); err != nil {
		return false, fmt.Errorf("read %s: %w", tree.Shown(n.Path), err)
	}
	return bytes.Equal(head, []byte(magic)), nil
}
