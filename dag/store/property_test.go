// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// Property: what a store does is what the graph does, also after it was closed and opened again; what is refused leaves no
// trace in the file; a change tells every directory that is not needed any longer.
func TestStoreIsTheGraph(t *testing.T) {
	base := t.TempDir()
	var refused, opened, n int
	done := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		n++
		x := &machine{path: filepath.Join(base, fmt.Sprintf("graph%d.db", n)), g: dag.New(), done: done}
		var err error
		x.s, err = Open(x.path, 0)
		check(t, err)
		defer func() {
			check(t, x.s.Close())
			checkDatabase(t, x.path)
			refused, opened = refused+x.refused, opened+x.opened
		}()
		x.begin(t)
		for range 2 {
			t.Repeat(map[string]func(*rapid.T){"change": x.change, "change more": x.change, "reopen": x.reopen, "": x.check})
		}
	})
	t.Logf("%d changes refused, opened again %d times, carried out %v", refused, opened, done)
	if refused == 0 || opened == 0 || len(done) < transformations {
		t.Errorf("that does not show much: %d of %d transformations were carried out", len(done), transformations)
	}
}

// transformations is how many kinds of transformation are drawn.
const transformations = 16

// machine makes the same changes to a store and to a graph in memory.
type machine struct {
	path            string
	s               *Store
	g               *dag.Graph
	minute          int
	highest         dag.NodeID // of the nodes on record
	refused, opened int
	done            map[string]int // how often each transformation was carried out
}

func (x *machine) now() time.Time {
	x.minute++
	return time.Date(2025, time.August, 21, 12, x.minute, 0, 7, time.UTC)
}

func (x *machine) check(t *rapid.T) {
	if got, want := dump(t, x.s), dumpGraph(t, x.g); got != want {
		t.Fatalf("got\n%s\nwant\n%s", got, want)
	}
}

func (x *machine) reopen(t *rapid.T) {
	x.opened++
	x.s = reopen(t, x.s, x.path, 0)
	if id := x.s.NewNode(); id <= x.highest {
		t.Fatalf("%v is given out again, nodes up to %v were on record", id, x.highest)
	}
}

// begin makes something to work with: two images, and a storage that was updated from the first to the second.
func (x *machine) begin(t *rapid.T) {
	for _, image := range []string{"image1", "image2"} {
		x.do(t, dag.Prepare{Key: "k1", Kind: dag.Active, Open: x.s.NewNode(), Now: x.now()}, dag.Commit{Key: "k1", Name: image, Now: x.now()})
	}
	x.do(t, dag.Prepare{Key: "k1", Kind: dag.Active, Parent: "image1", Open: x.s.NewNode(), Now: x.now()}, dag.Bind{Key: "k1", Storage: "s1"})
	x.do(t, dag.BeginUpdate{ID: 1, From: 1, To: 2, Storages: []string{"s1"}, Now: x.now()})
	x.do(t, dag.Switch{Update: 1, Storage: "s1", Head: 3, Delta: x.s.NewNode(), Open: x.s.NewNode(), Now: x.now()})
}

// change makes one transformation or two at once.
func (x *machine) change(t *rapid.T) {
	ts := []dag.Transformation{x.draw(t)}
	if rapid.IntRange(0, 3).Draw(t, "two") == 3 {
		ts = append(ts, x.draw(t))
	}
	x.do(t, ts...)
}

func (x *machine) do(t *rapid.T, ts ...dag.Transformation) {
	before := file(t, x.path)
	want, wantErr := x.g.Plan(ts...)
	got, err := x.s.Do(ts...)
	if fmt.Sprint(err) != fmt.Sprint(wantErr) || fmt.Sprint(got.Unreachable()) != fmt.Sprint(want.Unreachable()) {
		t.Fatalf("%+v: got error %v and unreachable %v, want %v and %v", ts, err, got.Unreachable(), wantErr, want.Unreachable())
	}
	if err != nil {
		x.refused++
		if file(t, x.path) != before {
			t.Fatalf("%+v was refused and written", ts)
		}
		return
	}
	for _, done := range ts {
		x.done[fmt.Sprintf("%T", done)]++
	}
	x.g.Apply(want)
	for id := range want.Nodes {
		x.highest = max(x.highest, id)
	}
}

