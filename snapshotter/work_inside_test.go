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

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// TestWorkDeletedLater: a work directory that cannot be deleted when its node is frozen is deleted later, without a restart.
func TestWorkDeletedLater(t *testing.T) {
	i := newInside(t)
	base := i.layer("default/1/base", "", "file")
	i.bound("default/2/a", base, "a")
	var head dag.NodeID
	i.Graph(func(g *dag.Graph) {
		st, _ := g.Storage("default/a")
		head = st.Head
	})
	i.divide("default/a")
	busy := filepath.Join(i.nodes.Work(head), "busy")
	i.must(os.MkdirAll(busy, 0o700))
	i.must(unix.Mount("none", busy, "tmpfs", 0, ""))
	c := claim{s: i.Snapshotter, head: head}
	i.must(c.Close())
	if err := i.dropKept(); err == nil {
		t.Error("what cannot be deleted is not told")
	}
	if _, err := os.Lstat(busy); err != nil {
		t.Errorf("what is mounted on was deleted: %v", err)
	}
	i.must(unix.Unmount(busy, 0))
	i.must(i.dropKept())
	if _, err := os.Lstat(i.nodes.Work(head)); !errors.Is(err, fs.ErrNotExist) || len(i.kept.list()) > 0 {
		t.Errorf("the work directory stays: %v", err)
	}
}
