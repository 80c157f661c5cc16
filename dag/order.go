// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag

import "slices"

// NeededFirst returns ids in an order in which each node comes after its parent and its base, where they are among
// them; nodes that do not depend on each other by rising id. Records of nodes are written in this order and deleted in
// the opposite one, so that none of them ever refers to one that is not there. The node of an id is asked for by find.
func NeededFirst(ids []NodeID, find func(NodeID) Node) []NodeID {
	left := map[NodeID]bool{}
	for _, id := range ids {
		left[id] = true
	}
	ordered := make([]NodeID, 0, len(left))
	var place func(NodeID)
	place = func(id NodeID) {
		if !left[id] {
			return
		}
		left[id] = false
		n := find(id)
		place(n.Base)
		place(n.Parent)
		ordered = append(ordered, id)
	}
	for _, id := range slices.Sorted(slices.Values(ids)) {
		place(id)
	}
	return ordered
}
