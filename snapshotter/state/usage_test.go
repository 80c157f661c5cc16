// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package state

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
	b := newBench(t)
	one := b.layer("one", "", "x")
	b.bound("test/1/c", one, "web")
	b.write("test/web", "x")
	mount := filepath.Join(b.open("test/web"), "odd")
	b.must(os.Mkdir(mount, 0o755))
	b.divide("test/web")
	b.must(unix.Mount("tmpfs", mount, "tmpfs", 0, "")) // nobody may enter a mount point in a node
	t.Cleanup(func() {
		if err := unix.Unmount(mount, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Error(err)
		}
	})
	if err := b.meter.Measure(t.Context()); err == nil {
		t.Fatal("a mount point in a node was measured")
	}
	if err := b.meter.Measure(t.Context()); err != nil {
		t.Errorf("it is tried again at once: %v", err)
	}
	var left int
	b.Graph(func(g *dag.Graph) { left = len(g.Unmeasured()) })
	if left != 1 {
		t.Errorf("%d nodes are not measured", left)
	}
	b.must(unix.Unmount(mount, 0))
	clear(b.meter.unmeasured)
	b.must(b.meter.Measure(t.Context()))
}
