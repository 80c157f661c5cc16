// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"encoding/json"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/binding"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
)

// Host is the containerd that the snapshotter serves. Those of its methods that are called while containerd waits for
// the snapshotter only read; MarkHeld and Rehome write. Rehome calls the snapshotter back. Keys are those that
// containerd itself uses, without the parts that its metadata store adds.
type Host interface {
	// Claim returns what the container with the key asks for. It fails with errdefs.ErrNotFound as long as there is
	// no such container.
	Claim(ctx context.Context, namespace, key string) (binding.Claim, error)
	// MarkHeld labels the record of a container that was started on the old base, because the update is held; with an
	// empty update it takes the label away. It fails with errdefs.ErrNotFound when the container is gone.
	MarkHeld(ctx context.Context, namespace, key, update string) error
	// Held returns the update that the label of MarkHeld names, for each container of this snapshotter that has the label.
	Held(ctx context.Context) (map[keys.Key]string, error)
	// Rehome makes a container's record and its key name one image, as the record that was planned for it says. A
	// call after a crash finishes what was begun. It fails with errdefs.ErrNotFound when the container is gone.
	Rehome(ctx context.Context, namespace, container string, record json.RawMessage) error
	// HomeOn returns how the record and the key of a container come to name an image with a layer on top, given by
	// its chain ID: the preferred image where that is one. It fails with errdefs.ErrNotFound when there is no such
	// image or container, and with errdefs.ErrFailedPrecondition when the record is not molt's to change.
	HomeOn(ctx context.Context, namespace, container, layer, preferred string) (*binding.Home, error)
	// Running tells whether the container with the key has a live task.
	Running(ctx context.Context, namespace, key string) (bool, error)
	// Visible reports whether this process sees the process of containerd, and so those of its containers: not from a
	// pid namespace of its own.
	Visible(ctx context.Context) (bool, error)
	// Layer returns the key of the topmost layer of an image, unpacked for this snapshotter.
	Layer(ctx context.Context, namespace, image string) (string, error)
	// Topmost returns the key of the topmost layer of an image, unpacked or not. containerd answers while a write
	// transaction of its metadata is open. It fails with errdefs.ErrNotFound when there is no such image.
	Topmost(ctx context.Context, namespace, image string) (string, error)
	// Announcements returns, by the name of each image with a layer on top, given by its chain ID, what the image
	// says that layer updates, see [LabelUpdateOf]; empty where it says nothing.
	Announcements(ctx context.Context, namespace, layer string) (map[string]string, error)
	// Images returns the names of all images by the origin of their topmost layer, for people to read.
	Images(ctx context.Context) (map[string][]string, error)
	// Snapshots returns the keys of all snapshots that containerd has of this snapshotter.
	Snapshots(ctx context.Context) ([]keys.Key, error)
	// Elsewhere calls fn for each container of another snapshotter whose maker asks molt for something, until fn fails.
	Elsewhere(ctx context.Context, fn func(Elsewhere) error) error
}

// Elsewhere is a container of another snapshotter that has a label which only molt reads.
type Elsewhere struct {
	Namespace, Container string
	// Pod is the pod, as NAMESPACE/NAME, whose annotation it is; empty for a label of the container.
	Pod string
	// Snapshotter is that of the container, empty if it has none; Ours is what containerd calls molt.
	Snapshotter, Ours string
	Label, Value      string
}
