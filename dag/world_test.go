// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// failer is what *testing.T and *rapid.T have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// world is a graph whose nodes are called by labels, so that it can be built and drawn in words. The words:
//
//	layer("b", "a")             layer b on layer a, committed under its label as name
//	container("c", "a", "w")    storage c with the open node w on layer a, held by the key "k-c"
//	begin(1, "a", "b", "c")     update 1 from layer a to layer b for storage c
//	apply(1, "c", "d", "x")     update 1 switches c: delta storage d (none for ""), open node x
//	rollback(1, "c", "x")       update 1 is undone for c: open node x
//	retire("c")                 c forgets all its kept states
//	merge("a", "b", "ab")       nodes a and b become ab
type world struct {
	failer
	g      *dag.Graph
	ids    map[string]dag.NodeID
	labels map[dag.NodeID]string
	clock  time.Time
}

func newWorld(t failer) *world {
	return &world{
		failer: t, g: dag.New(), ids: map[string]dag.NodeID{"": 0}, labels: map[dag.NodeID]string{},
		clock: time.Date(2025, time.August, 21, 12, 0, 0, 0, time.UTC),
	}
}

// id returns the id of the node with a label, which is given one at the first time.
func (w *world) id(label string) dag.NodeID {
	if _, ok := w.ids[label]; !ok {
		id := dag.NodeID(len(w.ids))
		w.ids[label], w.labels[id] = id, label
	}
	return w.ids[label]
}

// now is a minute later each time.
func (w *world) now() time.Time {
	w.clock = w.clock.Add(time.Minute)
	return w.clock
}

// head returns the open node of a storage.
func (w *world) head(storage string) dag.NodeID {
	s, _ := w.g.Storage(storage)
	return s.Head
}

// do carries out transformations that must be possible and must leave a sound graph.
func (w *world) do(ts ...dag.Transformation) dag.Change {
	w.Helper()
	c, err := w.g.Plan(ts...)
	if err != nil {
		w.Fatalf("plan %+v: %v", ts, err)
	}
	w.g.Apply(c)
	if err := w.g.Check(); err != nil {
		w.Fatalf("after %+v: %v\n%s", ts, err, w.drawing())
	}
	return c
}

// refuse makes sure that transformations are refused with an error of a kind that says something.
func (w *world) refuse(kind error, says string, ts ...dag.Transformation) {
	w.Helper()
	_, err := w.g.Plan(ts...)
	if !errors.Is(err, kind) || !strings.Contains(fmt.Sprint(err), says) {
		w.Fatalf("plan %+v: got error %v, want one that is %q and says %q", ts, err, kind, says)
	}
}

func (w *world) layer(label, on string) {
	w.Helper()
	w.do(dag.Prepare{Key: "extract-" + label, Kind: dag.Active, Parent: on, Open: w.id(label), Now: w.now()})
	w.do(dag.Commit{Key: "extract-" + label, Name: label, Now: w.now()})
}

func (w *world) container(storage, on, open string) {
	w.Helper()
	w.anonymous("k-"+storage, on, open)
	w.do(dag.Bind{Key: "k-" + storage, Storage: storage, Now: w.now()})
}

// anonymous makes a container whose storage has no name of its own.
func (w *world) anonymous(key, on, open string) {
	w.Helper()
	w.do(dag.Prepare{Key: key, Kind: dag.Active, Parent: on, Open: w.id(open), Now: w.now()})
}

func (w *world) begin(update dag.UpdateID, from, to string, storages ...string) {
	w.Helper()
	w.do(dag.BeginUpdate{ID: update, From: w.id(from), To: w.id(to), Cause: "test", Storages: storages, Now: w.now()})
}

func (w *world) switched(update dag.UpdateID, storage, delta, open string) dag.Switch {
	return dag.Switch{
		Update: update, Storage: storage, Head: w.head(storage), Delta: w.id(delta), Open: w.id(open),
		Report: "report", Now: w.now(),
	}
}

func (w *world) apply(update dag.UpdateID, storage, delta, open string) {
	w.Helper()
	w.do(w.switched(update, storage, delta, open))
}

func (w *world) rolledBack(update dag.UpdateID, storage, open string) dag.Rollback {
	return dag.Rollback{Update: update, Storage: storage, Head: w.head(storage), Open: w.id(open), Now: w.now()}
}

