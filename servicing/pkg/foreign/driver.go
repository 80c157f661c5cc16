// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package foreign decides on the databases of package managers whose packages are not known, each as a whole.
package foreign

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/shared"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// databases are where package managers keep their databases, in whatever form: all files there are one unit.
var databases = []struct{ manager, dir string }{
	{"rpm", "var/lib/rpm"},
	{"rpm", "usr/lib/sysimage/rpm"},
	{"rpm", "usr/share/rpm"},
	{"dpkg, in pieces", "var/lib/dpkg/status.d"},
	{"pacman", "var/lib/pacman/local"},
	{"opkg", "usr/lib/opkg"},
	{"opkg", "var/lib/opkg"},
	{"Portage", "var/db/pkg"},
	{"XBPS", "var/db/xbps"},
	{"Slackware's pkgtools", "var/lib/pkgtools"},
	{"Slackware's pkgtools", "var/log/packages"},
	{"eopkg", "var/lib/eopkg"},
	{"swupd", "var/lib/swupd"},
	{"Nix", "nix/var/nix/db"},
	{"Guix", "var/guix/db"},
}

// driverName is what the driver is called in reports.
const driverName = "foreign-databases"

// What the driver does besides having a name.
var (
	_ plan.Finisher = (*driver)(nil)
	_ plan.Claimer  = (*driver)(nil)
)

// driver decides on databases that it does not understand, each as a whole.
type driver struct{ plan plan.Plan }

// New makes the driver of a plan.
func New(p plan.Plan) plan.Driver { return &driver{p} }

// Name returns what the driver is called.
func (dr *driver) Name() string { return driverName }

// Takes takes no path: the driver decides when the walk is over.
func (dr *driver) Takes(string) bool { return false }

// Claims claims what is in a database.
func (dr *driver) Claims(name string) bool {
	for _, db := range databases {
		if name != db.dir && sides.Within(name, db.dir) {
			return true
		}
	}
	return false
}

// Finish decides on each database as a whole: it is the one side's that changed it. Where both did, the storage is
// held: the files of packages would not be what the database says.
func (dr *driver) Finish(context.Context) error {
	for _, db := range databases {
		if err := dr.settle(db.manager, db.dir); err != nil {
			return err
		}
	}
	return nil
}

func (dr *driver) settle(manager, dir string) error {
	said, err := sides.ReadDir(dr.plan.Views().Said, dir)
	if err != nil || len(said) == 0 && !dr.plan.Emptied(dir) {
		return err
	}
	all, err := shared.Below(dr.plan, dir)
	if err != nil {
		return err
	}
	byBase, byUser := false, false
	for _, t := range all {
		same, err := sides.Compare(t)
		if err != nil {
			return err
		}
		byBase = byBase || !same.ON
		byUser = byUser || !same.OU && !scratch(t)
	}
	switch {
	case !byBase:
		return nil
	case byUser:
		reason := "the package database of " + manager + " was changed on both sides and cannot be merged"
		dr.plan.Hold(
			report.HoldPackageDatabase, dir,
			fmt.Sprintf("/%s: %s: undo the user's installations, or install again on the new base", dir, reason),
		)
		return shared.ShowUnit(dr.plan, all, sides.User, plan.Decision{
			Verdict: report.Hold, Rule: "D11", Driver: driverName, Reason: reason,
		})
	default:
		return shared.ShowUnit(dr.plan, all, sides.New, plan.Decision{
			Verdict: report.Take, Rule: "D11", Driver: driverName,
			Reason: "the package database, which the user did not change",
		})
	}
}

// scratch reports whether a file says nothing about packages: what a look at the database leaves.
func scratch(t sides.Three) bool {
	name := path.Base(t.Path)
	empty := !t.U.Is(tree.Regular) || t.U.Size == 0
	return name == ".rpm.lock" || strings.HasPrefix(name, "__db.") || strings.HasSuffix(name, "-shm") ||
		strings.HasSuffix(name, "-wal") && empty && t.O.Absent()
}
