// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"encoding/json"
	"strings"
)

// Host is the containerd that the snapshotter serves. Those of its methods that are called while containerd waits
// for the snapshotter only read; MarkHeld and Rehome write. Keys are those that containerd itself uses, without the parts that its metadata store adds.
type Host interface {
	// Claim returns what the container with the key asks for. It fails with errdefs.ErrNotFound as long as there is no such
	// container.
	Claim(ctx context.Context, namespace, key string) (Claim, error)
	// MarkHeld labels the record of a container that was started on the old base, because the update is held.
	MarkHeld(ctx context.Context, namespace, key, update string) error
	// Rehome makes a container's record and its key name one image, as the record that was planned for it says. A call after a
	// crash finishes what was begun. It fails with errdefs.ErrNotFound when the container is gone.
	Rehome(ctx context.Context, namespace, container string, record json.RawMessage) error
	// Running tells whether the container with the key has a live task.
	Running(ctx context.Context, namespace, key string) (bool, error)
	// Visible reports whether this process sees the process of containerd, and so those of its containers: not from a
	// pid namespace of its own.
	Visible(ctx context.Context) (bool, error)
	// Layer returns the key of the topmost layer of an image, unpacked for this snapshotter.
	Layer(ctx context.Context, namespace, image string) (string, error)
	// Images returns the names of all images by the origin of their topmost layer, for people to read.
	Images(ctx context.Context) (map[string][]string, error)
	// Snapshots returns the keys of all snapshots that containerd has of this snapshotter.
	Snapshots(ctx context.Context) ([]Key, error)
}

// backendKey is a key as containerd's metadata store hands it to a snapshotter: "<namespace>/<sequence>/<key>".
type backendKey struct{ namespace, key string }

// parseKey splits the key of a snapshot. Keys that were not made by a metadata store have no namespace.
func parseKey(key string) backendKey {
	namespace, rest, ok := strings.Cut(key, "/")
	sequence, own, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || namespace == "" || sequence == "" || strings.Trim(sequence, "0123456789") != "" {
		return backendKey{key: key}
	}
	return backendKey{namespace: namespace, key: own}
}

// extraction tells whether a key is one under which containerd unpacks an image layer. What an image says is not trusted,
// and its layers' annotations arrive as labels here.
func (k backendKey) extraction() bool { return strings.HasPrefix(k.key, "extract-") }

// origin is what stays the same of a layer's name when the same image is unpacked again.
func (k backendKey) origin() string {
	if !strings.HasPrefix(k.key, "sha256:") && !strings.HasPrefix(k.key, "sha512:") {
		return ""
	}
	return Origin(k.namespace, k.key)
}

// Origin returns the origin of a layer with a chain ID in a containerd namespace.
func Origin(namespace, chainID string) string { return namespace + "/" + chainID }
