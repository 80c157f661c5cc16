// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

// What the tests know of files and limits, apart from the code that they test.
const (
	dpkgStatus         = "var/lib/dpkg/status"
	dpkgInfo           = "var/lib/dpkg/info"
	alternativeRecords = "var/lib/dpkg/alternatives"
	aptStates          = "var/lib/apt/extended_states"
	libraryCache       = "etc/ld.so.cache"

	newTree = "var/lib/molt/beside/new/"
	oldTree = "var/lib/molt/beside/old/"

	heldUpdate = "the update that brings it is held"

	comparedSize, diffSize = 256 << 10, 128 << 10
)
