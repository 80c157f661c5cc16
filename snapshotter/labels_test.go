// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"go.etcd.io/bbolt"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

const (
	ourLabels     = "containerd.io/snapshot/molt."
	labelUpdateOf = ourLabels + "update-of" // which is not computed
)

// labelled writes the labels of a key, those of molt by their last part.
func labelled(labels map[string]string) string {
	var lines []string
	for label, value := range labels {
		lines = append(lines, strings.TrimPrefix(label, ourLabels)+"="+value)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// expectLabels checks what Stat and Walk show of a key, and that nothing of it is stored.
func (f *fixture) expectLabels(key string, want ...string) {
	f.t.Helper()
	i, err := f.Stat(f.t.Context(), key)
	f.must(err)
	slices.Sort(want)
	if got, want := labelled(i.Labels), strings.Join(want, "\n"); got != want {
		f.t.Errorf("%s has the labels\n%s\nnot\n%s", key, got, want)
	}
	f.must(f.Walk(f.t.Context(), func(_ context.Context, w snapshots.Info) error {
		if w.Name == key && !maps.Equal(w.Labels, i.Labels) {
			f.t.Errorf("Walk shows %v of %s, Stat %v", w.Labels, key, i.Labels)
		}
		return nil
	}))
	f.State().Graph(func(g *dag.Graph) {
		n, _ := g.Name(key)
		for label := range n.Labels {
			if strings.HasPrefix(label, ourLabels) && label != labelUpdateOf {
				f.t.Errorf("%s=%s is stored of %s", label, n.Labels[label], key)
			}
		}
	})
}

// nodesOf writes the nodes of a storage, from the open one down.
func (f *fixture) nodesOf(storage string) (text string) {
	f.State().Graph(func(g *dag.Graph) {
		st, _ := g.Storage(storage)
		for _, id := range g.Stack(st.Head) {
			mark := ""
			if n, _ := g.Node(id); n.Kind == dag.Delta {
				mark = "Δ"
			}
			text += " " + mark + id.String()
		}
	})
	return "nodes=" + strings.TrimSpace(text)
}

// TestLabelsOfStorages: the key of a storage shows where that stands, at each step of its life.
func TestLabelsOfStorages(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	base1, base2 := "base="+chainID("one"), "base="+chainID("two")
	web, plain := f.container("web", one, "web"), f.container("plain", one, "")
	f.expectLabels(web)
	f.write(web, "etc/conf", "a = 9\n\nb = 1\n\nc = 1\n")
	f.write(plain, "own", "x")
	f.expectLabels(web, "storage=web", base1, f.nodesOf("test/web"))
	f.expectLabels(plain)

	u := f.update(one, two)
	nodes := f.nodesOf("test/web")
	top := fmt.Sprintf("nodes=%v Δ%v ", f.storage("web").Head, u.Outcomes["test/web"].Delta)
	if strings.Count(nodes, "Δ") != 1 || !strings.HasPrefix(nodes, top) {
		t.Errorf("the nodes are %s", nodes)
	}
	f.expectLabels(web, "storage=web", base2, "asked-base="+chainID("one"), nodes)
	f.reopen()
	f.expectLabels(web, "storage=web", base2, "asked-base="+chainID("one"), nodes)

	f.in(web, func(string) {
		f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: u.ID, Carry: true}))
	})
	f.expectLabels(web, "storage=web", base2, "asked-base="+chainID("one"), nodes, "pending=rollback u1 and carry")
	f.must(f.Remove(t.Context(), two)) // the layer has no name then, and is still known by what it was unpacked as
	f.expectLabels(web, "storage=web", base2, "asked-base="+chainID("one"), nodes, "pending=rollback u1 and carry")
	f.in(web, func(string) {})
	f.expectLabels(web, "storage=web", base1, f.nodesOf("test/web"))

	three := f.layer("three", "", map[string]string{"version": "3"})
	id, err := f.Updates().Begin(t.Context(), updates.Request{
		From: f.node(one), To: f.node(three), Anonymous: true, Storages: []string{"~" + plain},
	})
	f.must(err)
	f.settled(id)
	f.expectLabels(plain, "base="+chainID("three"), "asked-base="+chainID("one"), f.nodesOf("~"+plain))
	f.in(web, func(string) { f.update(one, three) })
	f.expectLabels(web, "storage=web", base1, f.nodesOf("test/web"), "pending=update u3")
}

