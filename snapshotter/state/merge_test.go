// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
)

func ofStorages(n dag.Node) bool { return n.Kind != dag.Layer }

// TestMergeForOtherViews: two nodes are not merged for the bases over which they were seen when the merge began, if
// they have come to be seen over another one since. Here, that one has a file which the upper node deletes.
func TestMergeForOtherViews(t *testing.T) {
	b := newBench(t)
	one := b.layer("one", "")
	two := b.layer("two", one, "x")
	b.bound("test/1/c", one, "web")
	b.write("test/web", "x")
	b.divide("test/web")
	b.must(unix.Mknod(filepath.Join(b.open("test/web"), "x"), unix.S_IFCHR, 0))
	b.divide("test/web")
	m, found := b.merger.nextPair(ofStorages, nil)
	if !found {
		t.Fatal("there is nothing to merge")
	}
	b.moved("test/web", two)
	if err := b.merger.mergePair(t.Context(), m); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("got error %v", err)
	}
	m, found = b.merger.nextPair(ofStorages, nil)
	if !found || len(m.views) != 2 {
		t.Fatalf("found %v: %+v", found, m)
	}
	b.must(b.merger.mergePair(t.Context(), m))
}

// TestMergeWaitsForWork: a storage that somebody is at work with is merged another time.
func TestMergeWaitsForWork(t *testing.T) {
	b := newBench(t)
	b.bound("test/1/c", b.layer("one", ""), "web")
	b.divide("test/web")
	b.divide("test/web")
	m, _ := b.merger.nextPair(ofStorages, nil)
	unlock, err := b.LockStorages(t.Context(), []string{"test/web"})
	b.must(err)
	defer unlock()
	if err := b.merger.mergePair(t.Context(), m); !errdefs.IsUnavailable(err) {
		t.Errorf("got error %v", err)
	}
}

// TestMergeGoesOn: nodes that cannot be merged, be it that they are lost, do not keep others from it.
func TestMergeGoesOn(t *testing.T) {
	b := newBench(t)
	one := b.layer("one", "")
	stack := func(storage string) (ids []dag.NodeID) {
		b.Graph(func(g *dag.Graph) {
			st, _ := g.Storage(storage)
			ids = g.Stack(st.Head)
		})
		return ids
	}
	for n, name := range []string{"lost", "known", "sound"} {
		b.bound(fmt.Sprintf("test/%d/c", n), one, name)
		b.write("test/"+name, "x")
		b.divide("test/" + name)
		b.divide("test/" + name)
	}
	b.must(os.RemoveAll(b.nodes.FS(stack("test/lost")[1])))
	b.must(b.Do(dag.Quarantine{Node: stack("test/known")[1], Reason: "known to be damaged"}))
	if _, _, err := b.merger.mergeEach(t.Context(), ofStorages); err == nil || strings.Contains(err.Error(), "known") {
		t.Errorf("got error %v", err)
	}
	for name, want := range map[string]int{"lost": 3, "known": 3, "sound": 2} {
		if got := len(stack("test/" + name)); got != want {
			t.Errorf("storage %s has %d nodes, not %d", name, got, want)
		}
	}
}

// TestMergePlanKnowsDamage: layers over a damaged one cannot be read as a whole and are not promised to be merged.
func TestMergePlanKnowsDamage(t *testing.T) {
	b := newBench(t)
	one := b.layer("one", "")
	two := b.layer("two", b.layer("d", one, "d"), "x")
	b.bound("test/1/c", two, "web")
	var from, to dag.NodeID
	b.Graph(func(g *dag.Graph) {
		a, _ := g.Name(one)
		b, _ := g.Name(two)
		from, to = a.Node, b.Node
	})
	b.must(b.Do(dag.BeginUpdate{ID: b.NewUpdate(), From: from, To: to, Cause: dag.ByCommand, Now: clock.Now()}))
	for _, key := range []string{"test/1/c", two, "d", one} {
		b.must(b.drop(key))
	}
	if all := b.merger.PlanLayers(); len(all.Merged) != 1 {
		t.Fatalf("%v can be merged", all.Merged)
	}
	b.must(b.Do(dag.Quarantine{Node: from, Reason: "lost"}))
	all := b.merger.PlanLayers()
	last := len(all.Kept) - 1
	if len(all.Merged) != 0 || last < 0 || !errdefs.IsFailedPrecondition(all.Kept[last].Err) {
		t.Errorf("%v can be merged, and %+v not", all.Merged, all.Kept)
	}
}
