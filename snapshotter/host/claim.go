// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/containerd/typeurl/v2"

	"github.com/molt-snapshotter/molt-snapshotter/dag"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/binding"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
)

// What containerd's CRI plugin writes into the records of containers and sandboxes. It labels them, too, but labels can
// come from an image.
const (
	extensionContainer   = "io.cri-containerd.container.metadata"
	extensionPause       = "io.cri-containerd.sandbox.metadata" // in the record of the sandbox's own container
	extensionSandbox     = "metadata"
	recordVersion        = "v1"
	defaultKubeNamespace = "default"
)

// Claim returns what a container asks for: by a label when it was made with ctr, nerdctl or a client of its own, by an
// annotation of its pod in Kubernetes, where each container of the pod has a storage of its own, within the pod's
// namespace. What an image says never counts.
//
// It fails with errdefs.ErrNotFound when containerd has no such container (yet), and with errdefs.ErrInvalidArgument
// when the container asks for something that cannot be, or has a label of molt's that molt does not know.
func (h *Host) Claim(ctx context.Context, namespace, key string) (binding.Claim, error) {
	ctx = namespaces.WithNamespace(ctx, namespace)
	c, err := h.client.ContainerService().Get(ctx, key)
	if err != nil {
		return binding.Claim{}, err
	}
	if c.SnapshotKey != key || c.Snapshotter != h.snapshotter {
		return binding.Claim{}, nil
	}
	if _, ok := c.Extensions[extensionPause]; ok {
		return binding.Claim{}, nil
	}
	if _, ok := c.Extensions[extensionContainer]; ok {
		return h.claimOfPod(ctx, namespace, c)
	}
	return h.claimOfLabel(ctx, namespace, c)
}

// claimOfLabel reads the labels of a container. containerd copies the labels of an image into the container, so a label
// that the image has, too, was not given by whoever made the container.
func (h *Host) claimOfLabel(ctx context.Context, namespace string, c containers.Container) (binding.Claim, error) {
	given := ours(c.Labels)
	if len(given) == 0 {
		return binding.Claim{}, nil
	}
	fromImage, err := h.imageLabels(ctx, c.Image)
	if err != nil {
		return binding.Claim{}, fmt.Errorf("whether labels of container %q are those of image %q cannot be told: %w",
			c.ID, c.Image, err)
	}
	for key, value := range given {
		if of, has := fromImage[key]; has && of == value {
			log.G(ctx).WithFields(log.Fields{"container": c.ID, "image": c.Image}).Warn("label " + key +
				" comes from the image and is ignored")
			delete(given, key)
		}
	}
	if err := h.known(ctx, given, fmt.Sprintf("label %%s of container %q", c.ID)); err != nil {
		return binding.Claim{}, err
	}
	value, ok := given[StorageKey]
	if !ok {
		return binding.Claim{}, nil
	}
	name, err := keys.StorageName(namespace, value)
	if err != nil {
		return binding.Claim{}, fmt.Errorf("label %s of container %q: %w", StorageKey, c.ID, err)
	}
	return binding.Claim{Storage: name, Container: onRecord(c, given, dag.FromContainer)}, nil
}

func (h *Host) imageLabels(ctx context.Context, name string) (map[string]string, error) {
	if name == "" {
		return nil, nil
	}
	image, err := h.client.GetImage(ctx, name)
	if err != nil {
		// Not "not found": that would mean that there is no container.
		return nil, fmt.Errorf("%w: %s", errdefs.ErrUnavailable, err.Error())
	}
	spec, err := image.Spec(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", errdefs.ErrUnavailable, err.Error())
	}
	return spec.Config.Labels, nil
}

// record is what CRI keeps in an extension of a container or sandbox record, as far as it matters here.
type record struct {
	Version  string
	Metadata struct {
		SandboxID string
		Config    struct {
			Metadata struct {
				Name      string `json:"name"`
				Namespace string `json:"namespace"`
			} `json:"metadata"`
			Annotations map[string]string `json:"annotations"`
		}
	}
}

func (h *Host) claimOfPod(ctx context.Context, namespace string, c containers.Container) (binding.Claim, error) {
	container, err := readRecord(c.Extensions, extensionContainer)
	if err != nil {
		return binding.Claim{}, fmt.Errorf("container %q: %w", c.ID, err)
	}
	id := c.SandboxID
	if id == "" {
		id = container.Metadata.SandboxID
	}
	sandbox, err := h.client.SandboxStore().Get(ctx, id)
	if err != nil {
		return binding.Claim{}, fmt.Errorf("read sandbox %q of container %q: %w: %s", id, c.ID, errdefs.ErrUnavailable,
			err.Error())
	}
	pod, err := readRecord(sandbox.Extensions, extensionSandbox)
	if err != nil {
		return binding.Claim{}, fmt.Errorf("sandbox %q of container %q: %w", id, c.ID, err)
	}
	kubeNamespace, podName := or(pod.Metadata.Config.Metadata.Namespace, defaultKubeNamespace),
		pod.Metadata.Config.Metadata.Name
	given := ours(pod.Metadata.Config.Annotations)
	if err := h.known(ctx, given, fmt.Sprintf("annotation %%s of pod %q", podName)); err != nil {
		return binding.Claim{}, err
	}
	claim, ok := given[StorageKey]
	if !ok {
		return binding.Claim{}, nil
	}
	name, err := keys.StorageName(namespace, kubeNamespace, claim, container.Metadata.Config.Metadata.Name)
	if err != nil {
		return binding.Claim{}, fmt.Errorf("annotation %s of pod %q: %w", StorageKey, podName, err)
	}
	known := onRecord(c, given, dag.FromPod)
	known.Pod = kubeNamespace + "/" + podName
	return binding.Claim{Storage: name, Container: known}, nil
}

// readRecord reads the record that CRI keeps in an extension. One that is not there, or not understood, says nothing:
// not that no storage is asked for.
func readRecord(extensions map[string]typeurl.Any, name string) (r record, err error) {
	ext, ok := extensions[name]
	if !ok {
		return r, fmt.Errorf("there is no CRI record: %w", errdefs.ErrUnavailable)
	}
	if err := json.Unmarshal(ext.GetValue(), &r); err != nil {
		return r, fmt.Errorf("read CRI record: %w: %w", errdefs.ErrUnavailable, err)
	}
	if r.Version != recordVersion {
		return r, fmt.Errorf("read CRI record: version %q is not known: %w", r.Version, errdefs.ErrUnavailable)
	}
	return r, nil
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
