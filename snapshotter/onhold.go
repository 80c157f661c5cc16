// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// OnHold says what happens when a container asks for a base that its storage cannot be serviced for.
type OnHold string

// The policies for a held storage.
const (
	// RefuseStart refuses the start of the container, with the reasons.
	RefuseStart OnHold = "refuse"
	// StartOnOldBase starts the container on the base that its storage stands on.
	StartOnOldBase OnHold = "start-on-old-base"
)

// Rebind says which containers have their storage moved to the base that they ask for.
type Rebind string

// The policies of binding.
const (
	// RebindOnChange moves a storage when a container asks for another base than the last one did.
	RebindOnChange Rebind = "on-change"
	// RebindToSpec moves a storage whenever a container asks for another base than the storage stands on.
	RebindToSpec Rebind = "spec"
)

// holding is that an update is held for a storage.
type holding struct {
	update  dag.UpdateID
	reasons []string
}

// holds remembers which storages were held for the containers that asked for another base, so that a client which tries
// again and again is answered without the engine being run, and without a record each time. An answer holds as long as
// nothing that it depends on can have changed: the storage, its open node and its settings, both bases, and this process,
// whose configuration and engine do not change; and as long as nobody was given the mounts of the storage. It is kept in
// memory only: after a restart the engine is asked once more.
type holds struct {
	mu      sync.Mutex
	answers map[string]heldFor // by storage
}

type heldFor struct {
	holding
	head, from, to dag.NodeID
	settings       json.RawMessage
}

func newHolds() *holds { return &holds{answers: map[string]heldFor{}} }

// answer returns why a storage was held when it was last asked for on the same base, and whether it was.
func (h *holds) answer(b binding) (holding, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a, ok := h.answers[b.storage.Name]
	same := a.head == b.storage.Head && a.from == b.stands && a.to == b.asks && bytes.Equal(a.settings, b.storage.Settings)
	return a.holding, ok && same
}

func (h *holds) remember(b binding, held holding) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answers[b.storage.Name] = heldFor{holding: held, head: b.storage.Head, from: b.stands, to: b.asks, settings: b.storage.Settings}
}

// forget drops what is remembered of a storage: its mounts are being given out, so that it may be written to.
func (h *holds) forget(storage string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.answers, storage)
}

// bindHeld answers for a container that asks for a base which its storage cannot be serviced for.
func (s *Snapshotter) bindHeld(ctx context.Context, b binding, held holding) error {
	name := b.storage.Name
	if s.onHold == StartOnOldBase {
		log.G(ctx).WithFields(log.Fields{"storage": name, "update": held.update.String(), "reasons": held.reasons}).
			Warn("the storage is held; its container starts on the old base")
		// The wish stays open, so that the next start tries again.
		if b.as.Asked = nil; b.storage.Asked == nil {
			s.store.View(func(g *dag.Graph) { b.as.Asked = g.Asking(b.stands) })
		}
		s.markHeld(b.key, held.update)
		return s.bindHere(b)
	}
	return fmt.Errorf("storage %q cannot be serviced for the base that container %q asks for, and is held by update %v: %s; "+
		"`moltctl update report --storage %s %v` says what can be done; "+
		"`moltctl update create --storage %s --to IMAGE --force` goes on in spite of it: %w",
		name, parseKey(b.key).key, held.update, strings.Join(held.reasons, "; "), name, held.update, name, errdefs.ErrFailedPrecondition)
}

// markHeld labels containerd's record of a container that starts on the old base. containerd is waiting for this very
// start, so the label is written behind it.
func (s *Snapshotter) markHeld(key string, update dag.UpdateID) {
	k := parseKey(key)
	if s.host == nil || k.namespace == "" {
		return
	}
	s.background(s.life, func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		if err := s.host.MarkHeld(ctx, k.namespace, k.key, update.String()); err != nil {
			log.G(ctx).WithError(err).WithField("container", k.key).Warn("failed to label the record of a container that started on the old base")
		}
	})
}
