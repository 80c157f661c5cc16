// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"fmt"
	"os"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/errtext"
)

// maxLower is how many lower directories overlayfs takes: OVL_MAX_STACK of the kernel.
const maxLower = 500

// mountable refuses a stack of nodes, the open one first, that no mount takes. Besides the number of lower
// directories, the length of the options counts: containerd passes one page to the kernel, in which it names lower
// directories from the directory of all nodes on.
func (s *Snapshotter) mountable(stack []dag.NodeID) error {
	if len(stack) < 2 {
		return nil
	}
	lower := len(stack) - 1
	size := 0
	for _, option := range s.activeMounts(stack)[0].Options {
		size += len(option) + len(",")
	}
	size -= lower * len(s.nodes.Published()+"/")
	if lower <= s.lower && size <= os.Getpagesize() {
		return nil
	}
	return fmt.Errorf("%d layers and storage nodes are more than one mount takes; moltctl layer merge merges delta layers "+
		"and says what keeps the others, and a smaller retention.points leaves fewer storage nodes: %w",
		lower, errdefs.ErrFailedPrecondition)
}

// tooDeep returns why a storage cannot be moved onto what is below its new nodes, an open one and perhaps a delta
// storage; empty when it can be mounted there.
func (s *Snapshotter) tooDeep(st dag.Storage, below []dag.NodeID) (reasons []string) {
	// The ids of the new nodes are not known, and are about as long as that of the head.
	if err := s.mountable(append([]dag.NodeID{st.Head, st.Head}, below...)); err != nil {
		reasons = append(reasons, "the storage could not be mounted on the new base: "+errtext.Of(err))
	}
	return reasons
}
