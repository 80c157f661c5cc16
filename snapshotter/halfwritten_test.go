// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/snapshottertest"
)

// TestHalfWrittenWithoutRecord: a layer that was not on disk when the power went is refused also when there was no
// room to record that at the start; check finds it, and repair records it.
func TestHalfWrittenWithoutRecord(t *testing.T) {
	i := snapshottertest.New(t)
	_, err := i.Prepare(t.Context(), "extract", "")
	i.Must(err)
	i.Must(i.State().Do(dag.Commit{Key: "extract", Name: "half", Unsynced: "an earlier boot", Now: time.Now()}))
	refuses := func() {
		t.Helper()
		if _, err := i.Prepare(t.Context(), "new", "half"); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("it is used: %v", err)
		}
	}
	refuses()
	problems, err := i.Checks().Repair(t.Context())
	i.Must(err)
	// The other one is that there is no containerd to be asked.
	if len(problems) != 2 || problems[0].What != halfWritten || !problems[0].Repaired || problems[1].Subject != "containerd" {
		t.Errorf("found: %+v", problems)
	}
	refuses()
	i.State().Graph(func(g *dag.Graph) {
		name, _ := g.Name("half")
		if n, _ := g.Node(name.Node); n.Damage != halfWritten {
			t.Errorf("recorded is %q", n.Damage)
		}
	})
}

// halfWritten is why such a layer is not used.
const halfWritten = "the machine stopped before the layer was on disk"
