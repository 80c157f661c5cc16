// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dag is molt's graph: layers, persisted storages and delta storages as nodes of one directed acyclic graph,
// the names containerd gives them, the storages that stand on them and the updates that moved those storages.
//
// Edges point from the dependent node to what it depends on: a layer to the layer below it, a storage node to the
// storage node below it, and the head and each kept state of a storage to the layer it stands on. A node is never
// changed once it is frozen; an update adds nodes, a rollback points back at nodes that are still there.
//
// The package does no I/O. A [Transformation] is a pure function from a [Graph] to a [Change] of it and checks its
// preconditions; [Graph.Apply] carries a change out. Package store keeps a graph on disk, one transaction a change.
package dag

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// NodeID names a node and its directory. Ids start at 1, rise, and are never used again; 0 means "no node".
type NodeID uint64

// NodeKind tells the three kinds of node apart.
type NodeKind string

// The kinds of node.
const (
	// Layer is an immutable directory tree of an image or of an update; its parent is a layer.
	Layer NodeKind = "layer"
	// Persisted holds what was written in a container; its parent is a storage node, its base a layer.
	Persisted NodeKind = "persisted"
	// Delta holds the side effects of one update on one storage; its parent is a storage node, its base a layer.
	Delta NodeKind = "delta"
)

// Node is a vertex of the graph and stands for one directory.
type Node struct {
	ID   NodeID   `json:"id"`
	Kind NodeKind `json:"kind"`
	// Parent is the node of the same sort directly below: a layer for a layer, a storage node for a storage node.
	Parent NodeID `json:"parent,omitempty"`
	// Base is the layer that a storage node stands on; 0 for layers, and for storages on an empty base. The layer is
	// there for the head and the kept states of a storage. What is further down a stack is not seen on its own base any
	// more: there Base only tells what it was written on, and that layer may be gone.
	Base NodeID `json:"base,omitempty"`
	// Frozen nodes are immutable; only the open head of a storage is not frozen.
	Frozen bool `json:"frozen,omitempty"`
	// Added marks a layer that an update, applied or under way, puts on top of the base layer it extends: a delta
	// layer.
	Added bool `json:"added,omitempty"`
	// Origin is what a layer was committed as, without the parts that change when the same image is unpacked again.
	Origin string `json:"origin,omitempty"`
	// Unsynced names the boot of the machine in which a layer was committed before it was known to be on disk;
	// empty once it is.
	Unsynced string `json:"unsynced,omitempty"`
	// Damage says why the node cannot be used, empty for a sound node.
	Damage string `json:"damage,omitempty"`
	// Size and Inodes are what a frozen node occupies on disk.
	Size   int64 `json:"size,omitempty"`
	Inodes int64 `json:"inodes,omitempty"`
	// Digest is the sum of the manifest of what was in a frozen node when it was frozen, without the content of files,
	// and Contents that of their content as it was soon after; empty as long as they are not known.
	Digest   digest.Digest `json:"digest,omitempty"`
	Contents digest.Digest `json:"contents,omitempty"`
	Created  time.Time     `json:"created"`
}

// NameKind is what containerd takes a name for.
type NameKind string

// The kinds of name.
const (
	Active    NameKind = "active"
	View      NameKind = "view"
	Committed NameKind = "committed"
)

// Identity tells how far it is known which storage a key was meant to have.
type Identity string

// The states of an identity.
const (
	// Unknown: nobody has said yet; containerd is asked when the mounts of the key are.
	Unknown Identity = ""
	// Plain: the key was found to ask for no storage. This is never asked again.
	Plain Identity = "plain"
	// Bound: the key was bound to a storage with a name of its own. This is never asked again.
	Bound Identity = "bound"
)

