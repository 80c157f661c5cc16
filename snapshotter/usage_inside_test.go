// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

func TestPauses(t *testing.T) {
	p := make(pauses)
	at := time.Now()
	if !p.due(1, at) {
		t.Error("a node that never failed has to wait")
	}
	var total time.Duration
	for i := range 20 {
		p.failed(1, at)
		length := p[1].length
		if p.due(1, at) || !p.due(1, at.Add(length)) || length > lastPause || !p.due(2, at) {
			t.Errorf("failed %d times: %v", i+1, p)
		}
		at, total = at.Add(length), total+length
	}
	if total < 8*lastPause {
		t.Errorf("20 tries in %v", total)
	}
	if p.keep([]dag.NodeID{2}); len(p) != 0 {
		t.Errorf("kept %v", p)
	}
}

// TestMeasureLater: a node that cannot be measured is told once and then left alone for longer and longer; it keeps no
// other from being measured.
func TestMeasureLater(t *testing.T) {
	i := newInside(t)
	one := i.layer("one", "", "x")
	i.bound("test/1/c", one, "web")
	i.write("test/web", "x")
	mount := filepath.Join(i.open("test/web"), "odd")
	i.must(os.Mkdir(mount, 0o755))
	i.divide("test/web")
	i.must(unix.Mount("tmpfs", mount, "tmpfs", 0, "")) // nobody may enter a mount point in a node
	t.Cleanup(func() {
		if err := unix.Unmount(mount, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Error(err)
		}
	})
	if err := i.measure(t.Context()); err == nil {
		t.Fatal("a mount point in a node was measured")
	}
	if err := i.measure(t.Context()); err != nil {
		t.Errorf("it is tried again at once: %v", err)
	}
	var left int
	i.Graph(func(g *dag.Graph) { left = len(g.Unmeasured()) })
	if left != 1 {
		t.Errorf("%d nodes are not measured", left)
	}
	i.must(unix.Unmount(mount, 0))
	clear(i.unmeasured)
	i.must(i.measure(t.Context()))
}
