// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"pgregory.net/rapid"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// Property: whatever is done, containers see what the model says they see, what can be seen is there, nothing else is, and
// what the model refuses is refused. Planning does not change the graph, and planning two things together is planning one
// after the other.
func TestGraphIsWhatTheModelSays(t *testing.T) {
	tried := map[string][2]int{}
	rapid.Check(t, func(t *rapid.T) {
		x := &machine{g: dag.New(), m: newModel(), tried: tried}
		actions := x.actions()
		actions[""] = x.check
		for range 4 {
			t.Repeat(actions)
		}
	})
	for _, op := range slices.Sorted(maps.Keys(tried)) {
		t.Logf("%-20s carried out %6d times, refused %6d times", op, tried[op][1], tried[op][0])
		if tried[op][1] == 0 || tried[op][0] == 0 && op != "dag.Settle" {
			t.Errorf("%s was never tried in both ways", op)
		}
	}
}

// machine drives a graph and a model by the same random transformations.
type machine struct {
	g       *dag.Graph
	m       *model
	ids     dag.NodeID
	update  dag.UpdateID
	writes  int
	minute  int
	changed func(dag.Transformation, dag.Change)
	tried   map[string][2]int // how often each transformation was refused and carried out

	says   string             // what the graph says
	before *dag.Graph         // the graph before the last transformation
	last   dag.Transformation // that was carried out
}

var epoch = time.Date(2025, time.August, 21, 12, 0, 0, 0, time.UTC)

func minutes(n int) time.Duration { return time.Duration(n) * time.Minute }

func (x *machine) now() time.Time { return epoch.Add(minutes(x.minute)) }

func (x *machine) node() dag.NodeID {
	x.ids++
	return x.ids
}

// try plans and carries out a transformation and compares what the graph says to it to what the model says.
func (x *machine) try(t *rapid.T, do dag.Transformation, possible bool) {
	op := strings.TrimPrefix(fmt.Sprintf("%T", do), "*")
	x.m.mark()
	c, err := x.g.Plan(do)
	equal(t, dump(t, x.g), x.says, "the graph after planning %s %+v", op, do)
	if (err == nil) != possible {
		t.Fatalf("%s %+v: possible is %v, but got error %v", op, do, possible, err)
	}
	both := x.together(t, do, err)
	count := x.tried[op]
	if err != nil {
		count[0]++
		x.tried[op] = count
		if !refusal(err) {
			t.Fatalf("%s %+v: error %v is of no kind", op, do, err)
		}
		return
	}
	count[1]++
	x.tried[op] = count
	x.before, x.last = clone(x.g), do
	x.g.Apply(c)
	if x.changed != nil {
		x.changed(do, c)
	}
	x.says = dump(t, x.g)
	if both != nil {
		equal(t, dump(t, both), x.says, "the graph after the last two transformations were made together, %s %+v the later", op, do)
	}
}

// together plans a transformation together with the one before it, which must come to the same as planning it after that
// was carried out. It returns the graph that they make.
func (x *machine) together(t *rapid.T, do dag.Transformation, err error) *dag.Graph {
	if x.last == nil {
		return nil
	}
	c, bothErr := x.before.Plan(x.last, do)
	if fmt.Sprint(bothErr) != fmt.Sprint(err) {
		t.Fatalf("%+v: after %+v was carried out got error %v, together with it %v", do, x.last, err, bothErr)
	}
	if err == nil {
		x.before.Apply(c)
	}
	return x.before
}

func clone(g *dag.Graph) *dag.Graph {
	c := dag.New()
	c.Load(g.Nodes(), g.Names(), g.Storages(), g.Updates())
	return c
}

// refusal reports whether an error is of one of the kinds that transformations are refused with.
func refusal(err error) bool {
	return slices.ContainsFunc([]error{
		errdefs.ErrNotFound, errdefs.ErrAlreadyExists, errdefs.ErrInvalidArgument, errdefs.ErrFailedPrecondition, errdefs.ErrAborted,
	}, func(kind error) bool { return errors.Is(err, kind) })
}

// check compares all that can be seen.
func (x *machine) check(t *rapid.T) {
	if err := x.g.Check(); err != nil {
		t.Fatalf("%v", err)
	}
	x.checkNames(t)
	x.checkStorages(t)
	x.checkUpdates(t)
	x.checkNodes(t)
}

func equal(t *rapid.T, got, want any, format string, args ...any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Fatalf("%s: got\n%s\nwant\n%s", fmt.Sprintf(format, args...), g, w)
	}
}

// seen puts together what is in the directories of a stack, the topmost of which comes first.
func (x *machine) seen(stack []dag.NodeID) content {
	c := content{}
	for _, id := range slices.Backward(stack) {
		c = c.plus(x.m.disk[id]...)
	}
	return c
}

func (x *machine) seenIn(head dag.NodeID) view {
	n, _ := x.g.Node(head)
	return view{base: x.seen(x.g.Chain(n.Base)), own: x.seen(x.g.Stack(head))}
}