// TestLabelsOfLayers: a committed key shows whether its layer is a base or a delta layer, and which updates lead to it.
func TestLabelsOfLayers(t *testing.T) {
	f := newFixture(t)
	one, _ := f.bases()
	two := f.layer("rebuilt", "", map[string]string{"version": "2"})
	deltaOne := f.layer("delta one", two, map[string]string{"version": "2.1"})
	deltaTwo := f.layer("delta two", deltaOne, map[string]string{"version": "2.2"})
	f.container("plain", one, "")
	web := f.container("web", one, "web")
	for _, key := range []string{one, two, deltaOne, deltaTwo} {
		f.expectLabels(key)
	}
	f.write(web, "own", "x")
	f.expectLabels(one, "kind=base")
	first := f.update(one, two)
	f.expectLabels(one, "kind=base")
	f.expectLabels(two, "kind=base", "update=u1")
	f.expectLabels(deltaTwo)
	second := f.update(two, deltaTwo)
	f.expectLabels(two, "kind=base", "update=u1")
	f.expectLabels(deltaOne, "kind=delta", "update=u2")
	f.expectLabels(deltaTwo, "kind=delta", "update=u2")
	f.update(deltaOne, deltaTwo) // nothing stands there: for containers to come
	f.expectLabels(deltaTwo, "kind=delta", "update=u3 u2")
	f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: second.ID}))
	f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: first.ID}))
	f.expectLabels(two)
	f.expectLabels(one, "kind=base")
	f.expectLabels(deltaTwo, "kind=delta", "update=u3")
}

// TestLabelsAreNotStored: computed labels that a client gives are dropped, by every call that takes labels; those of
// others stay.
func TestLabelsAreNotStored(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	one, two := f.bases()
	all := map[string]string{labelUpdateOf: "app:1", "mine": "x"}
	for _, label := range []string{
		snapshotter.LabelBase, snapshotter.LabelAskedBase, snapshotter.LabelNodes, snapshotter.LabelPending,
		snapshotter.LabelKind, snapshotter.LabelUpdate,
	} {
		all[label] = "forged"
	}
	given := []string{"update-of=app:1", "mine=x"}
	plain, view, committed := f.key("plain"), f.key("view"), f.key("committed")
	_, err := f.Prepare(ctx, plain, one, snapshots.WithLabels(all))
	f.must(err)
	f.expectLabels(plain, given...)
	all[snapshotter.LabelStorage] = "forged"
	_, err = f.View(ctx, view, one, snapshots.WithLabels(all))
	f.must(err)
	f.expectLabels(view, given...)
	f.must(f.Commit(ctx, committed, plain, snapshots.WithLabels(all)))
	f.expectLabels(committed, given...)

	web := f.container("web", one, "web")
	f.write(web, "own", "x")
	f.update(one, two)
	computed := []string{"storage=web", "base=" + chainID("two"), "asked-base=" + chainID("one"), f.nodesOf("test/web")}
	all["mine"] = "y"
	for what, paths := range map[string][]string{
		"all":    nil,
		"labels": {"labels"},
		"some": {
			"labels.mine", "labels." + labelUpdateOf, "labels." + snapshotter.LabelStorage, "labels." + snapshotter.LabelKind,
		},
		"what was read": nil,
	} {
		change := snapshots.Info{Name: web, Labels: all}
		if what == "what was read" {
			i, err := f.Stat(ctx, web)
			f.must(err)
			i.Labels["mine"], i.Labels[labelUpdateOf] = "y", "app:1"
			change = i
		}
		i, err := f.Update(ctx, change, paths...)
		f.must(err)
		want := append([]string{"update-of=app:1", "mine=y"}, computed...)
		slices.Sort(want)
		if got := labelled(i.Labels); got != strings.Join(want, "\n") {
			t.Errorf("%s: Update returns %s", what, got)
		}
		f.expectLabels(web, want...)
		_, err = f.Update(ctx, snapshots.Info{Name: web}, "labels")
		f.must(err)
		f.expectLabels(web, computed...)
	}
}

