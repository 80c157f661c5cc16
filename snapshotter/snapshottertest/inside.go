// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package snapshottertest has what tests of the snapshotter and of its parts begin with.
package snapshottertest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
)

// Inside is a snapshotter that is looked at from within, in which nothing is merged but by the test.
type Inside struct {
	*snapshotter.Snapshotter
	t *testing.T
}

// New returns a snapshotter in a directory of the test. Without root the test is skipped.
func New(t *testing.T, opts ...snapshotter.Opt) Inside {
	t.Helper()
	NeedsRoot(t)
	s, err := snapshotter.New(filepath.Join(t.TempDir(), "root"),
		append([]snapshotter.Opt{snapshotter.WithGrace(0)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	i := Inside{s, t}
	t.Cleanup(func() { i.Must(s.Close()) })
	resume, err := s.Merger().Pause(t.Context())
	i.Must(err)
	t.Cleanup(resume)
	return i
}

// NeedsRoot skips a test without root, and fails it where none may be skipped.
func NeedsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("MOLT_TEST_STRICT") != "" {
			t.Fatal("mounting overlays needs root")
		}
		t.Skip("mounting overlays needs root")
	}
}

// Must fails the test for an error.
func (i Inside) Must(err error) {
	i.t.Helper()
	if err != nil {
		i.t.Fatal(err)
	}
}

// Layer commits a layer with some files.
func (i Inside) Layer(key, parent string, files ...string) string {
	i.t.Helper()
	_, err := i.Prepare(i.t.Context(), "extract-"+key, parent)
	i.Must(err)
	for _, file := range files {
		i.Write(dag.AnonymousName("extract-"+key), file)
	}
	i.Must(i.Commit(i.t.Context(), key, "extract-"+key))
	return key
}

// Bound prepares a key that has a storage.
func (i Inside) Bound(key, parent, storage string) {
	i.t.Helper()
	labels := map[string]string{snapshotter.LabelStorage: storage}
	_, err := i.Prepare(i.t.Context(), key, parent, snapshots.WithLabels(labels))
	i.Must(err)
}

// Open returns the directory of the open node of a storage.
func (i Inside) Open(storage string) string {
	st, _ := i.State().Storage(storage)
	return i.State().Nodes().FS(st.Head)
}

// Write writes a file into a storage.
func (i Inside) Write(storage, file string) {
	i.t.Helper()
	i.Must(os.WriteFile(filepath.Join(i.Open(storage), file), []byte("x"), 0o600))
}

// Divide goes on in a new node of a storage, without an update.
func (i Inside) Divide(storage string) {
	i.t.Helper()
	i.Must(i.Storages().Fork(i.t.Context(), storage, "test/for-a-moment"))
	i.Must(i.Storages().Remove(i.t.Context(), "test/for-a-moment"))
}

// Recorded returns the record of an update.
func (i Inside) Recorded(id dag.UpdateID) (u dag.Update) {
	i.State().Graph(func(g *dag.Graph) { u, _ = g.Update(id) })
	return u
}

// Until waits for something that comes to pass in the background.
func (i Inside) Until(is func() bool) {
	i.t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			i.t.Fatal("it does not come to that")
		}
	}
}
