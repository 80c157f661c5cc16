// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	_ "crypto/sha512"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/identifiers"
	"github.com/opencontainers/go-digest"
)

// Host is the containerd that the snapshotter serves. Those of its methods that are called while containerd waits
// for the snapshotter only read; MarkHeld and Rehome write. Rehome calls the snapshotter back. Keys are those that containerd itself uses, without the parts that its metadata store adds.
type Host interface {
	// Claim returns what the container with the key asks for. It fails with errdefs.ErrNotFound as long as there is no such
	// container.
	Claim(ctx context.Context, namespace, key string) (Claim, error)
	// MarkHeld labels the record of a container that was started on the old base, because the update is held; with an empty
	// update it takes the label away. It fails with errdefs.ErrNotFound when the container is gone.
	MarkHeld(ctx context.Context, namespace, key, update string) error
	// Held returns the update that the label of MarkHeld names, for each container of this snapshotter that has the label.
	Held(ctx context.Context) (map[Key]string, error)
	// Rehome makes a container's record and its key name one image, as the record that was planned for it says. A call after a
	// crash finishes what was begun. It fails with errdefs.ErrNotFound when the container is gone.
	Rehome(ctx context.Context, namespace, container string, record json.RawMessage) error
	// HomeOn returns how the record and the key of a container come to name an image with a layer on top, given by its chain ID:
	// the preferred image where that is one. It fails with errdefs.ErrNotFound when there is no such image or container, and with
	// errdefs.ErrFailedPrecondition when the record is not molt's to change.
	HomeOn(ctx context.Context, namespace, container, layer, preferred string) (*Home, error)
	// Running tells whether the container with the key has a live task.
	Running(ctx context.Context, namespace, key string) (bool, error)
	// Visible reports whether this process sees the process of containerd, and so those of its containers: not from a
	// pid namespace of its own.
	Visible(ctx context.Context) (bool, error)
	// Layer returns the key of the topmost layer of an image, unpacked for this snapshotter.
	Layer(ctx context.Context, namespace, image string) (string, error)
	// Topmost returns the key of the topmost layer of an image, unpacked or not. containerd answers while a write transaction of
	// its metadata is open. It fails with errdefs.ErrNotFound when there is no such image.
	Topmost(ctx context.Context, namespace, image string) (string, error)
	// Announcements returns, by the name of each image with a layer on top, given by its chain ID, what the image says that layer
	// updates, see [LabelUpdateOf]; empty where it says nothing.
	Announcements(ctx context.Context, namespace, layer string) (map[string]string, error)
	// Images returns the names of all images by the origin of their topmost layer, for people to read.
	Images(ctx context.Context) (map[string][]string, error)
	// Snapshots returns the keys of all snapshots that containerd has of this snapshotter.
	Snapshots(ctx context.Context) ([]Key, error)
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

// backendKey is a key as containerd's metadata store hands it to a snapshotter: "<namespace>/<sequence>/<key>".
type backendKey struct{ namespace, key string }

// parseKey splits the key of a snapshot. Keys that were not made by a metadata store have no namespace.
func parseKey(key string) backendKey {
	namespace, rest, ok := strings.Cut(key, "/")
	sequence, own, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || namespace == "" {
		return backendKey{key: key}
	}
	if n, err := strconv.ParseUint(sequence, 10, 64); err != nil || strconv.FormatUint(n, 10) != sequence {
		return backendKey{key: key}
	}
	return backendKey{namespace: namespace, key: own}
}

// OwnKey returns the containerd namespace of a snapshot key and the key as clients of containerd know it. Keys that
// were not made by a metadata store have no namespace.
func OwnKey(key string) (namespace, own string) {
	k := parseKey(key)
	return k.namespace, k.key
}

// Container returns the id of the container that a snapshot key belongs to, empty if it cannot be a container's:
// containerd gives containers ids that are identifiers, and clients make keys of other forms for what they unpack or
// look at.
func Container(key string) string {
	if own := parseKey(key).key; identifiers.Validate(own) == nil {
		return own
	}
	return ""
}

// Unpacking reports whether a snapshot key is one under which containerd unpacks an image layer.
func Unpacking(key string) bool { return parseKey(key).extraction() }

// extraction reports whether a key is one under which containerd unpacks an image layer: "extract-<unique> <chain ID>",
// see snapshots.UnpackKeyFormat. The key of a container is never one, because ids of containers have no blanks. What an
// image says is not trusted, and its layers' annotations arrive as labels here.
func (k backendKey) extraction() bool {
	unique, chain, ok := strings.Cut(strings.TrimPrefix(k.key, snapshots.UnpackKeyPrefix+"-"), " ")
	return ok && unique != "" && k.key == fmt.Sprintf(snapshots.UnpackKeyFormat, unique, chain) && isDigest(chain)
}

// unpacks reports whether a key is prepared to unpack an image layer into it: by its form, or because the unpacker says
// so. The label counts only here: later, any client can set it on the key of a container.
func (k backendKey) unpacks(labels map[string]string) bool {
	return k.extraction() || labels[snapshots.LabelSnapshotRef] != ""
}

// isDigest reports whether a text is a whole digest, not only the beginning of one.
func isDigest(text string) bool {
	_, err := digest.Parse(text)
	return err == nil
}

// origin is what stays the same of a layer's name when the same image is unpacked again. Only a chain ID is that: other
// names are given by people, to anything.
func (k backendKey) origin() string {
	if !isDigest(k.key) {
		return ""
	}
	return Origin(k.namespace, k.key)
}

// Origin returns the origin of a layer with a chain ID in a containerd namespace.
func Origin(namespace, chainID string) string { return namespace + "/" + chainID }
