// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/errtext"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/failpoint"
)

// Seal strips from a node what overlayfs keeps in it for itself, before it becomes immutable. The error names the path
// where the node is refused because of what a container made.
func (s *State) Seal(ctx context.Context, id dag.NodeID) error {
	flagged, err := tree.SealFlagged(ctx, s.nodes.FS(id))
	failpoint.NodeSealed.Hit()
	if err != nil || !flagged {
		return err
	}
	if err := s.nodes.Flags().Able(); err != nil {
		return FlagsLostError{err}
	}
	return s.nodes.Flags().Mark(id)
}

// FlagsLostError refuses a node whose files have inode flags that molt cannot keep.
type FlagsLostError struct{ Err error }

// Error implements error.
func (e FlagsLostError) Error() string {
	return "the container has made files immutable or append-only (chattr), and molt cannot keep them so: " +
		errtext.Of(e.Err)
}

// Unwrap makes it a failed precondition where it is not a reason to hold.
func (e FlagsLostError) Unwrap() []error { return []error{e.Err, errdefs.ErrFailedPrecondition} }
