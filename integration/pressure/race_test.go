// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build race

package pressure

// raceFactor is by how much the race detector multiplies the memory that is needed.
const raceFactor = 8
