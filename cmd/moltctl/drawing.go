// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// edge is an arrow of the drawing, from the dependent node to what it depends on, or an update.
type edge struct {
	from, to string
	label    string
	update   bool
}

// drawn is the graph as boxes and arrows.
type drawn struct {
	boxes []box
	edges []edge
}

type box struct {
	id, text string
	shape    string // layer, storage or container
}

// draw turns a picture into boxes and arrows; each node of a storage is one.
func draw(p *picture) drawn {
	var d drawn
	p.drawLayers(&d, 0, "")
	for _, base := range slices.Sorted(maps.Keys(p.storages)) {
		for _, s := range p.storages[base] {
			p.drawStorage(&d, s, base)
		}
	}
	for _, u := range p.updates {
		if p.shown[u.GetFrom()] && p.shown[u.GetTo()] {
			d.edges = append(d.edges, edge{from: nodeID(u.GetFrom()), to: nodeID(u.GetTo()),
				label: updateID(u.GetId()) + " " + updateState(u), update: true})
		}
	}
	return d
}

func (p *picture) drawLayers(d *drawn, id uint64, below string) {
	for _, n := range p.layersOn(id) {
		top, count := p.run(n)
		d.boxes = append(d.boxes, box{id: nodeID(top.GetId()), text: visible(p.layerText(top, count)), shape: "layer"})
		if below != "" {
			d.edges = append(d.edges, edge{from: nodeID(top.GetId()), to: below})
		}
		p.drawLayers(d, top.GetId(), nodeID(top.GetId()))
	}
}

func (p *picture) drawStorage(d *drawn, s *api.Storage, base uint64) {
	if base != 0 {
		d.edges = append(d.edges, edge{from: nodeID(s.GetHead()), to: nodeID(base)})
	}
	for i, id := range s.GetStack() {
		// What another storage shares, and all below it, is drawn already.
		if slices.ContainsFunc(d.boxes, func(b box) bool { return b.id == nodeID(id) }) {
			return
		}
		n := p.nodes[id]
		text := nodeID(id) + " " + kindOf(n)
		if i == 0 {
			text += "  " + storageText(s)
		}
		d.boxes = append(d.boxes, box{id: nodeID(id), text: visible(text), shape: "storage"})
		if i+1 < len(s.GetStack()) {
			d.edges = append(d.edges, edge{from: nodeID(id), to: nodeID(s.GetStack()[i+1])})
		}
	}
}

func printDOT(w io.Writer, p *picture) error {
	shapes := map[string]string{"layer": "box", "storage": "ellipse"}
	var b strings.Builder
	b.WriteString("digraph molt {\n  rankdir=BT;\n")
	d := draw(p)
	for _, x := range d.boxes {
		fmt.Fprintf(&b, "  %s [shape=%s, label=%q];\n", x.id, shapes[x.shape], x.text)
	}
	for _, e := range d.edges {
		if e.update {
			fmt.Fprintf(&b, "  %s -> %s [style=dashed, constraint=false, label=%q];\n", e.from, e.to, e.label)
			continue
		}
		fmt.Fprintf(&b, "  %s -> %s;\n", e.from, e.to)
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func printMermaid(w io.Writer, p *picture) error {
	var b strings.Builder
	b.WriteString("graph BT\n")
	d := draw(p)
	for _, x := range d.boxes {
		text := strings.ReplaceAll(x.text, `"`, "#quot;")
		if x.shape == "layer" {
			fmt.Fprintf(&b, "  %s[\"%s\"]\n", x.id, text)
			continue
		}
		fmt.Fprintf(&b, "  %s([\"%s\"])\n", x.id, text)
	}
	for _, e := range d.edges {
		if e.update {
			fmt.Fprintf(&b, "  %s -. %s .-> %s\n", e.from, e.label, e.to)
			continue
		}
		fmt.Fprintf(&b, "  %s --> %s\n", e.from, e.to)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
