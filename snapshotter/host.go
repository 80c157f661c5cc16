// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/binding"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// Host is the containerd that the snapshotter serves. Those of its methods that are called while containerd waits for
// the snapshotter only read; MarkHeld and Rehome write. Keys are those that containerd itself uses, without the parts
// that its metadata store adds.
type Host interface {
	binding.Host
	updates.Host
	use.Host
	// Layer returns the key of the topmost layer of an image, unpacked for this snapshotter.
	Layer(ctx context.Context, namespace, image string) (string, error)
	// Images returns the names of all images by the origin of their topmost layer, for people to read.
	Images(ctx context.Context) (map[string][]string, error)
	// Elsewhere calls fn for each container of another snapshotter whose maker asks molt for something, until fn fails.
	Elsewhere(ctx context.Context, fn func(Elsewhere) error) error
}

// Elsewhere is a container of another snapshotter that has a label which only molt reads.
type Elsewhere struct {
	Namespace, Container string
	// Pod is the pod, as NAMESPACE/NAME, whose annotation it is; empty for a label of the container.
	Pod string
	// Snapshotter is the snapshotter of the container, empty if it has none; Ours is what containerd calls molt.
	Snapshotter, Ours string
	Label, Value      string
}
