// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"iter"
	"maps"
	"path"
	"slices"

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

func maybeData(string) bool { return true }

// keepDataFile keeps what the user changed in the data of a database, and remembers to keep all that belongs to it.
func keepDataFile(p *planner, t sides.Three) (decision, bool, error) {
	if t.U.Dir() || t.N.Dir() || t.Was != t.Path {
		return decision{}, false, nil
	}
	if is, err := p.inDatabase(t); err != nil || !is {
		return decision{}, false, err
	}
	if same, err := sides.SameContent(t.O, t.U); err != nil || same {
		return decision{}, false, err
	}
	root := p.dataRoots[path.Dir(t.Path)]
	p.databases[root] = true
	return decision{
		verdict: report.Keep, rule: "G1", reason: "belongs to the database in " + tree.Shown(root), result: sides.Shows(t.U),
		quiet: t.O.Absent() && t.N.Absent(),
	}, true, nil
}

// inDatabase tells whether a path belongs to a database that is a directory.
func (p *planner) inDatabase(t sides.Three) (bool, error) {
	root, err := p.dataRoot(path.Dir(t.Path))
	return root != "", err
}

// dataRoot returns the outermost directory of the database that a directory belongs to; "" for none, or when neither base
// has that directory: then nobody else has anything to say about it.
func (p *planner) dataRoot(dir string) (string, error) {
	if dir == "." {
		return "", nil
	}
	if root, known := p.dataRoots[dir]; known {
		return root, nil
	}
	root, err := p.dataRoot(path.Dir(dir))
	if err != nil {
		return "", err
	}
	if root == "" {
		if root, err = p.isDatabase(dir); err != nil {
			return "", err
		}
	}
	p.dataRoots[dir] = root
	return root, nil
}

func (p *planner) isDatabase(dir string) (string, error) {
	old, err := sides.Lookup(p.Old, dir)
	if err != nil {
		return "", err
	}
	base, err := sides.Lookup(p.New, dir)
	if err != nil || !old.Dir() && !base.Dir() {
		return "", err
	}
	for _, marker := range dataMarkers {
		n, err := sides.Lookup(p.User, path.Join(dir, marker))
		if err != nil {
			return "", err
		}
		if n.Is(tree.Regular) {
			return dir, nil
		}
	}
	return "", nil
}

// keepDatabases keeps the databases whose data the user changed, whole.
func keepDatabases(_ context.Context, p *planner) error {
	for root := range sorted(p.databases) {
		all, err := p.below(root)
		if err != nil {
			return err
		}
		d := decision{verdict: report.Keep, rule: "G1", driver: "data", reason: "belongs to the database in " + tree.Shown(root)}
		if err := p.showUnit(all, sides.User, d); err != nil {
			return err
		}
	}
	return nil
}

// sorted returns the members of a set in order.
func sorted(set map[string]bool) iter.Seq[string] {
	return slices.Values(slices.Sorted(maps.Keys(set)))
}
