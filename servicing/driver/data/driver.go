// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package data keeps databases whole that are a directory each.
package data

import (
	"context"
	"path"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/shared"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// dataMarkers are names by which a directory shows that it is the data of one database: its files belong together.
var dataMarkers = []string{
	"PG_VERSION",            // PostgreSQL
	"ibdata1",               // MySQL, MariaDB
	"WiredTiger",            // MongoDB
	"data.mdb",              // LMDB
	"__db.001", "DB_CONFIG", // Berkeley DB
	"CURRENT", // LevelDB, RocksDB
}

// driverName is what the driver is called in reports.
const driverName = "data"

// What the driver does besides having a name.
var (
	_ plan.Decider   = (*driver)(nil)
	_ plan.Finisher  = (*driver)(nil)
	_ plan.Explainer = (*driver)(nil)
)

// driver keeps databases whole that are a directory each.
type driver struct {
	plan    plan.Plan
	changed map[string]bool   // directories of databases whose data the user changed
	roots   map[string]string // by directory, that of the database that it belongs to
}

// New makes the driver of a plan.
func New(p plan.Plan) plan.Driver {
	return &driver{plan: p, changed: make(map[string]bool), roots: make(map[string]string)}
}

// Name returns what the driver is called.
func (dr *driver) Name() string { return driverName }

// Takes takes every path: what a file is does not show in its name.
func (dr *driver) Takes(string) bool { return true }

// Explains reports whether a path belongs to the data of a database.
func (dr *driver) Explains(t sides.Three) (bool, error) { return dr.inDatabase(t) }

// First keeps what the user changed in the data of a database, and remembers to keep all that belongs to it.
func (dr *driver) First(t sides.Three) (plan.Decision, bool, error) {
	if t.U.Dir() || t.N.Dir() || t.Was != t.Path {
		return plan.Decision{}, false, nil
	}
	if is, err := dr.inDatabase(t); err != nil || !is {
		return plan.Decision{}, false, err
	}
	if same, err := sides.SameContent(t.O, t.U); err != nil || same {
		return plan.Decision{}, false, err
	}
	root := dr.roots[path.Dir(t.Path)]
	dr.changed[root] = true
	return plan.Decision{
		Verdict: report.Keep, Rule: "G1", Reason: "belongs to the database in " + tree.Shown(root), Result: sides.Shows(t.U),
		Quiet: t.O.Absent() && t.N.Absent(),
	}, true, nil
}

// inDatabase reports whether a path belongs to a database that is a directory.
func (dr *driver) inDatabase(t sides.Three) (bool, error) {
	root, err := dr.dataRoot(path.Dir(t.Path))
	return root != "", err
}

// dataRoot returns the outermost directory of the database that a directory belongs to; "" for none, or when neither
// base has that directory: then nobody else has anything to say about it.
func (dr *driver) dataRoot(dir string) (string, error) {
	if dir == "." {
		return "", nil
	}
	if root, known := dr.roots[dir]; known {
		return root, nil
	}
	root, err := dr.dataRoot(path.Dir(dir))
	if err != nil {
		return "", err
	}
	if root == "" {
		if root, err = dr.isDatabase(dir); err != nil {
			return "", err
		}
	}
	dr.roots[dir] = root
	return root, nil
}

func (dr *driver) isDatabase(dir string) (string, error) {
	old, err := sides.Lookup(dr.plan.Views().Old, dir)
	if err != nil {
		return "", err
	}
	base, err := sides.Lookup(dr.plan.Views().New, dir)
	if err != nil || !old.Dir() && !base.Dir() {
		return "", err
	}
	for _, marker := range dataMarkers {
		n, err := sides.Lookup(dr.plan.Views().User, path.Join(dir, marker))
		if err != nil {
			return "", err
		}
		if n.Is(tree.Regular) {
			return dir, nil
		}
	}
	return "", nil
}

// Finish keeps the databases whose data the user changed, whole.
func (dr *driver) Finish(context.Context) error {
	for root := range shared.Sorted(dr.changed) {
		all, err := shared.Below(dr.plan, root)
		if err != nil {
			return err
		}
		d := plan.Decision{
			Verdict: report.Keep, Rule: "G1", Driver: driverName, Reason: "belongs to the database in " + tree.Shown(root),
		}
		if err := shared.ShowUnit(dr.plan, all, sides.User, d); err != nil {
			return err
		}
	}
	return nil
}