func (w *world) rollback(update dag.UpdateID, storage, open string) {
	w.Helper()
	w.do(w.rolledBack(update, storage, open))
}

func (w *world) record(update dag.UpdateID, storage string, state dag.State) {
	w.Helper()
	w.do(dag.Record{Update: update, Storage: storage, State: state, Reasons: []string{"reason"}, Now: w.now()})
}

func (w *world) retire(storages ...string) {
	w.Helper()
	for _, name := range storages {
		w.do(dag.Retire{Storage: name, Before: w.now()})
	}
}

func (w *world) merged(lower, upper, into string) dag.Merge {
	return dag.Merge{Pair: dag.Pair{Lower: w.id(lower), Upper: w.id(upper)}, Into: w.id(into), Size: 3, Inodes: 2, Now: w.now()}
}

func (w *world) merge(lower, upper, into string) {
	w.Helper()
	w.do(w.merged(lower, upper, into))
}

func (w *world) remove(keys ...string) {
	w.Helper()
	for _, key := range keys {
		w.do(dag.Remove{Key: key, Now: w.now()})
	}
}

// mergeable writes the pairs that can be merged as "lower+upper".
func (w *world) mergeable() string {
	var pairs []string
	for _, p := range w.g.Mergeable() {
		pairs = append(pairs, w.label(p.Lower)+"+"+w.label(p.Upper))
	}
	return strings.Join(pairs, " ")
}

// gone writes the labels of the nodes that a change deletes.
func (w *world) gone(c dag.Change) string {
	var labels []string
	for _, id := range c.Unreachable() {
		labels = append(labels, w.label(id))
	}
	slices.Sort(labels)
	return strings.Join(labels, " ")
}

// dump writes a graph with all it says, a record on each line.
func dump(t failer, g *dag.Graph) string {
	t.Helper()
	var b strings.Builder
	dumpTo(t, &b, g.Nodes())
	dumpTo(t, &b, g.Names())
	dumpTo(t, &b, g.Storages())
	dumpTo(t, &b, g.Updates())
	return b.String()
}

func dumpTo[V any](t failer, b *strings.Builder, records []V) {
	t.Helper()
	for _, r := range records {
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatalf("dump: %v", err)
		}
		fmt.Fprintf(b, "%s\n", data)
	}
}

// step is a row of a table: what a transformation makes of a world, or why it is refused.
type step struct {
	name  string
	given func(w *world)
	do    func(w *world) dag.Transformation
	want  string // drawn
	kind  error  // of the refusal, nil when it is not refused
	says  string
}

// run tries each step, drawing the worlds that come of it. A step never changes the graph while it is planned, and a
// refused one not at all.
func run(t *testing.T, steps []step, drawings ...func(w *world) string) {
	t.Helper()
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			w := newWorld(t)
			s.given(w)
			do := s.do(w)
			before := dump(t, w.g)
			if s.kind != nil {
				w.refuse(s.kind, s.says, do)
			} else if _, err := w.g.Plan(do); err != nil {
				t.Fatalf("plan %+v: %v", do, err)
			}
			if after := dump(t, w.g); after != before {
				t.Fatalf("planning changed the graph from\n%s\nto\n%s", before, after)
			}
			if s.kind != nil {
				return
			}
			w.do(do)
			var got strings.Builder
			for _, draw := range drawings {
				got.WriteString(draw(w))
			}
			same(t, got.String(), s.want)
		})
	}
}

// same compares a drawing to one in a test, whose indentation does not count.
func same(t failer, got, want string) {
	t.Helper()
	if want = dedent(want); got != want {
		t.Fatalf("got:\n%s\nwant:\n%s", got, want)
	}
}

// dedent removes the first line if it is empty, the indentation of the first line from every line, and what is behind the
// last line.
func dedent(text string) string {
	text = strings.TrimRight(strings.TrimPrefix(text, "\n"), "\t\n ")
	if text == "" {
		return ""
	}
	indent := text[:len(text)-len(strings.TrimLeft(text, "\t"))]
	var b strings.Builder
	for line := range strings.SplitSeq(text, "\n") {
		b.WriteString(strings.TrimPrefix(line, indent) + "\n")
	}
	return b.String()
}
