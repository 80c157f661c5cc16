// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
)

// The labels that Stat and Walk compute from the graph, besides [LabelStorage]. They are never stored: those that a
// client gives are dropped. Active keys have them when their storage has a name, or when an update has moved it or is
// to.
const (
	// LabelBase is the layer that the storage of an active key stands on: its key in containerd, else the chain ID
	// that it was unpacked as, else its node. A storage on an empty base has none.
	LabelBase = "containerd.io/snapshot/molt.base"
	// LabelAskedBase is the layer that the container of the storage asks for, if the storage stands on another one.
	LabelAskedBase = "containerd.io/snapshot/molt.asked-base"
	// LabelNodes lists the nodes of the storage, the newest first. Δ marks a delta storage.
	LabelNodes = "containerd.io/snapshot/molt.nodes"
	// LabelPending is what happens to the storage at its next start: see [PendingText].
	LabelPending = "containerd.io/snapshot/molt.pending"
	// LabelKind is "delta" for a committed key whose layer an update added to the base below it, and "base" for
	// another one that is an end of an update or that storages stand on.
	LabelKind = "containerd.io/snapshot/molt.kind"
	// LabelUpdate lists the updates that lead to the layer of a committed key, the newest first.
	LabelUpdate = "containerd.io/snapshot/molt.update"
)

// LabelRehoming is given to Prepare when the key of a container is prepared again, see [binding.Rehomer.Rehome]: with
// it the key gets the storage that waits for it. It is not stored. Another container of the same name may be made in
// the meantime, which is to get a storage of its own.
const LabelRehoming = "containerd.io/snapshot/molt.rehoming"

// maxLabel is how long a label may be for containerd, its key and its value together, in bytes. A client may write
// back what it read.
const maxLabel = 4096

// Given returns the labels of a key without those that are computed, or not stored.
func Given(labels map[string]string) map[string]string {
	given := maps.Clone(labels)
	for _, label := range []string{
		LabelStorage, LabelBase, LabelAskedBase, LabelNodes, LabelPending, LabelKind, LabelUpdate, LabelRehoming,
	} {
		delete(given, label)
	}
	return given
}

// PendingText writes what a storage waits for: "update u4", "rollback u4", "rollback u4 and carry" or "rollback u4 and
// discard"; empty for nothing.
func PendingText(p *dag.Pending) string {
	switch {
	case p == nil:
		return ""
	case !p.Rollback:
		return "update " + p.Update.String()
	case p.Carry:
		return "rollback " + p.Update.String() + " and carry"
	case p.Discard:
		return "rollback " + p.Update.String() + " and discard"
	}
	return "rollback " + p.Update.String()
}

// computed computes labels. What concerns all layers is computed once for each state of the graph: containerd lists its
// snapshots by one call of Stat for each.
type computed struct {
	sequence func() uint64

	mu   sync.Mutex
	at   uint64 // the sequence of the graph that the others are of
	uses map[dag.NodeID]dag.LayerUse
	keys map[dag.NodeID][]string
}

// labels returns the computed labels of a name. It is called while the graph is viewed.
func (c *computed) labels(g *dag.Graph, n dag.Name) map[string]string {
	switch n.Kind {
	case dag.Committed:
		return c.ofLayer(g, n)
	case dag.Active:
		if st, ok := g.Storage(n.Storage); ok && (!st.Anonymous || g.Moved(st)) {
			return c.ofStorage(g, n, st)
		}
	}
	return nil
}

func (c *computed) ofLayer(g *dag.Graph, n dag.Name) map[string]string {
	uses, _ := c.layers(g)
	its, used := uses[n.Node]
	if !used {
		return nil
	}
	labels := map[string]string{LabelKind: "base"}
	if layer, _ := g.Node(n.Node); layer.Added {
		labels[LabelKind] = "delta"
	}
	updates := make([]string, 0, len(its.Updates))
	for _, u := range slices.Backward(its.Updates) {
		updates = append(updates, u.String())
	}
	if len(updates) > 0 {
		labels[LabelUpdate] = joined(updates, maxLabel-len(LabelUpdate))
	}
	return labels
}

func (c *computed) ofStorage(g *dag.Graph, n dag.Name, st dag.Storage) map[string]string {
	namespace := keys.Parse(n.Key).Namespace
	labels := map[string]string{LabelNodes: nodesText(g, st)}
	if !st.Anonymous {
		labels[LabelStorage] = strings.TrimPrefix(st.Name, namespace+"/")
	}
	base := g.Base(st)
	if base != 0 {
		labels[LabelBase] = c.called(g, base, namespace)
	}
	asked := dag.Asked{Layer: g.AskedOf(n)}
	if st.Asked != nil {
		asked = *st.Asked
	}
	if !g.SameBase(asked.Layer, base) && (st.Asked == nil || !g.IsAsked(st, base)) {
		labels[LabelAskedBase] = c.askedText(g, asked, namespace)
	}
	if st.Pending != nil {
		labels[LabelPending] = PendingText(st.Pending)
	}
	return labels
}

func (c *computed) askedText(g *dag.Graph, asked dag.Asked, namespace string) string {
	if _, there := g.Node(asked.Layer); !there && asked.Origin != "" {
		return unpackedAs(asked.Origin)
	}
	if asked.Layer == 0 {
		return "an empty base"
	}
	return c.called(g, asked.Layer, namespace)
}

// called names a layer as the clients of a namespace know it.
func (c *computed) called(g *dag.Graph, id dag.NodeID, namespace string) string {
	_, names := c.layers(g)
	own := slices.IndexFunc(names[id], func(key string) bool { return keys.Parse(key).Namespace == namespace })
	switch layer, _ := g.Node(id); {
	case own >= 0:
		return keys.Parse(names[id][own]).Key
	case len(names[id]) > 0:
		return keys.Parse(names[id][0]).Key
	case layer.Origin != "":
		return unpackedAs(layer.Origin)
	}
	return id.String()
}

// unpackedAs returns the chain ID in an origin.
func unpackedAs(origin string) string {
	_, chain, _ := strings.Cut(origin, "/")
	return chain
}

// layers returns what the layers are used for, and their keys. It is called while the graph is viewed.
func (c *computed) layers(g *dag.Graph) (uses map[dag.NodeID]dag.LayerUse, names map[dag.NodeID][]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := c.sequence(); c.uses == nil || c.at != at {
		c.at, c.uses, c.keys = at, dag.LayerUses(g), dag.CommittedKeys(g)
	}
	return c.uses, c.keys
}

func nodesText(g *dag.Graph, st dag.Storage) string {
	var nodes []string
	for _, id := range g.Stack(st.Head) {
		text := id.String()
		if n, _ := g.Node(id); n.Kind == dag.Delta {
			text = "Δ" + text
		}
		nodes = append(nodes, text)
	}
	return joined(nodes, maxLabel-len(LabelNodes))
}

// joined joins words, as many as fit into a number of bytes. "…" at the end stands for those that do not.
func joined(words []string, most int) string {
	const more = " …"
	if text := strings.Join(words, " "); len(text) <= most {
		return text
	}
	var b strings.Builder
	for _, w := range words {
		if b.Len()+len(" ")+len(w)+len(more) > most {
			break
		}
		if b.Len() > 0 {
			b.WriteString(" ")
		}
		b.WriteString(w)
	}
	return b.String() + more
}