// draw draws a transformation, which need not be possible.
func (x *machine) draw(t *rapid.T) dag.Transformation {
	labels := rapid.MapOfN(rapid.StringN(1, 3, -1), rapid.StringN(0, 3, -1), 0, 2).Draw(t, "labels")
	key := rapid.SampledFrom([]string{"k1", "k2", "k3"}).Draw(t, "key")
	image := rapid.SampledFrom([]string{"image1", "image2", "image 3/\x00<&>"}).Draw(t, "image")
	layer, _ := x.g.Name(image)
	s := x.storage(t)
	return rapid.SampledFrom(append([]dag.Transformation{
		dag.Prepare{Key: key, Kind: dag.Active, Open: x.s.NewNode(), Labels: labels, Now: x.now()},
		dag.Prepare{Key: key, Kind: dag.Active, Parent: image, Open: x.s.NewNode(), Now: x.now()},
		dag.Prepare{Key: key, Kind: dag.View, Parent: image, Now: x.now()},
		dag.Commit{Key: key, Name: image, Origin: "sha256:1", Unsynced: "boot", Size: 1 << 40, Inodes: 3, Now: x.now()},
		dag.Remove{Key: key, Now: x.now()},
		dag.Remove{Key: image, Now: x.now()},
		dag.Relabel{Key: key, Labels: labels, Now: x.now()},
		dag.Identify{Key: key},
		dag.Bind{Key: key, Storage: "s1", Holder: s.Key, Now: x.now()},
		dag.RemoveStorage{Name: s.Name, Now: x.now()},
		dag.Fork{Source: s.Name, Target: "s2", Head: s.Head, SourceOpen: x.s.NewNode(), TargetOpen: x.s.NewNode(), Now: x.now()},
		dag.Retire{Storage: s.Name},
		dag.Quarantine{Node: s.Head, Reason: "lost"},
		dag.Settle{Layers: []dag.NodeID{layer.Node}},
	}, x.updates(s, layer.Node)...)).Draw(t, "transformation")
}

// storage draws one of the storages there are.
func (x *machine) storage(t *rapid.T) dag.Storage {
	return rapid.SampledFrom(append(x.g.Storages(), dag.Storage{Name: "none"})).Draw(t, "storage")
}

// updates are transformations around the latest update and a storage in it, or the next one, of a storage to a layer.
func (x *machine) updates(s dag.Storage, to dag.NodeID) []dag.Transformation {
	id := dag.UpdateID(len(x.g.Updates()))
	u, _ := x.g.Update(id)
	next := dag.BeginUpdate{ID: id + 1, From: x.g.Base(s), To: to, Storages: []string{s.Name}, Cause: "test", Now: x.now()}
	for name := range u.Outcomes {
		s, _ = x.g.Storage(name)
	}
	back := dag.Rollback{Update: id, Storage: s.Name, Head: s.Head, Open: x.s.NewNode(), Now: x.now()}
	carried := back
	carried.Carried = x.s.NewNode()
	return []dag.Transformation{
		next, next, back, carried,
		dag.Record{Update: id, Storage: s.Name, State: dag.Planned, Reasons: []string{"in use"}, Now: x.now()},
		dag.Switch{Update: id, Storage: s.Name, Head: s.Head, Open: x.s.NewNode(), Now: x.now()},
		dag.Switch{Update: id, Storage: s.Name, Head: s.Head, Delta: x.s.NewNode(), Open: x.s.NewNode(), Report: "r", Now: x.now()},
		dag.AwaitRollback{Update: id, Storage: s.Name, Carry: true, Reason: "in use", Now: x.now()},
	}
}
