// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"path/filepath"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

const (
	manifest = "manifest"
	contents = "contents"
)

// Manifest returns where it is kept what was in a published node when it was frozen, without the content of files.
func (d *Dir) Manifest(id dag.NodeID) string { return filepath.Join(d.path(published, id), manifest) }

// StagedManifest returns where that is kept of a node in the making.
func (d *Dir) StagedManifest(id dag.NodeID) string {
	return filepath.Join(d.path(staging, id), manifest)
}

// Contents returns where it is kept what was in the files of a published node soon after it was frozen.
func (d *Dir) Contents(id dag.NodeID) string { return filepath.Join(d.path(published, id), contents) }
