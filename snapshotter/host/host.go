// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package host asks a containerd what the snapshotter has to know about containers and images.
package host

import (
	"context"
	"fmt"
	"time"

	_ "github.com/containerd/containerd/api/events" // typeurl reads what is linked in
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/log"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/image-spec/identity"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
)

// Host is a containerd, by its socket. It implements snapshotter.Host.
type Host struct {
	client      *client.Client
	snapshotter string
	unknown     UnknownLabels
	address     string
}

// Option changes what a [Host] does.
type Option func(*Host)

// WithUnknownLabels sets what happens to a container with a label of molt's that molt does not know; refused by
// default.
func WithUnknownLabels(u UnknownLabels) Option { return func(h *Host) { h.unknown = u } }

// reconnect bounds how long it takes to notice that containerd is there again.
const reconnect = time.Second

// New returns the containerd that listens on a socket and knows this snapshotter by the given name. The connection is
// made when it is first needed, and again when it was lost.
func New(address, name string, options ...Option) (*Host, error) {
	c, err := client.New(address, client.WithExtraDialOpts([]grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: reconnect / 10, Multiplier: 2, MaxDelay: reconnect},
		MinConnectTimeout: reconnect,
	})}))
	if err != nil {
		return nil, fmt.Errorf("connect to containerd: %w", err)
	}
	h := &Host{client: c, snapshotter: name, address: address, unknown: RefuseUnknown}
	for _, option := range options {
		option(h)
	}
	return h, nil
}

// Close ends the connection.
func (h *Host) Close() error { return h.client.Close() }

// Running reports whether a container has a task that has not ended.
func (h *Host) Running(ctx context.Context, namespace, key string) (bool, error) {
	ctx = namespaces.WithNamespace(ctx, namespace)
	r, err := h.client.TaskService().Get(ctx, &tasksapi.GetRequest{ContainerID: key})
	if err != nil {
		if err = errgrpc.ToNative(err); errdefs.IsNotFound(err) {
			return false, nil
		}
		return false, fmt.Errorf("ask containerd for the task of %q: %w", key, err)
	}
	return r.GetProcess().GetStatus() != task.Status_STOPPED, nil
}

// Layer returns the chain ID of an image, after unpacking it for this snapshotter if it was not.
func (h *Host) Layer(ctx context.Context, namespace, name string) (string, error) {
	ctx = namespaces.WithNamespace(ctx, namespace)
	image, err := h.image(ctx, name)
	if err != nil {
		return "", err
	}
	unpacked, err := image.IsUnpacked(ctx, h.snapshotter)
	if err != nil {
		return "", err
	}
	if !unpacked {
		if err := image.Unpack(ctx, h.snapshotter); err != nil {
			return "", fmt.Errorf("unpack image %q: %w", name, err)
		}
	}
	diffs, err := image.RootFS(ctx)
	if err != nil {
		return "", err
	}
	return identity.ChainID(diffs).String(), nil
}

// Topmost returns the chain ID of an image as it is. It reads one image and nothing else.
func (h *Host) Topmost(ctx context.Context, namespace, name string) (string, error) {
	ctx = namespaces.WithNamespace(ctx, namespace)
	image, err := h.image(ctx, name)
	if err != nil {
		return "", err
	}
	diffs, err := image.RootFS(ctx)
	if err != nil {
		return "", fmt.Errorf("read the layers of image %q: %w", name, err)
	}
	return identity.ChainID(diffs).String(), nil
}

// Images returns the names of all images of all namespaces by the origin of their topmost layer. An image whose content
// is not all there is left out.
func (h *Host) Images(ctx context.Context) (map[string][]string, error) {
	all, err := h.client.NamespaceService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	names := map[string][]string{}
	for _, namespace := range all {
		ctx := namespaces.WithNamespace(ctx, namespace)
		images, err := h.client.ListImages(ctx)
		if err != nil {
			return nil, fmt.Errorf("list images of %s: %w", namespace, err)
		}
		for _, image := range images {
			diffs, err := image.RootFS(ctx)
			if err != nil {
				log.G(ctx).WithError(err).WithField("image", image.Name()).Debug("image left out")
				continue
			}
			origin := keys.Origin(namespace, identity.ChainID(diffs).String())
			names[origin] = append(names[origin], image.Name())
		}
	}
	return names, nil
}

// image finds an image by the name it has in containerd, or by the short form that people use.
func (h *Host) image(ctx context.Context, name string) (client.Image, error) {
	image, err := h.client.GetImage(ctx, name)
	if err == nil || !errdefs.IsNotFound(err) {
		return image, err
	}
	full := fullName(name)
	if full == "" || full == name {
		return nil, err
	}
	return h.client.GetImage(ctx, full)
}

// WatchTasks calls fn for every event in the life of a container's own task, with the time at which it happened, until
// the context ends. Events get lost, and none are told while containerd cannot be reached: nobody may rely on being
// told.
func (h *Host) WatchTasks(ctx context.Context, fn func(namespace, container string, at time.Time)) {
	for ctx.Err() == nil {
		err := h.watch(ctx, fn)
		if ctx.Err() != nil {
			return
		}
		log.G(ctx).WithError(err).Debug("lost the events of containerd")
		select {
		case <-ctx.Done():
		case <-time.After(reconnect):
		}
	}
}

// taskEvent is what the events of a task have in common.
type taskEvent interface{ GetContainerID() string }

// ofExec reports whether an event is that of a process which was executed in a container, not of the container's own.
// It says nothing of the container's mounts.
func ofExec(event any) bool {
	e, ok := event.(interface{ GetID() string })
	t, isTask := event.(taskEvent)
	return ok && isTask && e.GetID() != "" && e.GetID() != t.GetContainerID()
}

func (h *Host) watch(ctx context.Context, fn func(namespace, container string, at time.Time)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, errs := h.client.Subscribe(ctx, `topic=="/tasks/create"`, `topic=="/tasks/start"`, `topic=="/tasks/exit"`,
		`topic=="/tasks/delete"`)
	for {
		select {
		case err := <-errs:
			return err
		case e := <-events:
			event, err := typeurl.UnmarshalAny(e.Event)
			if err != nil {
				return fmt.Errorf("read event: %w", err)
			}
			if t, ok := event.(taskEvent); ok && !ofExec(event) {
				fn(e.Namespace, t.GetContainerID(), e.Timestamp)
			}
		}
	}
}
