// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
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
			s.state.Graph(func(g *dag.Graph) { b.as.Asked = g.Asking(b.stands) })
		}
		if err := s.bindHere(b); err != nil {
			return err
		}
		s.markHeld(b.key, held.update)
		return nil
	}
	return fmt.Errorf("storage %q cannot be serviced for the base that container %q asks for, and is held by update %v: %s; "+
		"`moltctl update report --storage %s %v` says what can be done; "+
		"`moltctl update create --storage %s --to IMAGE --force` goes on in spite of it: %w",
		name, keys.Parse(b.key).Key, held.update, strings.Join(held.reasons, "; "), name, held.update, name, errdefs.ErrFailedPrecondition)
}

// marks are the containers whose records have the label of a held update, or are to have it. What counts is what containerd has
// on record: it is listed once after the start, and so nothing about labels is kept on disk.
type marks struct {
	mu     sync.Mutex
	listed bool
	marked map[keys.Key]mark
	newest uint64 // the last order that was given
}

// mark is that the record of a container names a held update.
type mark struct {
	update  dag.UpdateID
	written bool
	order   uint64 // in which it was asked for
}

func newMarks() *marks { return &marks{marked: map[keys.Key]mark{}} }

// add notes that the record of a container is to name an update.
func (m *marks) add(k keys.Key, update dag.UpdateID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.newest++
	m.marked[k] = mark{update: update, order: m.newest}
}

// list notes what containerd has on record. What was asked for in the meantime counts more.
func (m *marks) list(found map[keys.Key]string) {
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

func (m *marks) isListed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.listed
}

func (m *marks) all() map[keys.Key]mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.marked)
}

// some reports whether there are any.
func (m *marks) some() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.marked) > 0
}

func (m *marks) of(k keys.Key) (mark, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	one, ok := m.marked[k]
	return one, ok
}

// wrote notes that the label of a container was written, or taken away, unless another one was asked for in the meantime.
func (m *marks) wrote(k keys.Key, one mark, there bool) {
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

// markHeld labels containerd's record of a container that starts on the old base. containerd is waiting for this very
// start, so the label is written behind it. It is taken away when the storage is no longer held, see [Snapshotter.unmark].
func (s *Snapshotter) markHeld(key string, update dag.UpdateID) {
	k := keys.Parse(key)
	if s.host == nil || k.Namespace == "" {
		return
	}
	marked := k
	s.marks.add(marked, update)
	s.tasks.Go(func(ctx context.Context) {
		if err := s.label(ctx, marked); err != nil {
			log.G(ctx).WithError(err).WithField("container", k.Key).
				Warn("failed to label the record of a container that started on the old base; it is tried again")
		}
	})
}

// unmark takes the label of a held update away from the records of containers whose storage is no longer held, or that have it no
// longer, and writes labels that could not be written. While containerd cannot be reached, nothing is done.
func (s *Snapshotter) unmark(ctx context.Context) error {
	if s.host == nil {
		return nil
	}
	if !s.marks.isListed() {
		ask, cancel := context.WithTimeout(ctx, use.AskTimeout)
		defer cancel()
		found, err := s.host.Held(ask)
		if errdefs.IsUnavailable(err) {
			return nil
		}
		if err != nil {
			return err
		}
		s.marks.list(found)
	}
	var errs []error
	for k := range s.mislabelled(s.marks.all()) {
		if err := s.label(ctx, k); !errdefs.IsUnavailable(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// label has the record of a container say whether its storage is held, if it does not.
func (s *Snapshotter) label(ctx context.Context, k keys.Key) error {
	ctx, cancel := context.WithTimeout(ctx, use.AskTimeout)
	defer cancel()
	unlock, err := s.locks.Lock(ctx, "label "+k.Namespace+"/"+k.Key)
	if err != nil {
		return err
	}
	defer unlock()
	one, marked := s.marks.of(k)
	if !marked {
		return nil
	}
	held, wrong := s.mislabelled(map[keys.Key]mark{k: one})[k]
	if !wrong {
		return nil
	}
	text := ""
	if held {
		text = one.update.String()
	}
	err = s.host.MarkHeld(ctx, k.Namespace, k.Key, text)
	if errdefs.IsNotFound(err) { // the container is gone, and its label with it
		held, err = false, nil
	}
	if err == nil {
		s.marks.wrote(k, one, held)
	}
	return err
}

// mislabelled returns the containers whose label is not what it should be, with whether they should have it: a container that has
// a storage which is held, and stands on another base than the container asks for. An update that is being tried again leaves
// things as they are.
func (s *Snapshotter) mislabelled(marked map[keys.Key]mark) map[keys.Key]bool {
	should := map[keys.Key]bool{}
	for k := range marked {
		should[k] = false // unless a storage says otherwise
	}
	s.state.Graph(func(g *dag.Graph) {
		for _, st := range g.Storages() {
			own := keys.Parse(st.Key)
			k := own
			one, ok := marked[k]
			if !ok || st.Key == "" {
				continue
			}
			n, _ := g.Name(st.Key)
			u, _ := g.Update(one.update)
			base := g.Base(st)
			o, in := u.Outcomes[st.Name]
			if !in || !g.SameBase(base, u.From) || g.SameBase(base, g.AskedOf(n)) {
				continue
			}
			switch {
			case o.State == dag.Held && !one.written:
				should[k] = true
			case o.State == dag.Held, !o.State.Final():
				delete(should, k)
			}
		}
	})
	return should
}
