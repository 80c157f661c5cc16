// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/distribution/reference"
	"github.com/opencontainers/image-spec/identity"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/binding"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// HomeOn returns what [Host.Rehome] has to write so that a container's record and key name an image with a layer on
// top, given by its chain ID. Of several such images it is the preferred one, else one of the repository of the
// container's image, else the first by name. It changes nothing itself.
//
// It fails with errdefs.ErrNotFound when there is no such container or image, and with errdefs.ErrFailedPrecondition
// when the record is not ours to change.
func (h *Host) HomeOn(ctx context.Context, namespace, container, layer, preferred string) (*binding.Home, error) {
	ctx = namespaces.WithNamespace(ctx, namespace)
	c, err := h.client.ContainerService().Get(ctx, container)
	if err != nil {
		return nil, err
	}
	with, err := h.imagesWith(ctx, layer)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, image := range with {
		names = append(names, image.Name())
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no image has layer %s on top: %w", layer, errdefs.ErrNotFound)
	}
	_, home, err := h.Refresh(ctx, namespace, container, c.Image, choose(names, preferred, c.Image))
	if err == nil && home == nil {
		err = fmt.Errorf("container %q names layer %s already: %w", container, layer, errdefs.ErrNotFound)
	}
	return home, err
}

// imagesWith returns the images with a layer on top, by name. One whose content is not all there is none.
func (h *Host) imagesWith(ctx context.Context, layer string) (with []client.Image, err error) {
	all, err := h.client.ListImages(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	for _, image := range all {
		diffs, err := image.RootFS(ctx)
		if err != nil {
			log.G(ctx).WithError(err).WithField("image", image.Name()).Debug("image left out")
			continue
		}
		if identity.ChainID(diffs).String() == layer {
			with = append(with, image)
		}
	}
	slices.SortFunc(with, func(a, b client.Image) int { return strings.Compare(a.Name(), b.Name()) })
	return with, nil
}

// Announcements returns what each image with a layer on top, given by its chain ID, says that layer updates.
func (h *Host) Announcements(ctx context.Context, namespace, layer string) (map[string]string, error) {
	ctx = namespaces.WithNamespace(ctx, namespace)
	with, err := h.imagesWith(ctx, layer)
	if err != nil {
		return nil, err
	}
	says := map[string]string{}
	for _, image := range with {
		manifest, err := images.Manifest(ctx, h.client.ContentStore(), image.Target(), image.Platform())
		if err != nil {
			return nil, fmt.Errorf("read the manifest of image %q: %w", image.Name(), err)
		}
		says[image.Name()] = ""
		if n := len(manifest.Layers); n > 0 {
			says[image.Name()] = manifest.Layers[n-1].Annotations[updates.LabelUpdateOf]
		}
	}
	return says, nil
}

// choose returns which of some images a container is to name that named another one.
func choose(names []string, preferred, before string) string {
	of := repository(before)
	for _, fits := range []func(name string) bool{
		func(name string) bool { return name == preferred || name == fullName(preferred) },
		func(name string) bool { return of != "" && repository(name) == of },
	} {
		if i := slices.IndexFunc(names, fits); i >= 0 {
			return names[i]
		}
	}
	return names[0]
}

// fullName returns the name that containerd has of an image which people call by a short one; empty if it is no name.
func fullName(name string) string {
	full, err := reference.ParseDockerRef(name)
	if err != nil {
		return ""
	}
	return full.String()
}

// repository returns the part of an image's name before tag and digest; empty if it is no such name.
func repository(name string) string {
	named, err := reference.ParseDockerRef(name)
	if err != nil {
		return ""
	}
	return named.Name()
}