// TestLabelsFilter: the filters of Walk match on computed labels, here and through containerd's metadata store, whose
// own record of a key has none of them.
func TestLabelsFilter(t *testing.T) {
	s, done, err := open(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { must(done()) })
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "meta.db"), 0o600, nil)
	must(err)
	t.Cleanup(func() { must(db.Close()) })
	content, err := local.NewStore(t.TempDir())
	must(err)
	store := metadata.NewDB(db, content, map[string]snapshots.Snapshotter{"molt": s})
	ctx := namespaces.WithNamespace(t.Context(), "test")
	must(store.Init(ctx))
	meta := store.Snapshotter("molt")
	for name, parent := range map[string]string{"one": "", "two": ""} {
		_, err := meta.Prepare(ctx, "k-"+name, parent)
		must(err)
		must(meta.Commit(ctx, name, "k-"+name))
	}
	for _, key := range []string{"web", "db", "plain"} {
		var opts []snapshots.Opt
		if key != "plain" {
			opts = append(opts, snapshots.WithLabels(map[string]string{snapshotter.LabelStorage: key}))
		}
		_, err := meta.Prepare(ctx, key, "one", opts...)
		must(err)
	}
	var one, two dag.NodeID
	s.State().Graph(func(g *dag.Graph) {
		a, _ := g.Name("test/2/one")
		for _, n := range g.Names() {
			if strings.HasSuffix(n.Key, "/one") {
				a = n
			} else if strings.HasSuffix(n.Key, "/two") {
				two = n.Node
			}
		}
		one = a.Node
	})
	_, err = s.Updates().Begin(ctx, updates.Request{From: one, To: two, Storages: []string{"test/web"}})
	must(err)
	f := &fixture{Snapshotter: s, t: t}
	f.settled(1)

	for filter, want := range map[string]string{
		`labels."containerd.io/snapshot/molt.storage"==web`:               "web",
		`labels."containerd.io/snapshot/molt.storage"`:                    "db web",
		`labels."containerd.io/snapshot/molt.asked-base"==one`:            "web",
		`labels."containerd.io/snapshot/molt.base"==two`:                  "web",
		`labels."containerd.io/snapshot/molt.kind"==base`:                 "one two",
		`kind==committed,labels."containerd.io/snapshot/molt.update"~=u1`: "two",
		`labels."containerd.io/snapshot/molt.kind"==delta`:                "",
	} {
		for what, walked := range map[string]snapshots.Snapshotter{"molt": s, "containerd's metadata store": meta} {
			var names []string
			must(walked.Walk(ctx, func(_ context.Context, i snapshots.Info) error {
				names = append(names, i.Name[strings.LastIndex(i.Name, "/")+1:])
				return nil
			}, filter))
			slices.Sort(names)
			if got := strings.Join(names, " "); got != want {
				t.Errorf("%s finds %q by %s, not %q", what, got, filter, want)
			}
		}
	}

	// A label of the client, and a commit, change nothing.
	before, err := meta.Stat(ctx, "web")
	must(err)
	i, err := meta.Update(ctx, snapshots.Info{Name: "web", Labels: map[string]string{"mine": "x"}}, "labels.mine")
	must(err)
	before.Labels["mine"] = "x"
	if !maps.Equal(i.Labels, before.Labels) {
		t.Errorf("after a label the key has %v, before it had %v", i.Labels, before.Labels)
	}
	must(meta.Commit(ctx, "layer", "plain"))
	if i, err := meta.Stat(ctx, "layer"); err != nil || len(i.Labels) > 0 {
		t.Errorf("what was committed has the labels %v: %v", i.Labels, err)
	}
}

// TestLabelsFitContainerd: a stack however deep has a label that containerd takes back.
func TestLabelsFitContainerd(t *testing.T) {
	words := slices.Repeat([]string{"Δn123456"}, 1000)
	got := snapshotter.Joined(words, 4000)
	whole := strings.HasPrefix(got, "Δn123456 Δn123456 ") && strings.HasSuffix(got, " Δn123456 …")
	if len(got) > 4000 || len(got) < 3980 || !whole {
		t.Errorf("got %d bytes: %s", len(got), got)
	}
	if got := snapshotter.Joined(words[:2], 4000); got != "Δn123456 Δn123456" {
		t.Errorf("got %q", got)
	}
}
