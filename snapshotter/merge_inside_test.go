// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

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

// TestMergeForOtherViews: two nodes are not merged for the bases over which they were seen when the merge began, if they have
// come to be seen over another one since. Here, that one has a file which the upper node deletes.
func TestMergeForOtherViews(t *testing.T) {
	i := newInside(t)
	one := i.layer("one", "")
	two := i.layer("two", one, "x")
	i.bound("test/1/c", one, "web")
	i.write("test/web", "x")
	i.divide("test/web")
	i.must(unix.Mknod(filepath.Join(i.open("test/web"), "x"), unix.S_IFCHR, 0))
	i.divide("test/web")
	m, found := i.nextPair(ofStorages, nil)
	if !found {
		t.Fatal("there is nothing to merge")
	}
	i.bound("test/2/c", two, "web")
	if err := i.mergePair(t.Context(), m); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("got error %v", err)
	}
	m, found = i.nextPair(ofStorages, nil)
	if !found || len(m.views) != 2 {
		t.Fatalf("found %v: %+v", found, m)
	}
	i.must(i.mergePair(t.Context(), m))
}

// TestMergeWaitsForWork: a storage that somebody is at work with is merged another time.
func TestMergeWaitsForWork(t *testing.T) {
	i := newInside(t)
	i.bound("test/1/c", i.layer("one", ""), "web")
	i.divide("test/web")
	i.divide("test/web")
	m, _ := i.nextPair(ofStorages, nil)
	unlock, err := i.lockStorages(t.Context(), []string{"test/web"})
	i.must(err)
	defer unlock()
	if err := i.mergePair(t.Context(), m); !errdefs.IsUnavailable(err) {
		t.Errorf("got error %v", err)
	}
}

// TestMergeGoesOn: nodes that cannot be merged, be it that they are lost, do not keep others from it.
func TestMergeGoesOn(t *testing.T) {
	i := newInside(t)
	one := i.layer("one", "")
	stack := func(storage string) (ids []dag.NodeID) {
		i.Graph(func(g *dag.Graph) {
			st, _ := g.Storage(storage)
			ids = g.Stack(st.Head)
		})
		return ids
	}
	for n, name := range []string{"lost", "known", "sound"} {
		i.bound(fmt.Sprintf("test/%d/c", n), one, name)
		i.write("test/"+name, "x")
		i.divide("test/" + name)
		i.divide("test/" + name)
	}
	i.must(os.RemoveAll(i.nodes.FS(stack("test/lost")[1])))
	i.must(i.do(dag.Quarantine{Node: stack("test/known")[1], Reason: "known to be damaged"}))
	if _, _, err := i.mergeEach(t.Context(), ofStorages); err == nil || strings.Contains(err.Error(), "known") {
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
	i := newInside(t)
	one := i.layer("one", "")
	two := i.layer("two", i.layer("d", one, "d"), "x")
	i.bound("test/1/c", two, "web")
	var from, to dag.NodeID
	i.Graph(func(g *dag.Graph) {
		a, _ := g.Name(one)
		b, _ := g.Name(two)
		from, to = a.Node, b.Node
	})
	i.must(i.do(dag.BeginUpdate{ID: i.store.NewUpdate(), From: from, To: to, Cause: dag.ByCommand, Now: clock.Now()}))
	for _, key := range []string{"test/1/c", two, "d", one} {
		i.must(i.Remove(t.Context(), key))
	}
	if all := i.PlanLayerMerge(); len(all.Merged) != 1 {
		t.Fatalf("%v can be merged", all.Merged)
	}
	i.must(i.do(dag.Quarantine{Node: from, Reason: "lost"}))
	all := i.PlanLayerMerge()
	last := len(all.Kept) - 1
	if len(all.Merged) != 0 || last < 0 || !errdefs.IsFailedPrecondition(all.Kept[last].Err) {
		t.Errorf("%v can be merged, and %+v not", all.Merged, all.Kept)
	}
}
