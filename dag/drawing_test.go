// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// drawing draws the graph the way the figures do: each layer stands on the one it is indented under, and so do the
// storages that stand on it, each with its nodes from the top down.
//
//	base                          a layer
//	  c before u1: w              the rollback point of storage c for update 1
//	  delta, added                a delta layer
//	    c of k-c: x* > d > w      storage c, held by key k-c: the open node x over delta storage d over w
//	    c aside of u2: y > x > w  what a rollback of update 2 set aside
func (w *world) drawing() string {
	var b strings.Builder
	w.drawOn(&b, 0, "")
	return b.String()
}

func (w *world) drawOn(b *strings.Builder, layer dag.NodeID, indent string) {
	for _, s := range w.g.Storages() {
		for _, line := range w.statesOn(s, layer) {
			fmt.Fprintf(b, "%s%s %s\n", indent, s.Name, line)
		}
	}
	for _, n := range w.g.Nodes() {
		if n.Kind == dag.Layer && n.Parent == layer {
			fmt.Fprintf(b, "%s%s%s\n", indent, w.label(n.ID), w.traits(n))
			w.drawOn(b, n.ID, indent+"  ")
		}
	}
}

// statesOn draws the states of a storage that stand on a layer.
func (w *world) statesOn(s dag.Storage, layer dag.NodeID) (lines []string) {
	add := func(head dag.NodeID, format string, args ...any) {
		if n, _ := w.g.Node(head); n.Base == layer {
			lines = append(lines, fmt.Sprintf(format, args...)+": "+w.stack(head)+waits(s, head))
		}
	}
	for _, p := range s.Points {
		add(p.Head, "before %v", p.Update)
	}
	holder := "free"
	if s.Key != "" {
		holder = "of " + s.Key
	}
	add(s.Head, "%s", holder)
	for _, p := range s.Aside {
		add(p.Head, "aside of %v", p.Update)
	}
	return lines
}

func waits(s dag.Storage, head dag.NodeID) string {
	switch p := s.Pending; {
	case p == nil || head != s.Head:
		return ""
	case p.Carry:
		return fmt.Sprintf(", waits to roll back %v and carry over", p.Update)
	case p.Rollback:
		return fmt.Sprintf(", waits to roll back %v", p.Update)
	default:
		return fmt.Sprintf(", waits for %v", p.Update)
	}
}

func (w *world) stack(head dag.NodeID) string {
	var labels []string
	for _, id := range w.g.Stack(head) {
		labels = append(labels, w.label(id))
	}
	return strings.Join(labels, " > ")
}

// label writes a node: "*" marks the open ones, "(...)" the merged and removed ones.
func (w *world) label(id dag.NodeID) string {
	n, ok := w.g.Node(id)
	switch label := w.labels[id]; {
	case id == 0:
		return "nothing"
	case !ok:
		return "(" + label + ")"
	case !n.Frozen:
		return label + "*"
	default:
		return label
	}
}

func (w *world) traits(n dag.Node) string {
	var b strings.Builder
	if n.Added {
		b.WriteString(", added")
	}
	if n.Unsynced != "" {
		b.WriteString(", unsynced")
	}
	if n.Damage != "" {
		b.WriteString(", damaged: " + n.Damage)
	}
	return b.String()
}

// names draws what containerd sees, a line for each name:
//
//	k-c: active on delta, parent base, storage c, bound
func (w *world) names() string {
	var b strings.Builder
	for _, n := range w.g.Names() {
		fmt.Fprintf(&b, "%s: %s on %s", n.Key, n.Kind, w.label(n.Node))
		if n.Parent != "" {
			b.WriteString(", parent " + n.Parent)
		}
		if n.Storage != "" {
			b.WriteString(", storage " + n.Storage)
		}
		if n.Identity != dag.Unknown {
			b.WriteString(", " + string(n.Identity))
		}
		if len(n.Labels) > 0 {
			fmt.Fprintf(&b, ", %v", n.Labels)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// updates draws the updates and what they came to.
func (w *world) updates() string {
	var b strings.Builder
	for _, u := range w.g.Updates() {
		fmt.Fprintf(&b, "%v %s -> %s %s\n", u.ID, w.label(u.From), w.label(u.To), u.State)
		for _, name := range slices.Sorted(maps.Keys(u.Outcomes)) {
			fmt.Fprintf(&b, "  %s %s\n", name, w.outcome(u.Outcomes[name]))
		}
	}
	return b.String()
}

func (w *world) outcome(o dag.Outcome) string {
	text := string(o.State)
	if o.Delta != 0 {
		text += " with " + w.label(o.Delta)
	}
	if len(o.Reasons) > 0 {
		text += ": " + strings.Join(o.Reasons, ", ")
	}
	if o.Report != "" {
		text += ", " + o.Report
	}
	return text
}
