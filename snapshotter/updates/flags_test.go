// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/snapshottertest"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// TestFlagsLostHold: a storage whose inode flags cannot be kept is held with the reason, it is not given up; other
// operations are refused as things stand.
func TestFlagsLostHold(t *testing.T) {
	i := snapshottertest.New(t)
	p := &updates.Staged{Draft: i.State().Begin(state.Nothing)}
	lost := fmt.Errorf("seal: %w", state.FlagsLostError{Err: unix.EPERM})
	if err := i.Updates().Stager().HoldRefused(p, lost); err != nil || len(p.Holds) != 1 || !strings.Contains(p.Holds[0], "chattr") {
		t.Errorf("got %v, %v", p.Holds, err)
	}
	if !errdefs.IsFailedPrecondition(updates.Refused(lost)) || !errors.Is(lost, unix.EPERM) {
		t.Errorf("elsewhere it is %v", updates.Refused(lost))
	}
	if err := i.Updates().Stager().HoldRefused(p, unix.EIO); !errors.Is(err, unix.EIO) {
		t.Errorf("another error: %v", err)
	}
}
