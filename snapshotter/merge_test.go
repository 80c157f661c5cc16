// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// whyNot writes what keeps the pairs of delta layers from being merged, by the kinds of the reasons.
func whyNot(all state.LayerMerge) (lines []string) {
	for _, p := range all.Kept {
		var why []string
		for _, o := range p.Obstacles {
			why = append(why, string(o.Kind))
		}
		if p.Err != nil {
			why = append(why, "put off")
		}
		if !slices.Equal(why, []string{"base-layer"}) {
			lines = append(lines, fmt.Sprintf("%v %s", p.Lower, strings.Join(why, ",")))
		}
	}
	return lines
}

// TestLayersMergeByThemselves: as long as containerd has names for delta layers, or a rollback needs them, they stay,
// and each is said why; without names those that nothing needs are merged in the background, and what is seen and can
// be returned to stays.
func TestLayersMergeByThemselves(t *testing.T) {
	f := newFixture(t, snapshotter.WithRetention(state.Retention{Points: 1}))
	base, _ := f.bases()
	keys := []string{base}
	web := f.container("web", base, "web")
	f.write(web, "own", "mine")
	for n := 1; n <= 4; n++ {
		files := map[string]string{"version": fmt.Sprint("d", n), fmt.Sprint("f", n): "x"}
		keys = append(keys, f.layer(fmt.Sprint("d", n), keys[n-1], files))
		f.update(keys[n-1], keys[n])
	}
	f.eventually(func() bool { return len(f.storage("web").Points) == 1 }, "retention keeps one point")
	id := func(n int) string { return f.node(keys[n]).String() }
	want := []string{id(1) + " named,named", id(2) + " named,named", id(3) + " named,rollback-point,named"}
	all, err := f.Merger().Layers(t.Context())
	f.must(err)
	if got := whyNot(all); !slices.Equal(got, want) || len(all.Merged) > 0 {
		t.Errorf("merged %v, kept %q, not %q", all.Merged, got, want)
	}
	third := f.node(keys[3])
	for n := 4; n >= 1; n-- {
		f.must(f.Remove(t.Context(), keys[n]))
	}
	var lower []string
	f.eventually(func() bool {
		plan := f.Merger().PlanLayers()
		lower = whyNot(plan)
		return len(plan.Merged) == 0 && len(lower) == 1
	}, "what no rollback needs is merged")
	if !strings.HasSuffix(lower[0], " rollback-point") || strings.HasPrefix(lower[0], third.String()+" ") {
		t.Errorf("what is left is %q", lower)
	}
	f.expect(web, "version", "d4")
	f.expect(web, "f1", "x")
	f.expect(web, "own", "mine")
	f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: 4}))
	f.expect(web, "version", "d3")
	f.expect(web, "f1", "x")
	f.expect(web, "f4", "")
	f.expect(web, "own", "mine")
}

// TestMergeSaysWhatIsPutOff: two layers that nothing needs are not merged while somebody has mounted one of them to
// be written, and it is said so.
func TestMergeSaysWhatIsPutOff(t *testing.T) {
	f := newFixture(t, snapshotter.WithRetention(state.Retention{Points: 0}))
	base, one := f.bases()
	two := f.layer("three", one, map[string]string{"version": "3"})
	web := f.container("web", base, "web")
	f.write(web, "own", "mine")
	f.update(base, two)
	target := t.TempDir()
	fs := filepath.Join(f.dir(f.node(one)), "fs")
	work := filepath.Join(filepath.Dir(fs), "by-hand")
	f.must(os.Mkdir(work, 0o700))
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", t.TempDir(), fs, work)
	f.must(unix.Mount("overlay", target, "overlay", 0, options))
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
	f.must(f.Remove(t.Context(), two))
	f.must(f.Remove(t.Context(), one))
	all, err := f.Merger().Layers(t.Context())
	f.must(err)
	var says []string
	for _, p := range all.Kept {
		if p.Err != nil {
			says = append(says, p.Err.Error())
		}
	}
	if len(all.Merged) > 0 || len(says) != 1 || !strings.Contains(says[0], "is mounted to be written") {
		t.Errorf("merged %v, and said %q", all.Merged, says)
	}
	f.must(unix.Unmount(target, 0))
	f.eventually(func() bool {
		all, err := f.Merger().Layers(t.Context())
		f.must(err)
		return len(whyNot(all)) == 0
	}, "the layers are merged")
	f.expect(web, "version", "3")
}

// chainOf commits layers one on another, the lowest on parent, and returns their keys. Layer n has the file fn.
func (f *fixture) chainOf(name, parent string, layers int) (keys []string) {
	f.t.Helper()
	for n := 1; n <= layers; n++ {
		file := fmt.Sprint("f", n)
		if n%50 == 0 {
			file = "version"
		}
		parent = f.layer(fmt.Sprint(name, n), parent, map[string]string{file: fmt.Sprint(name, n)})
		keys = append(keys, parent)
	}
	return keys
}

// depth returns how many layers and how many storage nodes a storage is made of.
func (f *fixture) depth(storage string) (layers, nodes int) {
	f.State().Graph(func(g *dag.Graph) {
		st, _ := g.Storage("test/" + storage)
		layers, nodes = len(g.Chain(g.Base(st))), len(g.Stack(st.Head))
	})
	return layers, nodes
}

// TestManyLiteralDeltaLayers: a storage on 300 layers that were committed one on another can be mounted, and without
// their names these layers become one.
func TestManyLiteralDeltaLayers(t *testing.T) {
	t.Parallel()
	f := newFixture(t, snapshotter.WithRetention(state.Retention{Points: 0}))
	base, _ := f.bases()
	const layers = 300
	keys := f.chainOf("d", base, layers)
	web := f.container("web", base, "web")
	f.write(web, "own", "mine")
	f.update(base, keys[layers-1])
	if got, _ := f.depth("web"); got != layers+1 {
		t.Fatalf("the storage stands on %d layers", got)
	}
	shown := func() {
		f.expect(web, "version", "d300")
		f.expect(web, "f1", "d1")
		f.expect(web, "f299", "d299")
		f.expect(web, "own", "mine")
	}
	shown()
	for _, key := range slices.Backward(keys) {
		f.must(f.Remove(t.Context(), key))
	}
	f.eventually(func() bool { got, _ := f.depth("web"); return got == 2 }, "the layers are merged")
	shown()
}

// TestDeepestImage: a storage of 12 nodes on an image of 128 layers can be mounted.
func TestDeepestImage(t *testing.T) {
	t.Parallel()
	f := newFixture(t, snapshotter.WithRetention(state.Retention{Points: 12}))
	base := f.layer("0", "", map[string]string{"version": "0"})
	deep := f.chainOf("deep", "", 128)
	top := deep[len(deep)-1]
	web := f.container("web", base, "web")
	for n := range 11 {
		f.write(web, fmt.Sprint("own", n), "mine")
		from, to := base, top
		if n%2 == 1 {
			from, to = top, base
		}
		f.update(from, to)
	}
	layers, nodes := f.depth("web")
	if layers != 128 || nodes < 12 {
		t.Fatalf("the storage has %d nodes on %d layers", nodes, layers)
	}
	f.expect(web, "version", "deep100")
	f.expect(web, "f1", "deep1")
	f.expect(web, "own10", "mine")
	f.write(web, "own", "x")
	f.expect(web, "own", "x")
}
