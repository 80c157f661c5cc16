// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package binding

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
)

// holding is that an update is held for a storage.
type holding struct {
	update  dag.UpdateID
	reasons []string
}

// holds remembers which storages were held for the containers that asked for another base, so that a client which
// tries again and again is answered without the engine being run, and without a record each time. An answer holds as
// long as nothing that it depends on can have changed: the storage, its open node and its settings, both bases, and
// this process, whose configuration and engine do not change; and as long as nobody was given the mounts of the
// storage. It is kept in memory only: after a restart the engine is asked once more.
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
func (h *holds) answer(b pairing) (holding, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a, ok := h.answers[b.storage.Name]
	same := a.head == b.storage.Head && a.from == b.stands && a.to == b.asks &&
		bytes.Equal(a.settings, b.storage.Settings)
	return a.holding, ok && same
}

func (h *holds) remember(b pairing, held holding) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answers[b.storage.Name] = heldFor{
		holding: held, head: b.storage.Head, from: b.stands, to: b.asks, settings: b.storage.Settings,
	}
}

// forget drops what is remembered of a storage: its mounts are being given out, so that it may be written to.
func (h *holds) forget(storage string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.answers, storage)
}

// Forget drops what is remembered of a storage that was held: its mounts are being given out, so that it may be
// written to.
func (bd *Binder) Forget(storage string) { bd.holds.forget(storage) }

// bindHeld answers for a container that asks for a base which its storage cannot be serviced for.
func (bd *Binder) bindHeld(ctx context.Context, b pairing, held holding) error {
	name := b.storage.Name
	if bd.policy.OnHold == StartOnOldBase {
		log.G(ctx).WithFields(log.Fields{"storage": name, "update": held.update.String(), "reasons": held.reasons}).
			Warn("the storage is held; its container starts on the old base")
		// The wish stays open, so that the next start tries again.
		if b.as.Asked = nil; b.storage.Asked == nil {
			bd.state.Graph(func(g *dag.Graph) { b.as.Asked = g.Asking(b.stands) })
		}
		if err := bd.bindHere(b); err != nil {
			return err
		}
		bd.labels.mark(b.key, held.update)
		return nil
	}
	return fmt.Errorf("storage %q cannot be serviced for the base that container %q asks for, and is held by update "+
		"%v: "+
		"%s; `moltctl update report --storage %s %v` says what can be done; "+
		"`moltctl update create --storage %s --to IMAGE --force` goes on in spite of it: %w",
		name, keys.Parse(b.key).Key, held.update, strings.Join(held.reasons, "; "),
		name, held.update, name, errdefs.ErrFailedPrecondition)
}

// add notes that the record of a container is to name an update.
func (m *Marks) add(k keys.Key, update dag.UpdateID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.newest++
	m.marked[k] = mark{update: update, order: m.newest}
}

// list notes what containerd has on record. What was asked for in the meantime counts more.
func (m *Marks) list(found map[keys.Key]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.listed = true
	for k, text := range found {
		if _, known := m.marked[k]; known {
			continue
		}
		id, err := strconv.ParseUint(strings.TrimPrefix(text, "u"), 10, 64)
		if err != nil {
			id = 0 // which no update has: what the label says is not so
		}
		m.marked[k] = mark{update: dag.UpdateID(id), written: true}
	}
}

func (m *Marks) isListed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.listed
}

func (m *Marks) all() map[keys.Key]mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.marked)
}

// Some reports whether there are any.
func (m *Marks) Some() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.marked) > 0
}

func (m *Marks) of(k keys.Key) (mark, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	one, ok := m.marked[k]
	return one, ok
}

// wrote notes that the label of a container was written, or taken away, unless another one was asked for in the
// meantime.
func (m *Marks) wrote(k keys.Key, one mark, there bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.marked[k].order != one.order {
		return
	}
	if one.written = true; there {
		m.marked[k] = one
	} else {
		delete(m.marked, k)
	}
}