func (x *machine) checkNames(t *rapid.T) {
	var keys []string
	for _, n := range x.g.Names() {
		keys = append(keys, n.Key)
		m := x.m.names[n.Key]
		if m == nil {
			t.Fatalf("name %q is there and should not be", n.Key)
		}
		equal(t, x.seen(x.g.Chain(n.Node)), m.sees, "layers of name %q", n.Key)
		equal(t, []any{n.Kind, n.Parent, n.Storage, n.Identity, n.Labels}, []any{m.kind, m.parent, m.storage, m.identity, m.labels}, "name %q", n.Key)
	}
	equal(t, keys, slices.Sorted(maps.Keys(x.m.names)), "names")
}

func (x *machine) checkStorages(t *rapid.T) {
	var names []string
	for _, s := range x.g.Storages() {
		names = append(names, s.Name)
		m := x.m.storages[s.Name]
		if m == nil {
			t.Fatalf("storage %q is there and should not be", s.Name)
		}
		equal(t, x.seenIn(s.Head), m.now, "what is seen in storage %q", s.Name)
		equal(t, x.points(s.Points), modelPoints(m.points), "rollback points of storage %q", s.Name)
		equal(t, x.points(s.Aside), modelPoints(m.aside), "what storage %q set aside", s.Name)
		equal(t, []any{s.Key, s.Anonymous, s.Head, s.Follows}, []any{m.key, m.anonymous, m.open, m.follows}, "storage %q", s.Name)
		equal(t, waits(s, s.Head), waits(dag.Storage{Pending: m.pending}, 0), "what storage %q waits for", s.Name)
		if s.Pending != nil && s.Pending.Rollback {
			if _, err := s.Newest(s.Pending.Update); err != nil {
				t.Fatalf("storage %q waits for a rollback that cannot be: %v", s.Name, err)
			}
		}
	}
	equal(t, names, slices.Sorted(maps.Keys(x.m.storages)), "storages")
}

func (x *machine) points(points []dag.Point) (all []string) {
	for _, p := range points {
		all = append(all, fmt.Sprint(p.Update, x.seenIn(p.Head)))
	}
	return all
}

func modelPoints(points []modelPoint) (all []string) {
	for _, p := range points {
		all = append(all, fmt.Sprint(p.update, p.view))
	}
	return all
}

func (x *machine) checkUpdates(t *rapid.T) {
	for _, u := range x.g.Updates() {
		m := x.m.updates[u.ID]
		states := map[string]dag.State{}
		for name, o := range u.Outcomes {
			states[name] = o.State
			if s, ok := x.g.Storage(name); o.State == dag.Planned && (!ok || s.Pending == nil || *s.Pending != dag.Pending{Update: u.ID}) {
				t.Fatalf("update %v is planned for storage %q, which does not wait for it", u.ID, name)
			}
		}
		for name, ready := range m.staged {
			o := u.Outcomes[name]
			equal(t, []any{o.Open, o.Delta, o.Until == dag.Staged}, []any{ready.open, ready.delta, m.stops[name]}, "what %v has ready", u.ID)
			if ready.delta != 0 {
				equal(t, x.seen(x.g.Stack(ready.delta)), ready.own, "what is ready of %v for storage %q", u.ID, name)
			}
		}
		equal(t, states, m.outcomes, "outcomes of update %v", u.ID)
		equal(t, []any{u.From, u.To, u.State, u.Standing, u.Retracted}, []any{m.from, m.to, m.state(), m.standing, m.retracted}, "update %v", u.ID)
	}
	equal(t, len(x.g.Updates()), len(x.m.updates), "number of updates")
}

// checkNodes makes sure that what can be seen is there, and nothing else.
func (x *machine) checkNodes(t *rapid.T) {
	var there []string
	var unsynced []dag.NodeID
	mergeable, pairs := x.g.Mergeable(), dag.LayerPairs(x.g)
	for _, n := range x.g.Nodes() {
		there = append(there, x.m.disk[n.ID]...)
		if x.m.unsynced[n.ID] {
			unsynced = append(unsynced, n.ID)
		}
		p := dag.Pair{Lower: n.Parent, Upper: n.ID}
		equal(t, slices.Contains(mergeable, p), x.m.mergeable(p.Lower, p.Upper), "%v can be merged", p)
		if _, below := x.g.Node(n.Parent); below && n.Kind == dag.Layer {
			i := slices.IndexFunc(pairs, func(l dag.LayerPair) bool { return l.Pair == p })
			free := i >= 0 && len(pairs[i].Obstacles) == 0
			equal(t, free, x.m.mergeable(p.Lower, p.Upper), "nothing keeps %v from being merged", p)
		}
		equal(t, n.Damage, x.m.damage[n.ID], "damage of %v", n.ID)
		if n.Kind == dag.Layer {
			want := x.m.newest(n.ID, 0)
			if x.m.twins(want, n.ID) {
				want = n.ID
			}
			equal(t, x.g.Newest(n.ID), want, "newest layer from %v on", n.ID)
			equal(t, n.Added, x.m.added[x.m.disk[n.ID][0]], "%v is a delta layer", n.ID)
		}
	}
	slices.Sort(there)
	equal(t, there, x.m.needed(), "symbols in the directories")
	equal(t, x.g.Unsynced(), unsynced, "layers that are not known to be on disk")
}
