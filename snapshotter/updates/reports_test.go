// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates_test

import (
	"io"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/snapshottertest"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// TestReportsOutliveNothing: a report is kept while it is in the making and while a record names it, and goes at once
// after that.
func TestReportsOutliveNothing(t *testing.T) {
	i := snapshottertest.New(t)
	stage := func(head dag.NodeID) (*updates.Staged, string) {
		p, name, err := i.Updates().Stager().Report(head)
		i.Must(err)
		return p, name
	}
	expect := func(report string, want bool) {
		t.Helper()
		i.Must(i.Reports().Forget(t.Context()))
		if there, err := i.Reports().Has(report); err != nil || there != want {
			t.Errorf("%s is there: %v, %v", report, there, err)
		}
	}
	given, ofGiven := stage(100)
	taken, ofTaken := stage(101)
	expect(ofGiven, true)
	i.Must(given.Close())
	expect(ofGiven, false)

	one := i.Layer("default/1/one", "", "a")
	two := i.Layer("default/2/two", one, "b")
	_, err := i.Prepare(t.Context(), "default/3/c", one)
	i.Must(err)
	var st dag.Storage
	var from, to dag.Name
	i.State().Graph(func(g *dag.Graph) {
		st, _ = g.Storage(dag.AnonymousName("default/3/c"))
		from, _ = g.Name(one)
		to, _ = g.Name(two)
	})
	i.Must(i.State().Do(dag.BeginUpdate{ID: 1, From: from.Node, To: to.Node, Storages: []string{st.Name}, Now: clock.Now()}))
	taken.Holds = []string{"odd"}
	i.Must(i.State().Do(taken.Held(st.Name)))
	i.Must(taken.Close())
	expect(ofTaken, true)
	i.Must(i.Reports().Write(io.Discard, 1, st.Name, ""))
}
