// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
)

// bench is a state directory in which nothing goes on in the background.
type bench struct {
	*State
	merger *Merger
	meter  *Meter
	t      *testing.T
}

func newBench(t *testing.T) bench {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("MOLT_TEST_STRICT") != "" {
			t.Fatal("making nodes needs root")
		}
		t.Skip("making nodes needs root")
	}
	tasks := background.New()
	s, err := Open(filepath.Join(t.TempDir(), "root"), tasks, Options{
		Retention: Retention{Points: 3}, Clock: clock.Read,
		Refused: func(err error) error { return err }, Watched: func() bool { return false },
	})
	if err != nil {
		t.Fatal(err)
	}
	b := bench{State: s, merger: NewMerger(s), meter: NewMeter(s), t: t}
	t.Cleanup(func() {
		tasks.Close()
		b.must(s.Close())
	})
	b.must(s.Recover())
	return b
}

func (b bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// prepare makes an active key.
func (b bench) prepare(key, parent string) {
	b.t.Helper()
	var layers []dag.NodeID
	draft := b.Begin(func(g *dag.Graph) []dag.NodeID {
		p, _ := g.Name(parent)
		layers = g.Chain(p.Node)
		return layers
	})
	open, err := draft.OpenEmpty(layers)
	b.must(err)
	b.must(draft.Commit(dag.Prepare{Key: key, Kind: dag.Active, Parent: parent, Open: open, Now: clock.Now()}))
}

// layer commits a layer with some files.
func (b bench) layer(key, parent string, files ...string) string {
	b.t.Helper()
	b.prepare("extract-"+key, parent)
	own := dag.AnonymousName("extract-" + key)
	for _, file := range files {
		b.write(own, file)
	}
	size, inodes, err := tree.Usage(b.t.Context(), b.open(own))
	b.must(err)
	b.must(b.Do(dag.Commit{
		Key: "extract-" + key, Name: key, Unsynced: b.Boot(), Size: size, Inodes: inodes, Now: clock.Now(),
	}))
	return key
}

// bound prepares a key that has a storage.
func (b bench) bound(key, parent, storage string) {
	b.t.Helper()
	b.prepare(key, parent)
	namespace, _, _ := strings.Cut(key, "/")
	b.must(b.Do(dag.Bind{Key: key, Storage: namespace + "/" + storage, Now: clock.Now()}))
}

// moved moves a storage to a layer, without side effects.
func (b bench) moved(storage, layer string) {
	b.t.Helper()
	id := b.NewUpdate()
	var begin dag.BeginUpdate
	move := dag.Switch{Update: id, Storage: storage, Now: clock.Now()}
	var below []dag.NodeID
	draft := b.Begin(func(g *dag.Graph) []dag.NodeID {
		st, _ := g.Storage(storage)
		to, _ := g.Name(layer)
		begin = dag.BeginUpdate{
			ID: id, From: g.Base(st), To: to.Node, Cause: dag.ByCommand, Storages: []string{storage}, Now: clock.Now(),
		}
		move.Head, below = st.Head, slices.Concat(g.Stack(st.Head), g.Chain(to.Node))
		return below
	})
	var err error
	move.Open, err = draft.OpenEmpty(below)
	b.must(err)
	b.must(draft.Commit(begin, move))
}

// fork copies a storage.
func (b bench) fork(source, target string) error {
	st, _ := b.Storage(source)
	return b.Fork(b.t.Context(), st, target)
}

// remove ends a storage.
func (b bench) remove(storage string) error {
	return b.Do(dag.RemoveStorage{Name: storage, Now: clock.Now()})
}

// drop removes a key.
func (b bench) drop(key string) error { return b.Do(dag.Remove{Key: key, Now: clock.Now()}) }

// open returns the directory of the open node of a storage.
func (b bench) open(storage string) string {
	st, _ := b.Storage(storage)
	return b.nodes.FS(st.Head)
}

func (b bench) write(storage, file string) {
	b.t.Helper()
	b.must(os.WriteFile(filepath.Join(b.open(storage), file), []byte("x"), 0o600))
}

// divide goes on in a new node of a storage, without an update.
func (b bench) divide(storage string) {
	b.t.Helper()
	b.must(b.fork(storage, "test/for-a-moment"))
	b.must(b.remove("test/for-a-moment"))
}

// node returns the node of a layer.
func (b bench) node(key string) (id dag.NodeID) {
	b.Graph(func(g *dag.Graph) {
		n, _ := g.Name(key)
		id = n.Node
	})
	return id
}
