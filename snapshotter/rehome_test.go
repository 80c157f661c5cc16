// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/snapshottertest"
)

// TestAnotherOfTheName: while the key of a container is to be prepared again, another container of its name gets a
// storage of its own; what is prepared for the re-homing gets the one that waits.
func TestAnotherOfTheName(t *testing.T) {
	for how, c := range map[string]struct {
		labels map[string]string
		waits  bool
	}{
		"another container": {},
		"the re-homing":     {map[string]string{snapshotter.LabelRehoming: "c"}, true},
	} {
		t.Run(how, func(t *testing.T) {
			i := snapshottertest.New(t)
			base := i.Layer("default/1/base", "", "file")
			_, err := i.Prepare(t.Context(), "default/2/c", base)
			i.Must(err)
			own := dag.AnonymousName("default/2/c")
			i.Write(own, "mine")
			i.Must(i.State().Do(dag.BeginRehoming{Storage: own, Namespace: "default", Container: "c", Record: []byte("{}")}))
			i.Must(i.Remove(t.Context(), "default/2/c"))
			_, err = i.Prepare(t.Context(), "default/3/c", base, snapshots.WithLabels(c.labels))
			i.Must(err)
			_, err = os.Lstat(filepath.Join(i.Open(dag.AnonymousName("default/3/c")), "mine"))
			if there := err == nil; there != c.waits {
				t.Errorf("it has what was written: %v", there)
			}
			if n, err := i.Stat(t.Context(), "default/3/c"); err != nil || n.Labels[snapshotter.LabelRehoming] != "" {
				t.Errorf("the key has labels %v, %v", n.Labels, err)
			}
		})
	}
}
