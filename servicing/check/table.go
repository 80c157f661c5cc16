// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package check

import (
	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// check is one that is made of the result. It is left out when all that it finds is to be ignored.
type check struct {
	finds []policy.Concern

	// look looks at what the user has in the result, one path after the other, and may remember something for the end.
	// Nil: there is nothing to look at.
	look func(c *checker, t sides.Three, o sides.Outcome) error
	at   tree.Kind // of file that look is called for

	// end is called when everything was looked at. Nil: there is nothing left to do.
	end func(c *checker) error
}

// checks are all checks. To add one is a row here, and one for each of its concerns in the table of package policy.
var checks = []check{
	{finds: []policy.Concern{policy.ConcernLink}, at: tree.Symlink, look: (*checker).checkLink},
	{
		finds: []policy.Concern{
			policy.ConcernPackagedProgram, policy.ConcernOwnProgram, policy.ConcernReplacedLibrary,
			policy.ConcernScript,
		},
		at: tree.Regular, look: (*checker).checkExecutable,
	},
	{
		finds: []policy.Concern{policy.ConcernModules},
		at:    tree.Regular, look: (*checker).noteModules, end: (*checker).checkModules,
	},
	{
		finds: []policy.Concern{policy.ConcernServerData},
		at:    tree.Regular, look: (*checker).noteCluster, end: (*checker).checkServers,
	},
	{finds: []policy.Concern{policy.ConcernAccount}, end: (*checker).checkAccounts},
	{finds: []policy.Concern{policy.ConcernPackageFiles}, end: (*checker).checkPackageFiles},
}
