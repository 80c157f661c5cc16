// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWorkDeletedLater: a work directory that cannot be deleted when its node is frozen is deleted later, without a restart.
func TestWorkDeletedLater(t *testing.T) {
	i := newInside(t)
	base := i.layer("default/1/base", "", "file")
	i.bound("default/2/a", base, "a")
	st, _ := i.state.Storage("default/a")
	head := st.Head
	c, u := i.tracker.ClaimNow(t.Context(), st, false)
	if !u.Free() {
		t.Fatal(u)
	}
	i.divide("default/a")
	busy := filepath.Join(i.nodes.Work(head), "busy")
	i.must(os.MkdirAll(busy, 0o700))
	i.must(unix.Mount("none", busy, "tmpfs", 0, ""))
	i.must(c.Close())
	if err := i.tracker.DropKept(); err == nil {
		t.Error("what cannot be deleted is not told")
	}
	if _, err := os.Lstat(busy); err != nil {
		t.Errorf("what is mounted on was deleted: %v", err)
	}
	i.must(unix.Unmount(busy, 0))
	i.must(i.tracker.DropKept())
	if _, err := os.Lstat(i.nodes.Work(head)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the work directory stays: %v", err)
	}
}
