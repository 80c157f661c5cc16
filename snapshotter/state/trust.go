// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// SyncLayers puts on disk what waits for that, and notes which layers it is too late for.
func (s *State) SyncLayers() error {
	var waiting []dag.NodeID
	s.Graph(func(g *dag.Graph) { waiting = s.unsynced(g) })
	var err error
	if len(waiting) > 0 {
		err = s.sync()
	}
	return errors.Join(err, s.distrust())
}

// distrust quarantines the layers that the disk failed in before they were on it. The kernel tells of that once: a
// later daemon would take them for written.
func (s *State) distrust() error {
	var lost []dag.Transformation
	s.Graph(func(g *dag.Graph) {
		for _, id := range g.Unsynced() {
			if n, _ := g.Node(id); n.Damage == "" && s.nodes.Incomplete(id) {
				lost = append(lost, dag.Quarantine{Node: id, Reason: diskFailed})
			}
		}
	})
	if len(lost) == 0 {
		return nil
	}
	return s.Do(lost...)
}

// damage says why a node cannot be used, empty if it can.
func (s *State) damage(n dag.Node, present map[dag.NodeID]bool) string {
	switch {
	case n.Lost(), n.Damage == diskFailed:
		return n.Damage // what it stood on, or what is missing of it, is not known
	case !present[n.ID]:
		return "its directory is missing"
	case unfinished(n, s.boot):
		return halfWritten
	}
	return ""
}

// Usable refuses nodes that are known to be damaged.
func (s *State) Usable(g *dag.Graph, ids []dag.NodeID) error {
	for _, id := range ids {
		n, _ := g.Node(id)
		switch why := s.defect(n); {
		case why == "":
		case n.Kind == dag.Layer:
			return fmt.Errorf("layer %v cannot be used, it is damaged (%s); remove the image and pull it again: %w", id,
				why,
				errdefs.ErrFailedPrecondition)
		default:
			return fmt.Errorf("node %v of the storage cannot be used, it is damaged (%s); restore it, or roll back "+
				"to a "+
				"state without it: %w", id, why, errdefs.ErrFailedPrecondition)
		}
	}
	return nil
}

// defect says why a node must not be used, empty if it may be. What an earlier boot left out counts also before it is
// recorded as damage, which takes a disk with room.
func (s *State) defect(n dag.Node) string {
	if n.Damage == "" && unfinished(n, s.boot) {
		return halfWritten
	}
	return n.Damage
}

// Why a layer is not trusted.
const (
	halfWritten = "the machine stopped before the layer was on disk"
	diskFailed  = "the disk failed before the layer was on it"
)

// unfinished reports whether a power cut may have left a layer incomplete.
func unfinished(n dag.Node, boot string) bool { return n.Unsynced != "" && n.Unsynced != boot }

// unsynced returns the layers that wait to be put on disk. What an earlier boot of the machine left out is no longer on
// disk after it: such a layer stays damaged, as does one that the disk failed in, see [State.distrust].
func (s *State) unsynced(g *dag.Graph) []dag.NodeID {
	return slices.DeleteFunc(g.Unsynced(), func(id dag.NodeID) bool {
		n, _ := g.Node(id)
		return unfinished(n, s.boot) || s.nodes.Incomplete(id)
	})
}

// sync puts everything on disk, the given nodes that were just written among it, and notes so for the layers that
// were waiting for it.
func (s *State) sync(ids ...dag.NodeID) error {
	var layers []dag.NodeID
	s.Graph(func(g *dag.Graph) { layers = s.unsynced(g) })
	if err := s.nodes.Sync(ids...); err != nil {
		return err
	}
	if len(layers) == 0 {
		return nil
	}
	return s.Do(dag.Settle{Layers: layers})
}
