// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/snapshottertest"
)

// TestWorkDeletedLater: a work directory that cannot be deleted when its node is frozen is deleted later, without a
// restart.
func TestWorkDeletedLater(t *testing.T) {
	i := snapshottertest.New(t)
	base := i.Layer("default/1/base", "", "file")
	i.Bound("default/2/a", base, "a")
	st, _ := i.State().Storage("default/a")
	head := st.Head
	c, u := i.Uses().ClaimNow(t.Context(), st, false)
	if !u.Free() {
		t.Fatal(u)
	}
	i.Divide("default/a")
	busy := filepath.Join(i.State().Nodes().Work(head), "busy")
	i.Must(os.MkdirAll(busy, 0o700))
	i.Must(unix.Mount("none", busy, "tmpfs", 0, ""))
	i.Must(c.Close())
	if err := i.Uses().DropKept(); err == nil {
		t.Error("what cannot be deleted is not told")
	}
	if _, err := os.Lstat(busy); err != nil {
		t.Errorf("what is mounted on was deleted: %v", err)
	}
	i.Must(unix.Unmount(busy, 0))
	i.Must(i.Uses().DropKept())
	if _, err := os.Lstat(i.State().Nodes().Work(head)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the work directory stays: %v", err)
	}
}
