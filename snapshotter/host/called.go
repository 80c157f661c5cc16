// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
)

// The labels by which clients name the containers that they show under another name than the id.
const (
	nerdctlName   = "nerdctl/name"
	podNamespace  = "io.kubernetes.pod.namespace"
	podName       = "io.kubernetes.pod.name"
	containerName = "io.kubernetes.container.name"
)

// Called returns what clients call the containers of this snapshotter: nerdctl's name, or namespace, pod and container
// in Kubernetes. Containers that go by their ids are left out. The names are for people to read: an image can have such
// labels, too.
func (h *Host) Called(ctx context.Context) (map[keys.Key]string, error) {
	all, err := h.client.NamespaceService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	called := map[keys.Key]string{}
	for _, namespace := range all {
		list, err := h.client.ContainerService().List(namespaces.WithNamespace(ctx, namespace),
			fmt.Sprintf("labels.%q", nerdctlName), fmt.Sprintf("labels.%q", containerName))
		if err != nil {
			return nil, fmt.Errorf("list the containers of namespace %s: %w", namespace, err)
		}
		for _, c := range list {
			if name := calledByClient(c); name != "" && c.Snapshotter == h.snapshotter {
				called[keys.Key{Namespace: namespace, Key: c.SnapshotKey}] = name
			}
		}
	}
	return called, nil
}

// calledByClient returns what the client calls a container, empty if that is its id.
func calledByClient(c containers.Container) string {
	if _, ofPod := c.Extensions[extensionContainer]; ofPod {
		return strings.Join([]string{c.Labels[podNamespace], c.Labels[podName], c.Labels[containerName]}, "/")
	}
	return c.Labels[nerdctlName]
}
