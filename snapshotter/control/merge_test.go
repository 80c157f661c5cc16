// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// reasons writes why the pairs of layers of which the lower one is a delta layer are not merged.
func (w *world) reasons(dryRun bool) (lines []string) {
	w.t.Helper()
	r, err := api.Whole(w.MergeLayers(w.t.Context(), &api.MergeLayersRequest{DryRun: dryRun}))
	w.must(err)
	for _, k := range r.GetKept() {
		for _, r := range k.GetReasons() {
			words := []string{r.GetCode(), fmt.Sprint("n", r.GetNode()), r.GetNamespace(), r.GetKey()}
			words = append(append(words, r.GetImages()...), r.GetContainer(), r.GetStorage(), r.GetDetail())
			if r.GetUpdate() != 0 {
				words = append(words, fmt.Sprint("u", r.GetUpdate()))
			}
			if r.GetCode() != string(dag.BaseLayer) {
				lines = append(lines, strings.Join(strings.Fields(strings.Join(words, " ")), " "))
			}
		}
		if k.GetMore() > 0 {
			lines = append(lines, fmt.Sprintf("and %d more", k.GetMore()))
		}
	}
	return lines
}

// TestMergeReasons: a client is told why layers are not merged in the words of containerd's clients, the same in a
// dry run.
func TestMergeReasons(t *testing.T) {
	w := newWorld(t)
	three := w.layer("default/7/"+chainID("three"), w.two, "version", "3")
	w.update("default/web")
	_, err := w.s.Prepare(t.Context(), "default/8/job", w.two)
	w.must(err)
	_, err = w.s.View(t.Context(), "default/9/look at it", three)
	w.must(err)
	var two, top dag.NodeID
	w.s.State().Graph(func(g *dag.Graph) {
		a, _ := g.Name(w.two)
		b, _ := g.Name(three)
		two, top = a.Node, b.Node
	})
	_, err = w.CreateUpdate(t.Context(), &api.CreateUpdateRequest{
		Namespace: "default", From: two.String(), To: top.String(), Storages: []string{"default/web"},
	})
	w.must(err)
	w.done(2)
	want := []string{
		fmt.Sprintf("named %v default %s", two, chainID("two")),
		fmt.Sprintf("key %v default job job", two),
		fmt.Sprintf("rollback-point %v default/web u2", two),
		fmt.Sprintf("storage %v default job job", two),
		fmt.Sprintf("named %v default %s app:3", top, chainID("three")),
		fmt.Sprintf("key %v default look at it", top),
	}
	for _, dryRun := range []bool{true, false} {
		if got := w.reasons(dryRun); !slices.Equal(got, want) {
			t.Errorf("dry run %v: got\n%s\nwant\n%s", dryRun, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}

	// A pair that very many keep apart has an answer that ends.
	for n := range 30 {
		_, err := w.s.Prepare(t.Context(), fmt.Sprintf("default/%d/many%d", n+10, n), w.two)
		w.must(err)
	}
	if got := w.reasons(true); len(got) != 21 || got[20] != "and 46 more" {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}
