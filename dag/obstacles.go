// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag

import "slices"

// ObstacleKind is a kind of reason why two layers are not merged.
type ObstacleKind string

// The kinds of obstacle.
const (
	// BaseLayer: the lower layer is of an image, not a delta layer; such layers are never merged with what stands on
	// them.
	BaseLayer ObstacleKind = "base-layer"
	// Named: containerd knows Node by the committed name Key.
	Named ObstacleKind = "named"
	// HasKey: Key, of a container or a view, was made on a name of Node, or shows Node.
	HasKey ObstacleKind = "key"
	// StoodOn: Storage stands on Node.
	StoodOn ObstacleKind = "storage"
	// RollbackPoint: Storage can be returned to a state on Node by undoing Update.
	RollbackPoint ObstacleKind = "rollback-point"
	// SetAside: a state of Storage on Node was set aside when Update was rolled back.
	SetAside ObstacleKind = "set-aside"
	// UnderWay: Update is not done with all its storages, and begins or ends at Node.
	UnderWay ObstacleKind = "update"
	// OtherLayer: Node stands on the lower layer, too.
	OtherLayer ObstacleKind = "layer"
	// Damaged: Node is damaged.
	Damaged ObstacleKind = "damaged"
)

// Obstacle is a reason why two layers are not merged. Which fields are set depends on the kind.
type Obstacle struct {
	Kind    ObstacleKind
	Node    NodeID
	Key     string
	Storage string
	Update  UpdateID
}

// LayerPair is two layers, one on the other, and why they cannot be merged now; without obstacles they can.
type LayerPair struct {
	Pair
	Obstacles []Obstacle
}

// LayerPairs returns all pairs of layers, the lowest first.
func LayerPairs(g *Graph) []LayerPair {
	o := obstacles{g: g, uses: map[NodeID][]Obstacle{}, names: map[NodeID][]Obstacle{}, above: map[NodeID][]NodeID{}}
	o.collect()
	var pairs []LayerPair
	for _, upper := range g.Nodes() {
		if _, there := g.nodes[upper.Parent]; upper.Kind == Layer && there {
			p := Pair{Lower: upper.Parent, Upper: upper.ID}
			pairs = append(pairs, LayerPair{Pair: p, Obstacles: o.of(p)})
		}
	}
	sortByDepth(g, pairs, func(p LayerPair) NodeID { return p.Lower })
	return pairs
}

// sortByDepth sorts by how many nodes are below one, the lowest first.
func sortByDepth[E any](g *Graph, list []E, node func(E) NodeID) {
	known := map[NodeID]int{}
	depth := func(id NodeID) int {
		below := g.down(id)
		for i, at := range below {
			if n, ok := known[at]; ok {
				known[id] = n + i
				return n + i
			}
		}
		known[id] = len(below)
		return len(below)
	}
	for _, e := range list {
		depth(node(e))
	}
	slices.SortStableFunc(list, func(a, b E) int { return known[node(a)] - known[node(b)] })
}

// obstacles are all reasons that there are, by the layer that they concern.
type obstacles struct {
	g     *Graph
	uses  map[NodeID][]Obstacle // that keep it from being the lower layer of a merge
	names map[NodeID][]Obstacle // that keep it from being the upper one, too
	above map[NodeID][]NodeID   // the layers that stand on it
}

func (o *obstacles) collect() {
	for _, n := range InOrder(o.g.nodes) {
		if n.Kind == Layer {
			o.above[n.Parent] = append(o.above[n.Parent], n.ID)
		}
	}
	for _, n := range InOrder(o.g.names) {
		o.collectName(n)
	}
	for _, s := range InOrder(o.g.storages) {
		o.use(Obstacle{Kind: StoodOn, Node: o.g.Base(s), Storage: s.Name})
		for _, p := range s.Points {
			o.use(Obstacle{Kind: RollbackPoint, Node: o.g.nodes[p.Head].Base, Storage: s.Name, Update: p.Update})
		}
		for _, p := range s.Aside {
			o.use(Obstacle{Kind: SetAside, Node: o.g.nodes[p.Head].Base, Storage: s.Name, Update: p.Update})
		}
	}
	for _, u := range InOrder(o.g.updates) {
		for _, id := range u.Refs(nil) {
			o.use(Obstacle{Kind: UnderWay, Node: id, Update: u.ID})
		}
	}
}

// collectName notes what a name keeps: its own layer, and the name that it was made on.
func (o *obstacles) collectName(n Name) {
	if n.Kind == Committed {
		o.names[n.Node] = append(o.names[n.Node], Obstacle{Kind: Named, Node: n.Node, Key: n.Key})
		return
	}
	parent, made := o.g.names[n.Parent]
	if made {
		o.names[parent.Node] = append(o.names[parent.Node], Obstacle{Kind: HasKey, Node: parent.Node, Key: n.Key})
	}
	if s, ok := o.g.storages[n.Storage]; ok && o.g.Base(s) == n.Node || made && parent.Node == n.Node {
		return // which is said of the storage, or of the name
	}
	o.use(Obstacle{Kind: HasKey, Node: n.Node, Key: n.Key})
}

func (o *obstacles) use(b Obstacle) { o.uses[b.Node] = append(o.uses[b.Node], b) }

// of returns what keeps two layers from being merged, see [Graph.Mergeable].
func (o *obstacles) of(p Pair) []Obstacle {
	lower, upper := o.g.nodes[p.Lower], o.g.nodes[p.Upper]
	if !lower.Added {
		return []Obstacle{{Kind: BaseLayer, Node: lower.ID}}
	}
	all := slices.Concat(o.names[lower.ID], o.uses[lower.ID], o.names[upper.ID])
	for _, id := range o.above[lower.ID] {
		if id != upper.ID {
			all = append(all, Obstacle{Kind: OtherLayer, Node: id})
		}
	}
	for _, n := range []Node{lower, upper} {
		if n.Damage != "" {
			all = append(all, Obstacle{Kind: Damaged, Node: n.ID})
		}
	}
	return all
}
