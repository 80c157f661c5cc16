// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !failpoints

package failpoint

// Hit does nothing in this build.
func (Point) Hit() {}
