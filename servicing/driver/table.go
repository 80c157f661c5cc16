// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package driver is the table of all drivers and package managers, in the order in which they are asked.
package driver

import (
	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/accounts"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/alternatives"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/bytecode"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/certificates"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/config"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/data"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/derived"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/distribution"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/diversions"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/identity"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/languages"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/lineset"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/loadercache"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/records"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/runtime"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/services"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/sources"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/sqlite"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/text"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg/apk"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg/dpkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg/foreign"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// row is a driver, and why it has its place among the others.
type row struct {
	make func(plan.Plan) plan.Driver
	why  string
}

// rows are all drivers, in the order in which they are asked, and in which they decide when the walk is over.
var rows = []row{
	{runtime.New, "what is mounted over is nobody's change, whatever the file would be"},
	{identity.New, "an identity stays, whatever its format"},
	{diversions.New, "a diverted file has another name in the base: the others look at the name that it has now"},
	{dpkg.New, "databases decide whose the files of packages are; before those that decide on several files"},
	{apk.New, "as dpkg"},
	{alternatives.New, "after the packages, whose programs the links lead to"},
	{accounts.New, "after the packages; it gives owners to what is decided until then"},
	{records.New, "before text: lists of records are texts, too"},
	{foreign.New, "a database whose files belong together, before any of them is taken for data"},
	{data.New, "before sqlite: a database may be in the directory of another one"},
	{languages.New, "after data: packages in a store are the store's; before all that merge what is in a package"},
	{sqlite.New, "any name can be that of a database"},
	{certificates.New, "after the packages and all files of certificates"},
	{bytecode.New, "when the sources are decided; before derived, which has it, too"},
	{derived.New, "before those that would merge the content"},
	{sources.New, "before line sets: an entry is more than a line"},
	{lineset.New, "before config and text: the most particular format first"},
	{config.New, "before text, which knows lines only"},
	{text.New, "the last for contents: it takes every text"},
	{services.New, "what a link starts has to be decided"},
	{loadercache.New, "only libraries that are in the result are in it"},
	{distribution.New, "it decides on nothing: it holds the storage"},
}

// Tools returns what plans are made with.
func Tools() plan.Tools { return plan.Tools{Managers: Managers, Drivers: makeDrivers} }

// makeDrivers makes the drivers of a plan.
func makeDrivers(p plan.Plan) []plan.Driver {
	out := make([]plan.Driver, 0, len(rows))
	for _, r := range rows {
		out = append(out, r.make(p))
	}
	return out
}

// managers are all package managers.
var managers = []func(*sides.Views, pkg.Ties) (pkg.Manager, error){
	apk.Read,
	dpkg.Read,
}

// Managers reads the databases of all package managers.
func Managers(v *sides.Views, t pkg.Ties) ([]pkg.Manager, error) {
	out := make([]pkg.Manager, 0, len(managers))
	for _, read := range managers {
		m, err := read(v, t)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}
