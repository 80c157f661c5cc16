// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package evidence compares molt's engine with what others do, and tries it on real systems. What it finds stands in
// docs/evidence.md.
package evidence
