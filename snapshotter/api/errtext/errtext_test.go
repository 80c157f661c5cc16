// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package errtext_test

import (
	"fmt"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/errtext"
)

func TestOf(t *testing.T) {
	for want, err := range map[string]error{
		"it runs":                     fmt.Errorf("it runs: %w", errdefs.ErrFailedPrecondition),
		"bad name":                    fmt.Errorf("bad name: %w: %w", errdefs.ErrInvalidArgument, errdefs.ErrInvalidArgument),
		"one\ntwo":                    fmt.Errorf("one: %w\ntwo: %w", errdefs.ErrFailedPrecondition, errdefs.ErrUnavailable),
		"storage x: not found":        fmt.Errorf("storage x: %w", errdefs.ErrNotFound),
		"storage x: already exists":   fmt.Errorf("storage x: %w", errdefs.ErrAlreadyExists),
		"failed precondition":         errdefs.ErrFailedPrecondition,
		"a failed precondition: then": fmt.Errorf("a %w: then", errdefs.ErrFailedPrecondition),
	} {
		if got := errtext.Of(err); got != want {
			t.Errorf("%q is shown as %q, not %q", err, got, want)
		}
	}
}
