// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// row is a driver, and why it has its place among the others.
type row struct {
	make func(plan) driver
	why  string
}

// rows are all drivers, in the order in which they are asked, and in which they decide when the walk is over.
var rows = []row{
	{newRuntime, "what is mounted over is nobody's change, whatever the file would be"},
	{newIdentity, "an identity stays, whatever its format"},
	{newDiversions, "a diverted file is compared with what the base has under its own name: all others look at the name that it has now"},
	{newDpkg, "the databases of packages decide whose the files are; before all that decide on files of packages together"},
	{newApk, "as dpkg"},
	{newAlternatives, "after the packages, whose programs the links lead to"},
	{newAccounts, "after the packages; it gives owners to what is decided until then"},
	{newRecords, "before text: lists of records are texts, too"},
	{newRPM, "a database whose files belong together, before any of them is taken for data"},
	{newData, "before sqlite: a database may be in the directory of another one"},
	{newSQLite, "any name can be that of a database"},
	{newCertificates, "after the packages and all files of certificates"},
	{newByteCode, "when the sources are decided; before derived, which has it, too"},
	{newDerived, "before those that would merge the content"},
	{newSources, "before line sets: entries are more than lines"},
	{newLineSet, "before config and text: the most particular format first"},
	{newConfig, "before text, which knows lines only"},
	{newText, "the last for contents: it takes every text"},
	{newServices, "what a link starts has to be decided"},
	{newLoaderCache, "only libraries that are in the result are in it"},
	{newDistribution, "it decides on nothing: it holds the storage"},
}

// allTools are what plans are made with.
var allTools = tools{managers: readManagers, drivers: makeDrivers}

// makeDrivers makes the drivers of a plan.
func makeDrivers(p plan) []driver {
	out := make([]driver, 0, len(rows))
	for _, r := range rows {
		out = append(out, r.make(p))
	}
	return out
}

// readManagers reads the databases of all package managers.
func readManagers(v *sides.Views, t pkg.Ties) ([]pkg.Manager, error) {
	dpkg, err := newDpkgBooks(v, t)
	if err != nil {
		return nil, err
	}
	apk, err := newApkBooks(v, t)
	if err != nil {
		return nil, err
	}
	return []pkg.Manager{dpkg, apk}, nil
}
