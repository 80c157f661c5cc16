// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// inside is a snapshotter that is looked at from within, in which nothing is merged but by the test.
type inside struct {
	*Snapshotter
	t *testing.T
}

func newInside(t *testing.T, opts ...Opt) inside {
	t.Helper()
	needsRoot(t)
	s, err := New(filepath.Join(t.TempDir(), "root"), append([]Opt{WithGrace(0)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	i := inside{s, t}
	t.Cleanup(func() { i.must(s.Close()) })
	unlock, err := s.merger.Pause(t.Context())
	i.must(err)
	t.Cleanup(unlock)
	return i
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("MOLT_TEST_STRICT") != "" {
			t.Fatal("mounting overlays needs root")
		}
		t.Skip("mounting overlays needs root")
	}
}

func (i inside) must(err error) {
	i.t.Helper()
	if err != nil {
		i.t.Fatal(err)
	}
}

// layer commits a layer with some files.
func (i inside) layer(key, parent string, files ...string) string {
	i.t.Helper()
	_, err := i.Prepare(i.t.Context(), "extract-"+key, parent)
	i.must(err)
	for _, file := range files {
		i.write(dag.AnonymousName("extract-"+key), file)
	}
	i.must(i.Commit(i.t.Context(), key, "extract-"+key))
	return key
}

// bound prepares a key that has a storage.
func (i inside) bound(key, parent, storage string) {
	i.t.Helper()
	_, err := i.Prepare(i.t.Context(), key, parent, snapshots.WithLabels(map[string]string{LabelStorage: storage}))
	i.must(err)
}

// open returns the directory of the open node of a storage.
func (i inside) open(storage string) (dir string) {
	i.state.Graph(func(g *dag.Graph) {
		st, _ := g.Storage(storage)
		dir = i.nodes.FS(st.Head)
	})
	return dir
}

func (i inside) write(storage, file string) {
	i.t.Helper()
	i.must(os.WriteFile(filepath.Join(i.open(storage), file), []byte("x"), 0o600))
}

// divide goes on in a new node of a storage, without an update.
func (i inside) divide(storage string) {
	i.t.Helper()
	i.must(i.Fork(i.t.Context(), storage, "test/for-a-moment"))
	i.must(i.RemoveStorage(i.t.Context(), "test/for-a-moment"))
}

// TestRemoveWithoutDatabase: containerd's garbage collection goes on after a key that cannot be removed just now.
func TestRemoveWithoutDatabase(t *testing.T) {
	needsRoot(t)
	s, err := New(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // whose database is closed already
	i := inside{s, t}
	_, err = i.Prepare(t.Context(), "key", "")
	i.must(err)
	i.must(i.state.Close())
	if err := i.Remove(t.Context(), "key"); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("got error %v", err)
	}
	if err := i.Remove(t.Context(), "none"); !errdefs.IsNotFound(err) {
		t.Errorf("got error %v", err)
	}
}

// TestClosed: what comes after the end is refused, and begins nothing in the background.
func TestClosed(t *testing.T) {
	i := newInside(t)
	_, err := i.Prepare(t.Context(), "key", "")
	i.must(err)
	i.must(i.Close())
	if _, err := i.Mounts(t.Context(), "key"); !errdefs.IsUnavailable(err) {
		t.Errorf("got error %v", err)
	}
	i.must(i.Close())
}
