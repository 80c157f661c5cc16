// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/runconfig"
)

// By these CRI's containers are known when their extensions are not.
const (
	kindLabel     = "io.cri-containerd.kind"
	kubeNamespace = "k8s.io"
)

// Refresh takes a container's record from the defaults of one image to those of another, and returns what changes. With
// dryRun nothing does. The record is written at once or not at all; a task that runs keeps what it has until the next one is
// made.
//
// It fails with errdefs.ErrNotFound when there is no such container or image, and with errdefs.ErrFailedPrecondition when the
// record is not ours to change.
func (h *Host) Refresh(ctx context.Context, namespace, id, from, to string, dryRun bool) ([]runconfig.Change, error) {
	ctx = namespaces.WithNamespace(ctx, namespace)
	c, err := h.client.ContainerService().Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := h.refreshable(namespace, c); err != nil {
		return nil, err
	}
	_, older, err := h.imageConfig(ctx, from)
	if err != nil {
		return nil, err
	}
	name, newer, err := h.imageConfig(ctx, to)
	if err != nil {
		return nil, err
	}
	if label, ok := c.Labels[StorageKey]; ok && label == newer.Labels[StorageKey] && label != older.Labels[StorageKey] {
		return nil, fmt.Errorf("image %q has label %s=%s, too: container %q would lose its storage: %w", to, StorageKey, label, id, errdefs.ErrFailedPrecondition)
	}
	is, err := runconfig.ReadSpec(c.Spec.GetValue())
	if err != nil {
		return nil, fmt.Errorf("container %q: %w: %w", id, errdefs.ErrFailedPrecondition, err)
	}
	is.Labels = c.Labels
	next, changes := runconfig.Rebase(is, older, newer)
	if c.Image != name {
		changes = append(changes, runconfig.Change{Subject: "image", Action: runconfig.Changed, Old: c.Image, New: name})
	}
	if dryRun || len(changes) == 0 {
		return changes, nil
	}
	return changes, h.rewrite(ctx, c, next, name)
}

// refreshable tells why a record is not ours to change.
func (h *Host) refreshable(namespace string, c containers.Container) error {
	_, container := c.Extensions[extensionContainer]
	_, pause := c.Extensions[extensionPause]
	_, kind := c.Labels[kindLabel]
	switch {
	case namespace == kubeNamespace, container, pause, kind:
		return fmt.Errorf("container %q belongs to Kubernetes: name the new image in the pod's specification, from which kubelet makes the container anew: %w", c.ID, errdefs.ErrFailedPrecondition)
	case c.Snapshotter != h.snapshotter:
		return fmt.Errorf("container %q is of snapshotter %q, not of %q: %w", c.ID, c.Snapshotter, h.snapshotter, errdefs.ErrFailedPrecondition)
	case c.Spec == nil:
		return fmt.Errorf("container %q has no specification: %w", c.ID, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// imageConfig returns what an image's containers run with, and the image's full name.
func (h *Host) imageConfig(ctx context.Context, name string) (string, ocispec.ImageConfig, error) {
	image, err := h.image(ctx, name)
	if err != nil {
		return "", ocispec.ImageConfig{}, err
	}
	spec, err := image.Spec(ctx)
	if err != nil {
		return "", ocispec.ImageConfig{}, fmt.Errorf("read the configuration of image %q: %w", name, err)
	}
	return image.Name(), spec.Config, nil
}

// rewrite writes the parts of a record that differ, and only those: others may be writing labels of their own.
func (h *Host) rewrite(ctx context.Context, c containers.Container, next runconfig.State, image string) error {
	spec, err := runconfig.WriteSpec(c.Spec.GetValue(), next)
	if err != nil {
		return fmt.Errorf("container %q: %w", c.ID, err)
	}
	changed := containers.Container{ID: c.ID, Image: image, Labels: next.Labels, Spec: typeurl.Any(&anypb.Any{TypeUrl: c.Spec.GetTypeUrl(), Value: spec})}
	paths := []string{"spec", "image"}
	all := maps.Clone(next.Labels)
	maps.Copy(all, c.Labels)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		// A label that is named and not there is removed.
		if c.Labels[key] != next.Labels[key] {
			paths = append(paths, "labels."+key)
		}
	}
	if _, err := h.client.ContainerService().Update(ctx, changed, paths...); err != nil {
		return fmt.Errorf("write the record of container %q: %w", c.ID, err)
	}
	return nil
}
