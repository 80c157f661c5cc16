// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/molt-snapshotter/molt-snapshotter/dag"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
)

// The labels of containers, and the annotations of pods, that molt reads.
const (
	// StorageKey names the storage that a container asks for.
	StorageKey = "molt.dev/storage"
	// HeldKey is written by molt: the update that is held for a container which started on the old base. It is taken
	// away when that is no longer so.
	HeldKey = "molt.dev/held"
)

const (
	ourKeys  = "molt.dev/"   // all of them begin with it
	freeKeys = "molt.dev/x-" // those that begin with it are anybody's
)

// knownKeys is all that molt reads or writes. What it keeps is state, so that a key that is misspelt must not pass for
// one that asks for nothing.
var knownKeys = []string{StorageKey, HeldKey}

// UnknownLabels says what happens to a container with a label of molt's that molt does not know.
type UnknownLabels string

// The policies for unknown labels.
const (
	// RefuseUnknown refuses the start of the container.
	RefuseUnknown UnknownLabels = "refuse"
	// WarnUnknown starts it and logs a warning, for nodes that are older than the manifests.
	WarnUnknown UnknownLabels = "warn"
)

// ours returns the labels that are molt's.
func ours(labels map[string]string) map[string]string {
	found := maps.Clone(labels)
	maps.DeleteFunc(found, func(key, _ string) bool {
		return !strings.HasPrefix(key, ourKeys) ||
			strings.HasPrefix(key, freeKeys)
	})
	return found
}

// known refuses keys that molt does not know; what is a format for the key that is at fault. It fails with
// errdefs.ErrInvalidArgument.
func (h *Host) known(ctx context.Context, given map[string]string, what string) error {
	for _, key := range slices.Sorted(maps.Keys(given)) {
		if slices.Contains(knownKeys, key) {
			continue
		}
		err := fmt.Errorf(what+" is not known; %s (keys that begin with %s are free): %w", key, nearest(key), freeKeys,
			errdefs.ErrInvalidArgument)
		if h.unknown != WarnUnknown {
			return err
		}
		log.G(ctx).WithError(err).Warn("the container starts in spite of it")
	}
	return nil
}

// nearest says which known key may be meant.
func nearest(key string) string {
	best, at := "", 4 // further away it is no slip
	for _, known := range knownKeys {
		if d := distance(strings.ToLower(key), known); d < at {
			best, at = known, d
		}
	}
	if best == "" {
		return "the known key is " + StorageKey
	}
	return "did you mean " + best + "?"
}

// distance is how many letters have to be added, dropped or exchanged to make one text of another.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// onRecord returns what is kept of a container.
func onRecord(c containers.Container, given map[string]string, origin dag.LabelOrigin) *dag.Container {
	r := &dag.Container{ID: c.ID, Image: c.Image, Runtime: c.Runtime.Name, Labels: map[string]dag.LabelOrigin{}}
	for key := range given {
		r.Labels[key] = origin
	}
	var spec specs.Spec
	if c.Spec == nil || json.Unmarshal(c.Spec.GetValue(), &spec) != nil {
		return r // of another kind of runtime: nothing more is known
	}
	if spec.Process != nil && spec.Process.Capabilities != nil {
		r.Capabilities = spec.Process.Capabilities.Bounding
	}
	r.UserNamespace = spec.Linux != nil && len(spec.Linux.UIDMappings) > 0
	return r
}

// MarkHeld labels the record of a container that was started on the old base, because the update is held. With an empty
// update it takes the label away. It fails with errdefs.ErrNotFound when there is no such container.
func (h *Host) MarkHeld(ctx context.Context, namespace, key, update string) error {
	ctx = namespaces.WithNamespace(ctx, namespace)
	labelled := containers.Container{ID: key, Labels: map[string]string{}}
	if update != "" { // a label that is named and not there is removed
		labelled.Labels[HeldKey] = update
	}
	if _, err := h.client.ContainerService().Update(ctx, labelled, "labels."+HeldKey); err != nil {
		return fmt.Errorf("label container %q: %w", key, err)
	}
	return nil
}

// Held returns the update that the label of [Host.MarkHeld] names, for each container of this snapshotter that has the
// label, in all namespaces.
func (h *Host) Held(ctx context.Context) (map[keys.Key]string, error) {
	all, err := h.client.NamespaceService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	found := map[keys.Key]string{}
	for _, namespace := range all {
		list, err := h.client.ContainerService().List(namespaces.WithNamespace(ctx, namespace),
			fmt.Sprintf("labels.%q", HeldKey))
		if err != nil {
			return nil, fmt.Errorf("list the containers of namespace %s: %w", namespace, err)
		}
		for _, c := range list {
			if c.Snapshotter == h.snapshotter {
				found[keys.Key{Namespace: namespace, Key: c.ID}] = c.Labels[HeldKey]
			}
		}
	}
	return found, nil
}
