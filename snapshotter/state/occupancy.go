// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/mounttable"
)

// Occupancy is what can be seen of a storage on disk, for people to read.
type Occupancy struct {
	// Size is what the nodes of the storage occupy, in bytes. Nodes that other storages share count for each.
	Size int64
	// Mounted reports whether a mount table shows the storage.
	Mounted bool
	// LastUsed is when the storage was last mounted as an overlay, the zero time if its open node never was.
	LastUsed time.Time
}

// Occupancies returns what can be seen of storages, by name. Nodes whose size is not known, the open ones that is,
// are walked if they are to be measured. One that cannot be walked counts as empty.
func (m *Meter) Occupancies(ctx context.Context, storages []dag.Storage, measure bool) map[string]Occupancy {
	table, err := mounttable.Read(m.nodes.Published())
	if err != nil {
		log.G(ctx).WithError(err).Warn("storages are listed without their mounts")
	}
	all := make(map[string]Occupancy, len(storages))
	for _, st := range storages {
		o := Occupancy{Mounted: err == nil && table.Written(st.Head), LastUsed: m.lastMounted(st.Head)}
		var nodes []dag.Node
		m.state.Graph(func(g *dag.Graph) {
			for _, id := range g.Stack(st.Head) {
				n, _ := g.Node(id)
				nodes = append(nodes, n)
			}
		})
		for _, n := range nodes {
			if size, err := m.sizeOf(ctx, n, measure); err == nil {
				o.Size += size
			}
		}
		all[st.Name] = o
	}
	return all
}

// sizeOf returns what a node occupies. An open one is walked if it is to be measured, and counts as empty otherwise.
func (m *Meter) sizeOf(ctx context.Context, n dag.Node, measure bool) (int64, error) {
	if n.Inodes > 0 || !measure {
		return n.Size, nil
	}
	size, _, err := m.Node(ctx, n.ID)
	if err != nil && !errdefs.IsNotFound(err) && ctx.Err() == nil {
		log.G(ctx).WithError(err).WithField("node", n.ID.String()).Warn("failed to measure a node")
	}
	return size, err
}

// lastMounted returns when a node was last mounted to be written. Each mount makes a new directory in the work
// directory.
func (m *Meter) lastMounted(id dag.NodeID) time.Time {
	info, err := os.Lstat(filepath.Join(m.nodes.Work(id), "work"))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// The kinds of things that take space in the state directory.
const (
	InBaseLayers  = "base layers"
	InDeltaLayers = "delta layers"
	InStorages    = "storages"
	InPoints      = "rollback points"
	InTrash       = "trash"
)

// Space is what the things of one kind occupy.
type Space struct {
	Kind        string
	Count       int
	Size        int64
	Reclaimable int64 // what would be free if nothing of it were kept any longer
}

// DiskUsage measures the state directory by kind. It returns, too, how many nodes could not be measured. A node that
// storages need now is theirs; one that only a rollback needs is a rollback point's.
func (m *Meter) DiskUsage(ctx context.Context) (all []Space, unmeasured int, err error) {
	kinds := map[string]*Space{}
	for _, kind := range []string{InBaseLayers, InDeltaLayers, InStorages, InPoints, InTrash} {
		kinds[kind] = &Space{Kind: kind}
	}
	var nodes []dag.Node
	needed := map[dag.NodeID]bool{}
	m.state.Graph(func(g *dag.Graph) {
		nodes = g.Nodes()
		for _, st := range g.Storages() {
			for _, id := range g.Stack(st.Head) {
				needed[id] = true
			}
		}
	})
	for _, n := range nodes {
		size, err := m.sizeOf(ctx, n, true)
		if ctx.Err() != nil {
			return nil, 0, ctx.Err()
		}
		if err != nil {
			unmeasured++
		}
		kinds[kindOfSpace(n, needed[n.ID])].add(size)
	}
	if err := m.addTrash(ctx, kinds[InTrash]); err != nil {
		return nil, 0, err
	}
	for _, kind := range []string{InBaseLayers, InDeltaLayers, InStorages, InPoints, InTrash} {
		if kind == InPoints || kind == InTrash {
			kinds[kind].Reclaimable = kinds[kind].Size
		}
		all = append(all, *kinds[kind])
	}
	return all, unmeasured, nil
}

func (s *Space) add(size int64) { s.Count, s.Size = s.Count+1, s.Size+size }

func kindOfSpace(n dag.Node, needed bool) string {
	switch {
	case n.Kind == dag.Layer && n.Added:
		return InDeltaLayers
	case n.Kind == dag.Layer:
		return InBaseLayers
	case needed:
		return InStorages
	}
	return InPoints
}

// addTrash adds what waits to be deleted.
func (m *Meter) addTrash(ctx context.Context, space *Space) error {
	dirs, err := m.nodes.Trashed()
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		size, _, err := tree.Usage(ctx, dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && ctx.Err() != nil {
			return err
		}
		space.add(size) // what is deleted in the meantime has no size
	}
	return nil
}
