// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// obstacles writes what keeps each pair of layers of which the lower one is a delta layer from being merged.
func (w *world) obstacles() string {
	var lines []string
	for _, p := range dag.LayerPairs(w.g) {
		var why []string
		for _, o := range p.Obstacles {
			text := fmt.Sprintf("%s %s", o.Kind, w.label(o.Node))
			if o.Key+o.Storage != "" {
				text += " " + o.Key + o.Storage
			}
			if o.Update != 0 {
				text += " " + o.Update.String()
			}
			why = append(why, text)
		}
		if n, _ := w.g.Node(p.Lower); n.Added || len(why) != 1 || why[0] != "base-layer "+w.label(p.Lower) {
			line := w.label(p.Lower) + "+" + w.label(p.Upper) + ": " + strings.Join(why, ", ")
			lines = append(lines, strings.TrimSpace(line)+"\n")
		}
	}
	return strings.Join(lines, "")
}

// TestObstacles: every reason why two layers are not merged is named, in Fig. 5 and for each kind of reference to a
// layer.
func TestObstacles(t *testing.T) {
	retired := func(t *testing.T) *world { return figure5(t, true) }
	named := func(t *testing.T) *world {
		w := figure3B(t)
		w.layer("delta2", "delta")
		w.begin(2, "delta", "delta2")
		return w
	}
	for name, c := range map[string]struct {
		given func(t *testing.T) *world
		do    func(w *world)
		want  string
	}{
		"Fig. 5": {given: retired, want: `
			541+542:
			542+543: storage 542 c1
			543+544:
		`},
		"names, of the image and of what was made on it": {given: named, do: func(w *world) {
			w.container("job", "delta", "j")
			w.do(dag.Prepare{Key: "look", Kind: dag.View, Parent: "delta2"})
		}, want: `
			delta+delta2: named delta delta, key delta k-job, storage delta c1, storage delta c2, storage delta job, named delta2 delta2, key delta2 look
		`},
		"rollback points, states set aside, another layer, an update under way": {given: named, do: func(w *world) {
			w.apply(2, "c1", "", "y1")
			w.rollback(1, "c2", "y2")
			w.layer("delta3", "delta")
			w.remove("delta2")
			w.layer("rebuilt", "")
			w.begin(3, "delta", "rebuilt", "c2")
		}, want: `
			delta+delta2: named delta delta, rollback-point delta c1 u2, set-aside delta c2 u1, update delta u3, layer delta3
			delta+delta3: named delta delta, rollback-point delta c1 u2, set-aside delta c2 u1, update delta u3, named delta3 delta3, layer delta2
		`},
		"damage": {given: retired, do: func(w *world) {
			w.do(dag.Quarantine{Node: w.id("541"), Reason: "lost"}, dag.Quarantine{Node: w.id("544"), Reason: "lost"})
		}, want: `
			541+542: damaged 541
			542+543: storage 542 c1
			543+544: damaged 544
		`},
		"a key that lost its storage": {given: named, do: func(w *world) {
			w.do(dag.Release{Storage: "c2"})
			w.rollback(1, "c2", "y2")
			w.retire("c2")
		}, want: `
			delta+delta2: named delta delta, key delta k-c2, storage delta c1, named delta2 delta2
		`},
	} {
		t.Run(name, func(t *testing.T) {
			w := c.given(t)
			if c.do != nil {
				c.do(w)
			}
			same(t, w.obstacles(), c.want)
		})
	}
}

// TestMergeableInOrder: pairs of a long chain come the lowest first.
func TestMergeableInOrder(t *testing.T) {
	w := newWorld(t)
	const layers = 20
	name := func(n int) string { return fmt.Sprint("l", n) }
	w.layer(name(0), "")
	for n := 1; n <= layers; n++ {
		w.layer(name(n), name(n-1))
	}
	w.container("c", name(0), "w")
	w.begin(1, name(0), name(layers), "c")
	w.apply(1, "c", "", "x")
	for n := layers; n > 0; n-- {
		w.remove(name(n))
	}
	w.retire("c")
	pairs := w.g.Mergeable()
	if len(pairs) != layers-1 || pairs[0].Lower != w.id(name(1)) || pairs[layers-2].Upper != w.id(name(layers)) {
		t.Errorf("there are %d pairs: %v", len(pairs), pairs)
	}
}
