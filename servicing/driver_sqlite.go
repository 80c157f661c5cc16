// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// sqliteCompanions are the suffixes of the files that belong to a database: what they hold is part of it, and only of it.
var sqliteCompanions = []string{"-journal", "-wal"}

// sqliteDriver keeps databases of SQLite.
type sqliteDriver struct{ plan plan }

func newSQLite(p plan) driver { return &sqliteDriver{p} }

// Name implements the driver.
func (dr *sqliteDriver) Name() string { return "sqlite" }

// Takes takes every path: what a file is does not show in its name.
func (dr *sqliteDriver) Takes(string) bool { return true }

// Explains reports whether a path is a database now.
func (dr *sqliteDriver) Explains(t sides.Three) (bool, error) { return isSQLite(t.U) }

// First keeps the user's database where the storage has a journal of it, touched itself or not: with another
// database under it, the journal would destroy that.
func (dr *sqliteDriver) First(t sides.Three) (decision, bool, error) {
	i := slices.IndexFunc(sqliteCompanions, func(suffix string) bool { return strings.HasSuffix(t.Path, suffix) })
	if i < 0 || !t.U.Is(tree.Regular) || t.U.Size == 0 {
		return decision{}, false, nil
	}
	was := strings.TrimSuffix(t.Was, sqliteCompanions[i])
	database, err := dr.plan.Views().Moved(was, strings.TrimSuffix(t.Path, sqliteCompanions[i]))
	if err != nil {
		return decision{}, false, err
	}
	if is, err := isSQLite(database.U); err != nil || !is {
		return decision{}, false, err
	}
	if same, err := sides.SameContent(database.U, database.N); err != nil || !same {
		if err != nil {
			return decision{}, false, err
		}
		kept := decision{
			verdict: report.Keep, rule: "G1", driver: "sqlite", reason: "a database whose journal is in the storage",
			result: sides.Shows(sides.Merged(database, database.U)),
		}
		dr.plan.Reopen(database.Path)
		if err := dr.plan.DecideAlways(database, kept); err != nil {
			return decision{}, false, err
		}
	}
	return decision{
		verdict: report.Keep, rule: "G1", reason: "the journal of a database", result: sides.Shows(t.U),
		quiet: t.O.Absent() && t.N.Absent(),
	}, true, nil
}

// Resolve keeps a database that both sides changed.
func (dr *sqliteDriver) Resolve(t sides.Three) (decision, bool, error) {
	is, err := isSQLite(t.U)
	return decision{verdict: report.Keep, rule: "G1", reason: "a database: data of the user", result: sides.Shows(sides.Merged(t, t.U))}, is, err
}

// isSQLite tells whether a file is a database of SQLite.
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
