// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package keys reads the keys that containerd gives to a snapshotter, and names storages.
package keys

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/identifiers"
	"github.com/opencontainers/go-digest"
)

// Key is a key of containerd's in one of its namespaces.
type Key struct{ Namespace, Key string }

// Parse splits the key of a snapshot as containerd's metadata store hands it to a snapshotter:
// "<namespace>/<sequence>/<key>". Keys that were not made by a metadata store have no namespace.
func Parse(key string) Key {
	namespace, rest, ok := strings.Cut(key, "/")
	sequence, own, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || namespace == "" {
		return Key{Key: key}
	}
	if n, err := strconv.ParseUint(sequence, 10, 64); err != nil || strconv.FormatUint(n, 10) != sequence {
		return Key{Key: key}
	}
	return Key{Namespace: namespace, Key: own}
}

// Container returns the id of the container that a snapshot key belongs to, empty if it cannot be a container's:
// containerd gives containers ids that are identifiers, and clients make keys of other forms for what they unpack or
// look at.
func Container(key string) string {
	if own := Parse(key).Key; identifiers.Validate(own) == nil {
		return own
	}
	return ""
}

// Unpacking reports whether a snapshot key is one under which containerd unpacks an image layer.
func Unpacking(key string) bool { return Parse(key).Extraction() }

// Describe names a key for people: as a container, where it can be one, or as a snapshot.
func Describe(key string) string {
	in := ""
	if namespace := Parse(key).Namespace; namespace != "" {
		in = fmt.Sprintf(" (namespace %s)", namespace)
	}
	if id := Container(key); id != "" {
		return fmt.Sprintf("container %q", id) + in
	}
	return fmt.Sprintf("snapshot %q", Parse(key).Key) + in
}

// Extraction reports whether a key is one under which containerd unpacks an image layer: "extract-<unique> <chain ID>",
// see snapshots.UnpackKeyFormat. The key of a container is never one, because ids of containers have no blanks. What an
// image says is not trusted, and its layers' annotations arrive as labels here.
func (k Key) Extraction() bool {
	unique, chain, ok := strings.Cut(strings.TrimPrefix(k.Key, snapshots.UnpackKeyPrefix+"-"), " ")
	return ok && unique != "" && k.Key == fmt.Sprintf(snapshots.UnpackKeyFormat, unique, chain) && IsDigest(chain)
}

// Unpacks reports whether a key is prepared to unpack an image layer into it: by its form, or because the unpacker says
// so. The label counts only here: later, any client can set it on the key of a container.
func (k Key) Unpacks(labels map[string]string) bool {
	return k.Extraction() || labels[snapshots.LabelSnapshotRef] != ""
}

// IsDigest reports whether a text is a whole digest, not only the beginning of one.
func IsDigest(text string) bool {
	_, err := digest.Parse(text)
	return err == nil
}

// Origin is what stays the same of a layer's name when the same image is unpacked again. Only a chain ID is that: other
// names are given by people, to anything.
func (k Key) Origin() string {
	if !IsDigest(k.Key) {
		return ""
	}
	return Origin(k.Namespace, k.Key)
}

// Origin returns the origin of a layer with a chain ID in a containerd namespace.
func Origin(namespace, chainID string) string { return namespace + "/" + chainID }
