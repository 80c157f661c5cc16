// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// driver knows a kind of files that has a meaning of its own.
type driver struct {
	name string
	// matches tells which paths first and conflict are for.
	matches func(path string) bool
	// claims tells which paths finish decides on: the walk passes over them.
	claims func(p *planner, path string) bool
	// first decides before contents are compared; it reports false to leave the path to the next.
	first func(p *planner, t sides.Three) (decision, bool, error)
	// conflict decides where both sides changed the content, and both have something; it reports false when it cannot.
	conflict func(p *planner, t sides.Three) (decision, bool, error)
	// finish decides, after the walk, on several paths together or on paths that the storage does not touch.
	finish func(ctx context.Context, p *planner) error
}

// drivers returns all drivers, in the order in which they are asked.
func drivers() []driver {
	return []driver{
		{name: "runtime", matches: runtimePaths.Has, first: keepRuntime},
		{name: "identity", matches: identityPaths.Has, first: keepIdentity, finish: pinIdentities},
		{name: "diversions", matches: func(string) bool { return true }, first: followDiversion},
		{name: "dpkg", claims: claimsPackages, finish: mergePackages},
		{name: "apk", claims: claimsApk, matches: isApkWorld, conflict: mergeApkWorld, finish: mergeApk},
		{name: "alternatives", matches: isAlternatives, conflict: keepAlternatives, finish: mergeAlternatives},
		{name: "accounts", claims: claimsAccounts, finish: mergeAccounts},
		{name: "records", matches: isRecords, conflict: mergeRecords},
		{name: "rpm", claims: claimsRPM, finish: settleRPM},
		{name: "data", matches: maybeData, first: keepDataFile, finish: keepDatabases},
		{name: "sqlite", matches: maybeSQLite, first: keepCompanion, conflict: keepSQLite},
		{name: "certificates", matches: isBundle, conflict: keepBundle, finish: mergeCertificates},
		{name: "bytecode", matches: isByteCode, first: noteByteCode, finish: settleByteCode},
		{name: "derived", matches: isDerived, conflict: settleDerived},
		{name: "line-set", matches: isLineSet, conflict: mergeLineSet},
		{name: "config", matches: isConfig, conflict: mergeConfig},
		{name: "text", matches: isText, conflict: mergeText},
		{name: "services", finish: settleServices},
		{name: "loader-cache", finish: mergeLoaderCache},
		{name: "distribution", finish: holdOther},
	}
}

// readPackages reads the databases of all package managers and decides on each package.
func readPackages(v *sides.Views, t pkg.Ties) (*pkg.Packages, error) {
	dpkg, err := newDpkgBooks(v, t)
	if err != nil {
		return nil, err
	}
	apk, err := newApkBooks(v, t)
	if err != nil {
		return nil, err
	}
	return pkg.New(v, dpkg, apk)
}
