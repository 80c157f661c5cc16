// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"fmt"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// A storage is moved from one layer to another, and back. Each step is one change of the graph.
func ExampleGraph_Plan() {
	g := dag.New()
	do := func(t dag.Transformation) {
		c, err := g.Plan(t)
		if err != nil {
			fmt.Println(err)
			return
		}
		g.Apply(c)
	}
	// Two layers, one on the other, and a container with a storage on the lower one.
	do(dag.Prepare{Key: "unpack 1", Kind: dag.Active, Open: 1})
	do(dag.Commit{Key: "unpack 1", Name: "old base"})
	do(dag.Prepare{Key: "unpack 2", Kind: dag.Active, Parent: "old base", Open: 2})
	do(dag.Commit{Key: "unpack 2", Name: "new base"})
	do(dag.Prepare{Key: "container", Kind: dag.Active, Parent: "old base", Open: 3})
	do(dag.Bind{Key: "container", Storage: "default/web"})
	show := func(what string) {
		s, _ := g.Storage("default/web")
		fmt.Printf("%s: %v on %v\n", what, g.Stack(s.Head), g.Base(s))
	}
	show("before")

	do(dag.BeginUpdate{ID: 1, From: 1, To: 2, Storages: []string{"default/web"}})
	do(dag.Switch{Update: 1, Storage: "default/web", Head: 3, Delta: 4, Open: 5})
	show("after the update")

	do(dag.Rollback{Update: 1, Storage: "default/web", Head: 5, Open: 6})
	show("after its rollback")
	// Output:
	// before: [n3] on n1
	// after the update: [n5 n4 n3] on n2
	// after its rollback: [n6 n3] on n1
}
