// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package overlay makes the mounts that show nodes, as far as the kernel takes them.
package overlay

import (
	"fmt"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/errtext"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/nodes"
)

// Mounts makes the mounts of nodes.
type Mounts struct {
	nodes   *nodes.Dir
	options []string // of every overlay mount
	lower   int      // how many lower directories a mount takes
}

// New returns what makes mounts of the nodes in a directory, with these options. Without options it asks the kernel
// what it knows. A mount takes as many lower directories as lower says.
func New(dir *nodes.Dir, options []string, lower int) (*Mounts, error) {
	if options == nil {
		var err error
		if options, err = probeOptions(dir); err != nil {
			return nil, fmt.Errorf("probe overlayfs: %w", err)
		}
	}
	return &Mounts{nodes: dir, options: options, lower: lower}, nil
}

// Options returns the options of every overlay mount.
func (m *Mounts) Options() []string { return m.options }

// MaxLower is how many lower directories overlayfs takes: OVL_MAX_STACK of the kernel.
const MaxLower = 500

// Fits refuses a stack of nodes, the open one first, that no mount takes. Besides the number of lower
// directories, the length of the options counts: containerd passes one page to the kernel, in which it names lower
// directories from the directory of all nodes on.
func (m *Mounts) Fits(stack []dag.NodeID) error {
	if len(stack) < 2 {
		return nil
	}
	lower := len(stack) - 1
	size := 0
	for _, option := range m.Active(stack)[0].Options {
		size += len(option) + len(",")
	}
	size -= lower * len(m.nodes.Published()+"/")
	if lower <= m.lower && size <= os.Getpagesize() {
		return nil
	}
	return fmt.Errorf("%d layers and storage nodes are more than one mount takes; "+
		"moltctl layer merge merges delta layers "+
		"and says what keeps the others, and a smaller retention.points leaves fewer storage nodes: %w",
		lower, errdefs.ErrFailedPrecondition)
}

// FitsView refuses layers that no mount takes.
func (m *Mounts) FitsView(layers []dag.NodeID) error {
	if len(layers) > m.lower {
		return fmt.Errorf("%d layers are more than one mount takes: %w", len(layers), errdefs.ErrFailedPrecondition)
	}
	return nil
}

// TooDeep returns why a storage cannot be moved onto what is below its new nodes, an open one and perhaps a delta
// storage; empty when it can be mounted there.
func (m *Mounts) TooDeep(st dag.Storage, below []dag.NodeID) (reasons []string) {
	// The ids of the new nodes are not known, and are about as long as that of the head.
	if err := m.Fits(append([]dag.NodeID{st.Head, st.Head}, below...)); err != nil {
		reasons = append(reasons, "the storage could not be mounted on the new base: "+errtext.Of(err))
	}
	return reasons
}

// View shows layers for reading.
func (m *Mounts) View(layers []dag.NodeID) []mount.Mount {
	switch len(layers) {
	case 0:
		return []mount.Mount{{Type: "bind", Source: m.nodes.Empty(), Options: []string{"ro", "rbind"}}}
	case 1:
		return []mount.Mount{{Type: "bind", Source: m.nodes.FS(layers[0]), Options: []string{"ro", "rbind"}}}
	}
	return []mount.Mount{{Type: "overlay", Source: "overlay",
		Options: append([]string{m.lowerdir(layers)}, m.options...)}}
}

// Active shows an open node, the first of the stack, over all the others.
func (m *Mounts) Active(stack []dag.NodeID) []mount.Mount {
	open := stack[0]
	if len(stack) == 1 {
		return []mount.Mount{{Type: "bind", Source: m.nodes.FS(open), Options: []string{"rw", "rbind"}}}
	}
	options := []string{m.lowerdir(stack[1:]), "upperdir=" + m.nodes.FS(open), "workdir=" + m.nodes.Work(open)}
	return []mount.Mount{{Type: "overlay", Source: "overlay", Options: append(options, m.options...)}}
}

func (m *Mounts) lowerdir(ids []dag.NodeID) string {
	return "lowerdir=" + strings.Join(m.nodes.Stack(ids), ":")
}
