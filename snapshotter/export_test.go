// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"time"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/overlay"
)

// SetLeaving sets how long containerd may take to drop the key of a container that is gone, and for how long a new key
// may be one that containerd has not written down yet.
func (s *Snapshotter) SetLeaving(leaving, creating time.Duration) {
	s.bindings.Storages.SetPatience(leaving, creating)
}

// Retire does what the work in the background does about states that retention does not keep.
func (s *Snapshotter) Retire(ctx context.Context) error { return s.state.Ageing().Retire(ctx) }

// Unmark does what the work in the background does about the labels of held updates.
func (s *Snapshotter) Unmark(ctx context.Context) error { return s.bindings.Labels.Unmark(ctx) }

// Joined is what joins the words of a label.
var Joined = joined

// Forget does what the work in the background does about records of updates and reports that nothing needs.
func (s *Snapshotter) Forget(ctx context.Context) error { return s.updates.Reports.Forget(ctx) }

// WithLower sets how many lower directories a mount takes.
func WithLower(n int) Opt { return func(c *config) error { c.lower = n; return nil } }

// Overlay returns what makes mounts.
func (s *Snapshotter) Overlay() *overlay.Mounts { return s.overlay }
