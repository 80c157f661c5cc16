// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// TestFlagsLostHold: a storage whose inode flags cannot be kept is held with the reason, it is not given up; other operations are
// refused as things stand.
func TestFlagsLostHold(t *testing.T) {
	i := newInside(t)
	p := &staged{Draft: i.state.Begin(state.Nothing)}
	lost := fmt.Errorf("seal: %w", state.FlagsLostError{Err: unix.EPERM})
	if err := i.holdRefused(p, lost); err != nil || len(p.holds) != 1 || !strings.Contains(p.holds[0], "chattr") {
		t.Errorf("got %v, %v", p.holds, err)
	}
	if !errdefs.IsFailedPrecondition(refused(lost)) || !errors.Is(lost, unix.EPERM) {
		t.Errorf("elsewhere it is %v", refused(lost))
	}
	if err := i.holdRefused(p, unix.EIO); !errors.Is(err, unix.EIO) {
		t.Errorf("another error: %v", err)
	}
}
