// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/snapshottertest"
)

// TestRemoveWithoutDatabase: containerd's garbage collection goes on after a key that cannot be removed just now.
func TestRemoveWithoutDatabase(t *testing.T) {
	snapshottertest.NeedsRoot(t)
	s, err := snapshotter.New(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // whose database is closed already
	_, err = s.Prepare(t.Context(), "key", "")
	if err := errors.Join(err, s.State().Close()); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), "key"); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("got error %v", err)
	}
	if err := s.Remove(t.Context(), "none"); !errdefs.IsNotFound(err) {
		t.Errorf("got error %v", err)
	}
}

// TestClosed: what comes after the end is refused, and begins nothing in the background.
func TestClosed(t *testing.T) {
	i := snapshottertest.New(t)
	_, err := i.Prepare(t.Context(), "key", "")
	i.Must(err)
	i.Must(i.Close())
	if _, err := i.Mounts(t.Context(), "key"); !errdefs.IsUnavailable(err) {
		t.Errorf("got error %v", err)
	}
	i.Must(i.Close())
}
