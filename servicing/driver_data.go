// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"path"

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

// dataDriver keeps databases whole that are a directory each.
type dataDriver struct {
	plan    plan
	changed map[string]bool   // directories of databases whose data the user changed
	roots   map[string]string // by directory, that of the database that it belongs to
}

func newData(p plan) driver {
	return &dataDriver{plan: p, changed: make(map[string]bool), roots: make(map[string]string)}
}

// Name implements the driver.
func (dr *dataDriver) Name() string { return "data" }

// Takes takes every path: what a file is does not show in its name.
func (dr *dataDriver) Takes(string) bool { return true }

// Explains reports whether a path belongs to the data of a database.
func (dr *dataDriver) Explains(t sides.Three) (bool, error) { return dr.inDatabase(t) }

// First keeps what the user changed in the data of a database, and remembers to keep all that belongs to it.
func (dr *dataDriver) First(t sides.Three) (decision, bool, error) {
	if t.U.Dir() || t.N.Dir() || t.Was != t.Path {
		return decision{}, false, nil
	}
	if is, err := dr.inDatabase(t); err != nil || !is {
		return decision{}, false, err
	}
	if same, err := sides.SameContent(t.O, t.U); err != nil || same {
		return decision{}, false, err
	}
	root := dr.roots[path.Dir(t.Path)]
	dr.changed[root] = true
	return decision{
		verdict: report.Keep, rule: "G1", reason: "belongs to the database in " + tree.Shown(root), result: sides.Shows(t.U),
		quiet: t.O.Absent() && t.N.Absent(),
	}, true, nil
}

// inDatabase tells whether a path belongs to a database that is a directory.
func (dr *dataDriver) inDatabase(t sides.Three) (bool, error) {
	root, err := dr.dataRoot(path.Dir(t.Path))
	return root != "", err
}

// dataRoot returns the outermost directory of the database that a directory belongs to; "" for none, or when neither base
// has that directory: then nobody else has anything to say about it.
func (dr *dataDriver) dataRoot(dir string) (string, error) {
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

func (dr *dataDriver) isDatabase(dir string) (string, error) {
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
func (dr *dataDriver) Finish(context.Context) error {
	for root := range sorted(dr.changed) {
		all, err := below(dr.plan, root)
		if err != nil {
			return err
		}
		d := decision{verdict: report.Keep, rule: "G1", driver: "data", reason: "belongs to the database in " + tree.Shown(root)}
		if err := showUnit(dr.plan, all, sides.User, d); err != nil {
			return err
		}
	}
	return nil
}
