// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/failpoint"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/runconfig"
)

// home is what a container's record and key are to be: both name one image. It is kept with the intent to make it so,
// because the images may be gone when the next start of the daemon finishes it.
type home struct {
	// Created is when the container was made: another one may have its name by now.
	Created time.Time `json:"created"`
	// Key is the key of the container's snapshot, Parent the chain ID of the image that it is to be prepared on.
	Key    string `json:"key"`
	Parent string `json:"parent"`
	// Snapshot are the labels of the key.
	Snapshot map[string]string `json:"snapshot,omitempty"`
	Image    string            `json:"image"`
	SpecType string            `json:"spec_type"`
	Spec     []byte            `json:"spec"`
	// Labels are those to set in the record; an empty one is removed.
	Labels map[string]string `json:"labels,omitempty"`
}

// home returns what is to be written into the record of a container.
func (r refreshed) home() (home, error) {
	c := r.container
	spec, err := runconfig.WriteSpec(c.Spec.GetValue(), r.next)
	if err != nil {
		return home{}, fmt.Errorf("container %q: %w", c.ID, err)
	}
	to := home{Created: c.CreatedAt, Key: c.SnapshotKey, Image: r.image, SpecType: c.Spec.GetTypeUrl(), Spec: spec,
		Labels: map[string]string{}}
	all := maps.Clone(r.next.Labels)
	maps.Copy(all, c.Labels)
	for key := range all {
		if c.Labels[key] != r.next.Labels[key] {
			to.Labels[key] = r.next.Labels[key]
		}
	}
	return to, nil
}

// rehomeLease is how long what a re-homing needs is kept from being collected, should nobody end it.
const rehomeLease = time.Hour

// Rehome makes a container's record and its key name one image: the key is removed and prepared again on that image's
// chain, then the record is written. Each step is left out when it is done already, so that a call after a crash
// finishes what was begun. It fails with errdefs.ErrNotFound when the container is gone, and with
// errdefs.ErrFailedPrecondition as long as it runs.
func (h *Host) Rehome(ctx context.Context, namespace, container string, record json.RawMessage) (err error) {
	var to home
	if err := json.Unmarshal(record, &to); err != nil {
		return fmt.Errorf("read what is to be written for container %q: %w", container, err)
	}
	ctx = namespaces.WithNamespace(ctx, namespace)
	c, err := h.client.ContainerService().Get(ctx, container)
	if err != nil {
		return err
	}
	if !c.CreatedAt.Equal(to.Created) {
		return fmt.Errorf("container %q was made again since: %w", container, errdefs.ErrNotFound)
	}
	ctx, release, err := h.client.WithLease(ctx, leases.WithRandomID(), leases.WithExpiration(rehomeLease))
	if err != nil {
		return fmt.Errorf("take a lease: %w", err)
	}
	failpoint.RehomeLeased.Hit()
	defer func() { err = errors.Join(err, release(context.WithoutCancel(ctx))) }()
	if err := h.moveKey(ctx, container, to); err != nil {
		return err
	}
	failpoint.RehomePrepared.Hit()
	if err := h.unmark(ctx, to.Key); err != nil {
		return err
	}
	if err := h.writeRecord(ctx, container, to); err != nil {
		return err
	}
	failpoint.RehomeWritten.Hit()
	return nil
}

// moveKey sees to it that the key of a container stands on the chain that it is to.
func (h *Host) moveKey(ctx context.Context, container string, to home) error {
	service := h.client.SnapshotService(h.snapshotter)
	info, err := service.Stat(ctx, to.Key)
	switch {
	case err == nil && info.Parent == to.Parent:
		return nil
	case err != nil && !errdefs.IsNotFound(err):
		return fmt.Errorf("look up snapshot %q: %w", to.Key, err)
	}
	// What was prepared for a container that runs would be taken away under it.
	_, taskErr := h.client.TaskService().Get(ctx, &tasksapi.GetRequest{ContainerID: container})
	switch taskErr = errgrpc.ToNative(taskErr); {
	case taskErr == nil:
		return fmt.Errorf("container %q has a task; stop the container first: %w", container,
			errdefs.ErrFailedPrecondition)
	case !errdefs.IsNotFound(taskErr):
		return fmt.Errorf("ask containerd for the task of %q: %w", container, taskErr)
	}
	if err == nil {
		if err := service.Remove(ctx, to.Key); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove snapshot %q: %w", to.Key, err)
		}
	}
	failpoint.RehomeRemoved.Hit()
	labels := map[string]string{snapshotter.LabelRehoming: container}
	maps.Copy(labels, to.Snapshot)
	if _, err := service.Prepare(ctx, to.Key, to.Parent, snapshots.WithLabels(labels)); err != nil {
		return fmt.Errorf("prepare snapshot %q on %s: %w", to.Key, to.Parent, err)
	}
	return nil
}

// unmark takes the label away, in containerd's own record of a key, by which the key got its storage.
func (h *Host) unmark(ctx context.Context, key string) error {
	service := h.client.SnapshotService(h.snapshotter)
	info, err := service.Stat(ctx, key)
	if err != nil {
		return fmt.Errorf("look up snapshot %q: %w", key, err)
	}
	if info.Labels[snapshotter.LabelRehoming] == "" {
		return nil
	}
	without := snapshots.Info{Name: key, Labels: map[string]string{snapshotter.LabelRehoming: ""}}
	if _, err := service.Update(ctx, without, "labels."+snapshotter.LabelRehoming); err != nil {
		return fmt.Errorf("unmark snapshot %q: %w", key, err)
	}
	return nil
}

// writeRecord writes the parts of a record that differ, and only those: others may be writing labels of their own.
func (h *Host) writeRecord(ctx context.Context, container string, to home) error {
	changed := containers.Container{ID: container, Image: to.Image, Labels: map[string]string{},
		Spec: typeurl.Any(&anypb.Any{TypeUrl: to.SpecType, Value: to.Spec})}
	paths := []string{"spec", "image"}
	for _, key := range slices.Sorted(maps.Keys(to.Labels)) {
		// A label that is named and not there is removed.
		if value := to.Labels[key]; value != "" {
			changed.Labels[key] = value
		}
		paths = append(paths, "labels."+key)
	}
	if _, err := h.client.ContainerService().Update(ctx, changed, paths...); err != nil {
		return fmt.Errorf("write the record of container %q: %w", container, err)
	}
	return nil
}
