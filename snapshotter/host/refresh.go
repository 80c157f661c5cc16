// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/binding"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/runconfig"
)

// By these CRI's containers are known when their extensions are not.
const (
	kindLabel     = "io.cri-containerd.kind"
	kubeNamespace = "k8s.io"
)

// Refresh returns what taking a container's record from the defaults of one image to those of another changes, and what
// is to be written by [Host.Rehome] for that: nil when there is nothing to do. It changes nothing itself.
//
// It fails with errdefs.ErrNotFound when there is no such container or image, and with errdefs.ErrFailedPrecondition
// when the record is not ours to change.
func (h *Host) Refresh(ctx context.Context, namespace, id, from, to string) ([]runconfig.Change, *binding.Home, error) {
	ctx = namespaces.WithNamespace(ctx, namespace)
	r, err := h.refreshed(ctx, namespace, id, from, to)
	if err != nil {
		return nil, nil, err
	}
	return h.planned(ctx, namespace, r)
}

// refreshed is a container and what is to be on record of it.
type refreshed struct {
	container containers.Container
	next      runconfig.State
	image     string
	changes   []runconfig.Change
}

// refreshed returns what taking a container's record from the defaults of one image to those of another changes.
func (h *Host) refreshed(ctx context.Context, namespace, id, from, to string) (r refreshed, err error) {
	c, err := h.client.ContainerService().Get(ctx, id)
	if err != nil {
		return r, err
	}
	if err := h.refreshable(namespace, c); err != nil {
		return r, err
	}
	_, older, err := h.imageConfig(ctx, from)
	if err != nil {
		return r, err
	}
	name, newer, err := h.imageConfig(ctx, to)
	if err != nil {
		return r, err
	}
	if label, ok := c.Labels[StorageKey]; ok && label == newer.Labels[StorageKey] && label != older.Labels[StorageKey] {
		return r, fmt.Errorf("image %q has label %s=%s, too: container %q would lose its storage: %w",
			to, StorageKey, label, id, errdefs.ErrFailedPrecondition)
	}
	is, err := runconfig.ReadSpec(c.Spec.GetValue())
	if err != nil {
		return r, fmt.Errorf("container %q: %w: %w", id, errdefs.ErrFailedPrecondition, err)
	}
	is.Labels = c.Labels
	r = refreshed{container: c, image: name}
	r.next, r.changes = runconfig.Rebase(is, older, newer)
	if c.Image != name {
		r.changes = append(r.changes, runconfig.Change{Subject: "image", Action: runconfig.Changed, Old: c.Image,
			New: name})
	}
	return r, nil
}

// planned adds that the key is prepared on another chain, and returns what is to be done, if anything.
func (h *Host) planned(ctx context.Context, namespace string, r refreshed) ([]runconfig.Change, *binding.Home, error) {
	to, err := r.home()
	if err != nil {
		return nil, nil, err
	}
	if to.Parent, err = h.Layer(ctx, namespace, r.image); err != nil {
		return nil, nil, err
	}
	was := ""
	info, err := h.client.SnapshotService(h.snapshotter).Stat(ctx, to.Key)
	switch {
	case err == nil:
		was, to.Snapshot = info.Parent, snapshotter.Given(info.Labels)
	case !errdefs.IsNotFound(err):
		return nil, nil, fmt.Errorf("look up snapshot %q: %w", to.Key, err)
	}
	if was != to.Parent {
		r.changes = append(r.changes, runconfig.Change{Subject: "snapshot", Action: runconfig.Changed, Old: was,
			New: to.Parent})
	}
	if !slices.ContainsFunc(r.changes, func(c runconfig.Change) bool {
		return c.Action != runconfig.Kept &&
			c.Action != runconfig.Note
	}) {
		return r.changes, nil, nil
	}
	record, err := json.Marshal(to)
	if err != nil {
		return nil, nil, fmt.Errorf("container %q: %w", r.container.ID, err)
	}
	return r.changes, &binding.Home{
		Namespace: namespace, Container: r.container.ID, Key: to.Key, Image: r.image, Layer: to.Parent, Record: record,
	}, nil
}

// refreshable tells why a record is not ours to change.
func (h *Host) refreshable(namespace string, c containers.Container) error {
	_, container := c.Extensions[extensionContainer]
	_, pause := c.Extensions[extensionPause]
	_, kind := c.Labels[kindLabel]
	switch {
	case namespace == kubeNamespace, container, pause, kind:
		return fmt.Errorf("container %q belongs to Kubernetes: name the new image in the pod's specification, from "+
			"which kubelet makes the container anew: %w", c.ID, errdefs.ErrFailedPrecondition)
	case c.Snapshotter != h.snapshotter:
		return fmt.Errorf("container %q is of snapshotter %q, not of %q: %w", c.ID, c.Snapshotter, h.snapshotter,
			errdefs.ErrFailedPrecondition)
	case c.SnapshotKey != c.ID:
		return fmt.Errorf("container %q has snapshot %q, of another name than its own, and cannot be refreshed: %w",
			c.ID, c.SnapshotKey, errdefs.ErrFailedPrecondition)
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
