// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package image makes container images on the spot: OCI image layouts out of lists of files and directory
// trees, without a registry and without any other program. The same input gives the same digests.
package image
