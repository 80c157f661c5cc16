// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// graphName is the command that shows the graph.
const graphName = "graph"

// graphFormats are the formats that only the graph has.
var graphFormats = map[string]bool{"dot": true, "mermaid": true}

func graphCommand() *cli.Command {
	return &cli.Command{
		Name:  graphName,
		Usage: "show which containers stand on what",
		Description: `Layers grow from the base; below each layer are the storages that stand on it, with
their nodes from the open one down: Δ is a delta storage. --format is table (a tree), dot, mermaid or json.`,
		Flags: []cli.Flag{&cli.BoolFlag{Name: "all",
			Usage: "show every layer of long chains, and layers that nothing but containerd needs"}},
		Action: action(func(ctx context.Context, c *cli.Command, client api.ControlClient) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			stream, err := client.Graph(ctx, &api.GraphRequest{})
			w := c.Root().Writer
			if c.String("format") == formatJSON {
				return shown(c, stream, err, newTable(w), nil, nil)
			}
			r, err := api.Whole(stream, err)
			if err != nil {
				return err
			}
			switch c.String("format") {
			case "dot":
				return printDOT(w, newPicture(r, c.Bool("all")))
			case "mermaid":
				return printMermaid(w, newPicture(r, c.Bool("all")))
			}
			return printTree(w, newPicture(r, c.Bool("all")))
		}),
	}
}

// picture is the graph as it is drawn.
type picture struct {
	nodes    map[uint64]*api.Node
	order    []*api.Node
	storages map[uint64][]*api.Storage // by base
	updates  []*api.Update
	refs     map[uint64][]string // names of images, by their topmost layer
	all      bool
	shown    map[uint64]bool
	ends     map[uint64]bool // of updates
}

func newPicture(r *api.GraphResponse, all bool) *picture {
	p := &picture{
		nodes: map[uint64]*api.Node{}, order: r.GetNodes(), updates: r.GetUpdates(), all: all,
		storages: map[uint64][]*api.Storage{}, refs: map[uint64][]string{}, shown: map[uint64]bool{},
		ends: map[uint64]bool{},
	}
	for _, n := range r.GetNodes() {
		p.nodes[n.GetId()] = n
		for _, image := range n.GetImages() {
			p.name(n.GetId(), image)
		}
	}
	for _, s := range r.GetStorages() {
		if !s.GetUnpacking() {
			p.storages[s.GetBase()] = append(p.storages[s.GetBase()], s)
			p.show(s.GetBase())
			for _, point := range slices.Concat(s.GetPoints(), s.GetAside()) {
				p.show(point.GetBase())
			}
		}
	}
	for _, u := range r.GetUpdates() {
		p.name(u.GetFrom(), u.GetFromRef())
		p.name(u.GetTo(), u.GetToRef())
		p.ends[u.GetFrom()], p.ends[u.GetTo()] = true, true
		p.show(u.GetFrom())
		p.show(u.GetTo())
	}
	return p
}

func (p *picture) name(id uint64, ref string) {
	if ref != "" && ref != nodeID(id) && !slices.Contains(p.refs[id], ref) {
		p.refs[id] = append(p.refs[id], ref)
	}
}

// show notes that something stands on a layer, so that it and the layers below it are drawn.
func (p *picture) show(id uint64) {
	for n := p.nodes[id]; n != nil && !p.shown[n.GetId()]; n = p.nodes[n.GetParent()] {
		p.shown[n.GetId()] = true
	}
}

// layersOn returns the layers to draw directly on a layer; 0 is the ground.
func (p *picture) layersOn(id uint64) []*api.Node {
	var list []*api.Node
	for _, n := range p.order {
		if n.GetKind() == api.NodeKind_NODE_KIND_LAYER && n.GetParent() == id && (p.all || p.shown[n.GetId()]) {
			list = append(list, n)
		}
	}
	return list
}

// plain reports whether a layer is just a step in a chain, of no interest by itself.
func (p *picture) plain(n *api.Node) bool {
	if p.all || p.ends[n.GetId()] || len(p.storages[n.GetId()]) > 0 || len(p.refs[n.GetId()]) > 0 ||
		n.GetDamage() != "" {
		return false
	}
	above := p.layersOn(n.GetId())
	return len(above) == 1 && above[0].GetAdded() == n.GetAdded()
}

// run follows a chain of plain layers up to the one that is drawn for all of them.
func (p *picture) run(n *api.Node) (top *api.Node, count int) {
	for count = 1; p.plain(n); count++ {
		n = p.layersOn(n.GetId())[0]
	}
	return n, count
}

func (p *picture) layerText(n *api.Node, count int) string {
	text := nodeID(n.GetId()) + " " + kindOf(n)
	if count > 1 {
		text += fmt.Sprintf(" (%d layers)", count)
	}
	if refs := p.refs[n.GetId()]; len(refs) > 0 {
		text += "  " + strings.Join(refs, ", ")
	}
	return text
}

// stackText writes the nodes of a storage from the open one down.
func (p *picture) stackText(s *api.Storage) string {
	var parts []string
	for _, id := range s.GetStack() {
		text := nodeID(id)
		if p.nodes[id].GetKind() == api.NodeKind_NODE_KIND_DELTA {
			text = "Δ" + text
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " on ")
}

func storageText(s *api.Storage) string {
	name := s.GetName()
	if s.GetAnonymous() {
		name = holder(s)
	} else if s.GetKey() != "" {
		name += " (" + holder(s) + ")"
	}
	if s.GetPending() != nil {
		name += ", next start: " + pendingText(s.GetPending())
	}
	return name
}

func printTree(w io.Writer, p *picture) error {
	var b strings.Builder
	p.tree(&b, 0, "")
	for _, u := range p.updates {
		fmt.Fprintf(&b, "%s: %s -> %s  %s", updateID(u.GetId()), nodeID(u.GetFrom()), nodeID(u.GetTo()), updateState(u))
		if len(u.GetOutcomes()) > 0 {
			fmt.Fprintf(&b, " (%s)", tally(u))
		}
		b.WriteString("\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (p *picture) tree(b *strings.Builder, id uint64, indent string) {
	storages, layers := p.storages[id], p.layersOn(id)
	for i, s := range storages {
		branch, _ := branches(i == len(storages)-1 && len(layers) == 0, id == 0)
		fmt.Fprintf(b, "%s%s● %s: %s\n", indent, branch, visible(storageText(s)), p.stackText(s))
	}
	for i, n := range layers {
		branch, below := branches(i == len(layers)-1, id == 0)
		top, count := p.run(n)
		fmt.Fprintf(b, "%s%s%s\n", indent, branch, visible(p.layerText(top, count)))
		p.tree(b, top.GetId(), indent+below)
	}
}

// branches returns how a line of the tree begins, and how the lines below it do.
func branches(last, ground bool) (branch, below string) {
	switch {
	case ground:
		return "", ""
	case last:
		return "└─ ", "   "
	}
	return "├─ ", "│  "
}
