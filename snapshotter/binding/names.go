// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package binding

import (
	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// NamesByKey returns the names that containerd made, by what it calls them. Several may be called the same.
func NamesByKey(s *state.State) map[keys.Key][]dag.Name {
	all := map[keys.Key][]dag.Name{}
	s.Graph(func(g *dag.Graph) {
		for _, n := range g.Names() {
			if k := keys.Parse(n.Key); k.Namespace != "" {
				all[k] = append(all[k], n)
			}
		}
	})
	return all
}
