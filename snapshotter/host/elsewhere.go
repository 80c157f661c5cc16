// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"io"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/log"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/grpc"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
)

// Elsewhere calls fn for each container of another snapshotter, in any namespace, whose record has one of the labels
// that molt knows and that the image does not have, and for each pod of another snapshotter with such an annotation,
// until fn fails. containerd sends one record at a time, and none of them is kept.
func (h *Host) Elsewhere(ctx context.Context, fn func(snapshotter.Elsewhere) error) error {
	all, err := h.client.NamespaceService().List(ctx)
	if err != nil {
		return fmt.Errorf("list namespaces: %w", err)
	}
	for _, namespace := range all {
		if err := h.elsewhereIn(namespaces.WithNamespace(ctx, namespace), namespace, fn); err != nil {
			return fmt.Errorf("list the containers of namespace %s: %w", namespace, err)
		}
	}
	return nil
}

func (h *Host) elsewhereIn(ctx context.Context, namespace string, fn func(snapshotter.Elsewhere) error) error {
	ctx, cancel := context.WithCancel(ctx) // which ends the stream when fn fails
	defer cancel()
	conn, ok := h.client.Conn().(grpc.ClientConnInterface)
	if !ok {
		return fmt.Errorf("connection to containerd is a %T, not one of gRPC: %w", h.client.Conn(),
			errdefs.ErrNotImplemented)
	}
	stream, err := containersapi.NewContainersClient(conn).ListStream(ctx, &containersapi.ListContainersRequest{})
	if err != nil {
		return errgrpc.ToNative(err)
	}
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return errgrpc.ToNative(err)
		}
		c := part.GetContainer()
		if c.GetSnapshotter() == h.snapshotter {
			continue
		}
		found, ok := h.elsewhere(ctx, c)
		if !ok {
			continue
		}
		found.Namespace, found.Container = namespace, c.GetID()
		found.Snapshotter, found.Ours = c.GetSnapshotter(), h.snapshotter
		if err := fn(found); err != nil {
			return err
		}
	}
}

// elsewhere returns what the maker of a container of another snapshotter asks molt for. As in [Host.Claim], the pod
// decides for containers of Kubernetes, and nothing that an image says counts.
func (h *Host) elsewhere(ctx context.Context, c *containersapi.Container) (found snapshotter.Elsewhere, ok bool) {
	if _, ofPod := c.GetExtensions()[extensionContainer]; ofPod {
		return found, false // its pod has a record of its own
	}
	if pause, ok := c.GetExtensions()[extensionPause]; ok {
		pod, err := readRecord(map[string]typeurl.Any{extensionPause: pause}, extensionPause)
		if err != nil {
			log.G(ctx).WithError(err).WithField("container",
				c.GetID()).Warn("the annotations of a pod of another snapshotter are not looked at")
			return found, false
		}
		config := pod.Metadata.Config
		found.Pod = or(config.Metadata.Namespace, defaultKubeNamespace) + "/" + config.Metadata.Name
		found.Label, found.Value = firstKnown(config.Annotations)
		return found, found.Label != ""
	}
	if found.Label, _ = firstKnown(c.GetLabels()); found.Label == "" {
		return found, false
	}
	fromImage, err := h.imageLabels(ctx, c.GetImage())
	if err != nil { // nobody knows then that the label is not the user's
		log.G(ctx).WithError(err).WithField("container", c.GetID()).Debug("the labels of the image are not known")
	}
	given := ours(c.GetLabels())
	for key, value := range fromImage {
		if given[key] == value {
			delete(given, key)
		}
	}
	found.Label, found.Value = firstKnown(given)
	return found, found.Label != ""
}

// firstKnown returns the first of the keys that molt knows which is among some labels, and its value; empty if none is.
func firstKnown(labels map[string]string) (key, value string) {
	for _, key := range knownKeys {
		if value, ok := labels[key]; ok {
			return key, value
		}
	}
	return "", ""
}
