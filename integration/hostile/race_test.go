// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build race

package hostile

// raced tells that the race detector is at work, which takes a multiple of the memory.
const raced = true
