// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package pressure

const raceFactor = 1
