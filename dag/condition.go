// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag

import (
	"cmp"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// Settle notes that everything that was written up to now, layers committed in the meantime included, is on disk.
type Settle struct{ Layers []NodeID }

func (t Settle) transform(d *draft) error { //nolint:unparam // other transformations can fail
	for _, id := range t.Layers {
		if n, ok := d.node(id); ok && n.Unsynced != "" {
			n.Unsynced = ""
			d.putNode(n)
		}
	}
	return nil
}

// Unsynced returns the layers that are not known to be on disk.
func (g *Graph) Unsynced() []NodeID {
	var ids []NodeID
	for _, n := range g.Nodes() {
		if n.Unsynced != "" {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

// Quarantine notes that a node cannot be used, and why; an empty reason lifts it.
type Quarantine struct {
	Node   NodeID
	Reason string
}

func (t Quarantine) transform(d *draft) error {
	n, ok := d.node(t.Node)
	if !ok {
		return fmt.Errorf("node %v: %w", t.Node, errdefs.ErrNotFound)
	}
	n.Damage = t.Reason
	d.putNode(n)
	return nil
}

// Measure notes what a frozen node occupies on disk.
type Measure struct {
	Node         NodeID
	Size, Inodes int64
}

func (t Measure) transform(d *draft) error {
	n, ok := d.node(t.Node)
	if !ok {
		return fmt.Errorf("node %v: %w", t.Node, errdefs.ErrNotFound)
	}
	if !n.Frozen {
		return fmt.Errorf("node %v is still written to: %w", t.Node, errdefs.ErrFailedPrecondition)
	}
	n.Size, n.Inodes = t.Size, t.Inodes
	d.putNode(n)
	return nil
}

// Attest notes what was in a frozen node. What is empty stays as it was.
type Attest struct {
	Node             NodeID
	Digest, Contents digest.Digest
}

func (t Attest) transform(d *draft) error {
	n, ok := d.node(t.Node)
	if !ok {
		return fmt.Errorf("node %v: %w", t.Node, errdefs.ErrNotFound)
	}
	if !n.Frozen {
		return fmt.Errorf("node %v is still written to: %w", t.Node, errdefs.ErrFailedPrecondition)
	}
	n.Digest, n.Contents = cmp.Or(t.Digest, n.Digest), cmp.Or(t.Contents, n.Contents)
	d.putNode(n)
	return nil
}

// Unattested returns the frozen storage nodes of which it is not known what was in their files.
func (g *Graph) Unattested() []NodeID {
	var ids []NodeID
	for _, n := range g.Nodes() {
		if n.Frozen && n.Kind != Layer && n.Contents == "" && n.Damage == "" {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

// Unmeasured returns the frozen nodes of which it is not known what they occupy. Every node has at least one inode.
func (g *Graph) Unmeasured() []NodeID {
	var ids []NodeID
	for _, n := range g.Nodes() {
		if n.Frozen && n.Inodes == 0 {
			ids = append(ids, n.ID)
		}
	}
	return ids
}
