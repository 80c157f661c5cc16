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
)

// TestFlagsLostHold: a storage whose inode flags cannot be kept is held with the reason, it is not given up; other operations are
// refused as things stand.
func TestFlagsLostHold(t *testing.T) {
	i := newInside(t)
	released := false
	p := staged{release: func() { released = true }}
	lost := fmt.Errorf("seal: %w", flagsLostError{unix.EPERM})
	held, err := i.holdRefused(p, lost)
	if err != nil || len(held.holds) != 1 || !strings.Contains(held.holds[0], "chattr") || released {
		t.Errorf("got %v, %v, released %v", held.holds, err, released)
	}
	if !errdefs.IsFailedPrecondition(refused(lost)) || !errors.Is(lost, unix.EPERM) {
		t.Errorf("elsewhere it is %v", refused(lost))
	}
	if _, err := i.holdRefused(p, unix.EIO); !errors.Is(err, unix.EIO) || !released {
		t.Errorf("another error: %v, released %v", err, released)
	}
}
