// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package binding decides which storage a key of containerd has, and on which base: when a container is made, when it
// is started, and when its key is prepared again elsewhere.
package binding

import (
	"context"
	"encoding/json"
	"time"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/locks"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// Host is the containerd that knows containers and their keys. Claim, HomeOn, Held and Snapshots only read: they may
// be called while containerd waits for the snapshotter.
type Host interface {
	// Claim returns what the container with the key asks for. It fails with errdefs.ErrNotFound as long as there is
	// no such container.
	Claim(ctx context.Context, namespace, key string) (Claim, error)
	// MarkHeld labels the record of a container that was started on the old base, because the update is held; with an
	// empty update it takes the label away. It fails with errdefs.ErrNotFound when the container is gone.
	MarkHeld(ctx context.Context, namespace, key, update string) error
	// Held returns the update that the label of MarkHeld names, for each container of this snapshotter that has the
	// label.
	Held(ctx context.Context) (map[keys.Key]string, error)
	// Rehome makes a container's record and its key name one image, as the record that was planned for it says. It
	// calls the snapshotter back. A call after a crash finishes what was begun. It fails with errdefs.ErrNotFound
	// when the container is gone.
	Rehome(ctx context.Context, namespace, container string, record json.RawMessage) error
	// HomeOn returns how the record and the key of a container come to name an image with a layer on top, given by
	// its chain ID: the preferred image where that is one. It fails with errdefs.ErrNotFound when there is no such
	// image or container, and with errdefs.ErrFailedPrecondition when the record is not molt's to change.
	HomeOn(ctx context.Context, namespace, container, layer, preferred string) (*Home, error)
	// Snapshots returns the keys of all snapshots that containerd has of this snapshotter.
	Snapshots(ctx context.Context) ([]keys.Key, error)
}

// Policy says which storage a container gets, and on which base.
type Policy struct {
	// OnReturn is for a container that asks for a base from the history of its storage.
	OnReturn RollbackPolicy
	// OnHold is for a container that asks for a base which its storage cannot be serviced for.
	OnHold OnHold
	// Rebind says which containers have their storage moved to the base that they ask for.
	Rebind Rebind
	// NewContainers says where the storages of new containers begin.
	NewContainers NewContainers
}

// Config says how keys are bound to storages.
type Config struct {
	Host Host // nil without a containerd
	Policy
	// Grace is how long a storage counts as in use after its mounts were handed out.
	Grace time.Duration
	// Marks are the containers whose records have the label of a held update.
	Marks *Marks
	// Start has a key get its storage, as at the start of its container.
	Start func(ctx context.Context, key string) error
}

// Bindings are the parts that bind keys to storages.
type Bindings struct {
	// Binder binds a key to the storage that its container asks for.
	Binder *Binder
	// Placer has new storages begin where the updates of their base lead.
	Placer *Placer
	// Rehomer prepares keys again on the base that their storage stands on.
	Rehomer *Rehomer
	// Labels has the records of containers say that their storage is held.
	Labels *Labels
	// Storages ends and copies storages.
	Storages *Storages
}

// New returns what binds keys to the storages of a state directory.
func New(s *state.State, tracker *use.Tracker, all *updates.Updates, tasks *background.Tasks, c Config) *Bindings {
	labels := &Labels{state: s, tasks: tasks, host: c.Host, marks: c.Marks, locks: locks.New()}
	return &Bindings{
		Binder: &Binder{
			state: s, tracker: tracker, updates: all, host: c.Host, policy: c.Policy, holds: newHolds(), labels: labels,
		},
		Placer:   &Placer{state: s, tracker: tracker, updates: all, tasks: tasks, host: c.Host},
		Rehomer:  &Rehomer{state: s, tracker: tracker, tasks: tasks, host: c.Host, locks: locks.New(), start: c.Start},
		Labels:   labels,
		Storages: &Storages{state: s, tracker: tracker, host: c.Host, young: newYoung(c.Grace), leaving: leaving},
	}
}