// Name is what containerd knows: a key of its own and what stands behind it.
type Name struct {
	Key  string   `json:"key"`
	Kind NameKind `json:"kind"`
	// Parent is the key of the committed name this one was prepared on.
	Parent string `json:"parent,omitempty"`
	// Node is the layer of a committed name, the layer shown by a view, and the layer an active name was prepared on
	// (until an explicit update or rollback of its storage moves it).
	Node NodeID `json:"node,omitempty"`
	// Storage is the writable state of an active name.
	Storage  string            `json:"storage,omitempty"`
	Identity Identity          `json:"identity,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Created  time.Time         `json:"created"`
	Updated  time.Time         `json:"updated"`
}

// Storage is the writable state of one container.
type Storage struct {
	Name string `json:"name"`
	// Anonymous storages end with their key.
	Anonymous bool `json:"anonymous,omitempty"`
	// Head is the open node, the only one that is written.
	Head NodeID `json:"head"`
	// Key is the name that the storage is bound to, empty when no container has it.
	Key string `json:"key,omitempty"`
	// Points are the states that can be returned to, the oldest first.
	Points []Point `json:"points,omitempty"`
	// Aside are the states that rollbacks left, the oldest first. They are kept as long as rollback points are.
	Aside []Point `json:"aside,omitempty"`
	// Pending is what happens to the storage when it is next mounted, nil if nothing.
	Pending *Pending `json:"pending,omitempty"`
	// Settings are what servicing was told for this storage. The graph does not look into them.
	Settings json.RawMessage `json:"settings,omitempty"`
	// Asked is the base that the last container of the storage asked for, nil when none is on record. The storage may
	// stand on another one, after an explicit update.
	Asked *Asked `json:"asked,omitempty"`
	// Container is the last container that the storage was bound for, as containerd had it on record; nil when unknown.
	Container *Container `json:"container,omitempty"`
	// Rehoming is a move of the storage to a new key of the same container that is under way, nil if there is none.
	Rehoming *Rehoming `json:"rehoming,omitempty"`
	// Follows storages are new and begin, at the first start of their container, where the updates of their base lead.
	Follows bool `json:"follows,omitempty"`
	// Placed is how a storage that followed came to begin elsewhere than it was prepared, nil if it did not.
	Placed  *Placement `json:"placed,omitempty"`
	Created time.Time  `json:"created"`
}

// Asked is a base by what stays the same of it: its node, and its origin, which outlives that node.
type Asked struct {
	Layer  NodeID `json:"layer,omitempty"` // 0 for an empty base
	Origin string `json:"origin,omitempty"`
}

// Container is what containerd had on record of a container when a storage was bound for it.
type Container struct {
	ID      string `json:"id"`
	Image   string `json:"image,omitempty"`
	Runtime string `json:"runtime,omitempty"`
	// Pod is the pod of a container in Kubernetes, as "namespace/name".
	Pod string `json:"pod,omitempty"`
	// Capabilities are those that the container's first process could ever have.
	Capabilities []string `json:"capabilities,omitempty"`
	// UserNamespace is set for a container whose ids are not those of the host.
	UserNamespace bool `json:"user_namespace,omitempty"`
	// Labels says where each of molt's own labels came from.
	Labels map[string]LabelOrigin `json:"labels,omitempty"`
}

// LabelOrigin is who gave a label.
type LabelOrigin string

// The origins of labels.
const (
	FromContainer LabelOrigin = "container"
	FromPod       LabelOrigin = "pod"
)

// Rehoming is an intent that outlives a crash: the key of a container is removed and prepared again on another base,
// and the storage goes from the one to the other. Without it an anonymous storage would end with its key.
type Rehoming struct {
	// Namespace and Container are containerd's names of the container, whose key has the same name as the container.
	Namespace string `json:"namespace"`
	Container string `json:"container"`
	// Record is what is still to be written into containerd's record of the container. The graph does not look into it.
	Record json.RawMessage `json:"record"`
	// Placed says that the container did not ask for that: its storage was begun on a newer base, see [Place].
	Placed bool `json:"placed,omitempty"`
}

// Point is a state of a storage that is kept: its frozen head, which knows the base it stood on.
type Point struct {
	// Update is the update that moved the storage away from this state, or, for a state set aside, the one rolled back.
	Update UpdateID  `json:"update"`
	Head   NodeID    `json:"head"`
	Time   time.Time `json:"time"`
}

// Pending is a move of a storage that waits until the storage is no longer in use.
type Pending struct {
	Update   UpdateID `json:"update"`
	Rollback bool     `json:"rollback,omitempty"`
	Carry    bool     `json:"carry,omitempty"`
	// Discard has a rollback delete what it would set aside.
	Discard bool `json:"discard,omitempty"`
}

// String says what is waited for.
func (p Pending) String() string {
	if p.Rollback {
		return fmt.Sprintf("the rollback of %v", p.Update)
	}
	return p.Update.String()
}

// Graph is the whole state. The zero value is not usable; see [New]. A Graph is not safe for concurrent change.
type Graph struct {
	nodes    map[NodeID]Node
	names    map[string]Name
	storages map[string]Storage
	updates  map[UpdateID]Update

	refs     map[NodeID]int // how many records refer to a node
	children map[string]int // how many names have this key as parent
	rehoming map[string]bool
}

// New returns an empty graph.
func New() *Graph {
	return &Graph{
		nodes:    map[NodeID]Node{},
		names:    map[string]Name{},
		storages: map[string]Storage{},
		updates:  map[UpdateID]Update{},
		refs:     map[NodeID]int{},
		children: map[string]int{},
		rehoming: map[string]bool{},
	}
}

// Node returns the node with the id.
func (g *Graph) Node(id NodeID) (Node, bool) { n, ok := g.nodes[id]; return n, ok }

// Name returns the name with the key.
func (g *Graph) Name(key string) (Name, bool) { n, ok := g.names[key]; return n, ok }

// Storage returns the storage with the name.
func (g *Graph) Storage(name string) (Storage, bool) { s, ok := g.storages[name]; return s, ok }

// Update returns the update with the id.
func (g *Graph) Update(id UpdateID) (Update, bool) { u, ok := g.updates[id]; return u, ok }

// Nodes returns all nodes by rising id.
func (g *Graph) Nodes() []Node { return InOrder(g.nodes) }

// Names returns all names by key.
func (g *Graph) Names() []Name { return InOrder(g.names) }

// Storages returns all storages by name.
func (g *Graph) Storages() []Storage { return InOrder(g.storages) }

// Updates returns all updates by rising id.
func (g *Graph) Updates() []Update { return InOrder(g.updates) }

// Chain returns the layers under and including id, the topmost first. It is empty for 0.
func (g *Graph) Chain(id NodeID) []NodeID { return g.down(id) }

// Stack returns the storage nodes under and including the storage node id, the topmost first.
func (g *Graph) Stack(id NodeID) []NodeID { return g.down(id) }

func (g *Graph) down(id NodeID) []NodeID { return Down(g.Node, id) }

// Down returns a node and those under it, the topmost first; nothing for 0. It ends where a node is not found.
func Down(node NodeLookup, id NodeID) []NodeID {
	var ids []NodeID
	for id != 0 {
		n, ok := node(id)
		if !ok {
			break
		}
		ids = append(ids, id)
		id = n.Parent
	}
	return ids
}

// Base returns the layer that a storage stands on, 0 for an empty base.
func (g *Graph) Base(s Storage) NodeID { return g.nodes[s.Head].Base }

// SameBase reports whether two layers are the same base: one node, or the same image layer unpacked twice.
func (g *Graph) SameBase(a, b NodeID) bool { return sameBase(g.Node, a, b) }

func sameBase(node NodeLookup, a, b NodeID) bool {
	if a == b {
		return true
	}
	la, _ := node(a)
	lb, _ := node(b)
	return la.Origin != "" && la.Origin == lb.Origin
}

// Extends reports whether the chain of upper contains lower.
func (g *Graph) Extends(upper, lower NodeID) bool {
	return lower == 0 || slices.Contains(g.Chain(upper), lower)
}

// InOrder returns the values of a map in the order of its keys.
func InOrder[K interface{ ~uint64 | ~string }, V any](m map[K]V) []V {
	vs := make([]V, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		vs = append(vs, m[k])
	}
	return vs
}

// lost begins the damage of every node that stands in for one of which there is no record.
const lost = "lost: "

// LostDamage is the damage of a node that stands in for one of which there is no record, for a reason.
func LostDamage(why string) string { return lost + why }

// Lost reports whether a node only stands in for one whose record was lost. What it stood on is not known, so that it
// cannot be used even when there is a directory of that id.
func (n Node) Lost() bool { return strings.HasPrefix(n.Damage, lost) }

// String returns the id as people write it.
func (id NodeID) String() string { return fmt.Sprintf("n%d", uint64(id)) }
