// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// TestReportsOutliveNothing: a report is kept while it is in the making and while a record names it, and goes at once after that.
func TestReportsOutliveNothing(t *testing.T) {
	i := newInside(t)
	stage := func(head dag.NodeID) *staged {
		p := &staged{Draft: i.state.Begin(state.Nothing), update: 1, head: head}
		i.must(i.saveReport(p, &servicing.Report{}))
		return p
	}
	expect := func(p *staged, want bool) {
		t.Helper()
		i.must(i.forget(t.Context()))
		if there, err := i.reports.Has(p.report); err != nil || there != want {
			t.Errorf("%s is there: %v, %v", p.report, there, err)
		}
	}
	given, taken := stage(100), stage(101)
	expect(given, true)
	i.must(given.Close())
	expect(given, false)

	one := i.layer("default/1/one", "", "a")
	two := i.layer("default/2/two", one, "b")
	_, err := i.Prepare(t.Context(), "default/3/c", one)
	i.must(err)
	var st dag.Storage
	var from, to dag.Name
	i.state.Graph(func(g *dag.Graph) {
		st, _ = g.Storage(dag.AnonymousName("default/3/c"))
		from, _ = g.Name(one)
		to, _ = g.Name(two)
	})
	i.must(i.state.Do(dag.BeginUpdate{ID: 1, From: from.Node, To: to.Node, Storages: []string{st.Name}, Now: clock.Now()}))
	taken.holds = []string{"odd"}
	i.must(i.state.Do(taken.held(st.Name)))
	i.must(taken.Close())
	expect(taken, true)
	_, err = i.reports.LeftBehind(taken.report)
	i.must(err)
}
