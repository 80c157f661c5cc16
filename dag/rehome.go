// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"time"

	"github.com/containerd/errdefs"
)

// BeginRehoming records that the key which holds a storage is about to be removed and prepared again. From then on the
// storage outlives its key, also an anonymous one.
type BeginRehoming struct {
	Storage              string
	Namespace, Container string
	Record               json.RawMessage
	Placed               bool // see [Rehoming]
}

func (t BeginRehoming) transform(d *draft) error {
	s, ok := d.storage(t.Storage)
	switch {
	case !ok:
		return fmt.Errorf("storage %q: %w", t.Storage, errdefs.ErrNotFound)
	case s.Rehoming != nil && (s.Rehoming.Namespace != t.Namespace || s.Rehoming.Container != t.Container):
		return fmt.Errorf("storage %q is being re-homed for container %q: %w", s.Name, s.Rehoming.Container,
			errdefs.ErrFailedPrecondition)
	case s.Key == "" && s.Rehoming == nil:
		return fmt.Errorf("storage %q has no container: %w", s.Name, errdefs.ErrFailedPrecondition)
	}
	s.Rehoming = &Rehoming{Namespace: t.Namespace, Container: t.Container, Record: t.Record, Placed: t.Placed}
	d.putStorage(s)
	return nil
}

// Rehome gives a storage that is being re-homed to a key that was just prepared for it, where it stands. The key that
// had it is dropped, and the storage counts as asked for on the base of the new one; where the container did not ask
// for that, what it named is kept as well, see [Graph.AsksAgain]. An anonymous storage takes the name that belongs to
// the new key.
type Rehome struct {
	Key     string
	Storage string
	Asked   *Asked
	Now     time.Time
}

func (t Rehome) transform(d *draft) error {
	n, ok := d.name(t.Key)
	if !ok {
		return fmt.Errorf("snapshot %q: %w", t.Key, errdefs.ErrNotFound)
	}
	s, ok := d.storage(t.Storage)
	if !ok || s.Rehoming == nil {
		return fmt.Errorf("storage %q is not being re-homed: %w", t.Storage, errdefs.ErrFailedPrecondition)
	}
	own, ok := d.storage(n.Storage)
	switch {
	case !ok || !own.Anonymous && own.Name != s.Name:
		return fmt.Errorf("snapshot %q is not active, or has storage %q: %w", n.Key, n.Storage,
			errdefs.ErrFailedPrecondition)
	case own.Name != s.Name:
		d.end(own, fmt.Sprintf("snapshot %q took storage %q", n.Key, s.Name), t.Now)
	}
	if _, held := d.name(s.Key); held && s.Key != t.Key {
		d.Names[s.Key] = nil
	}
	if s.Anonymous && s.Key != t.Key {
		s = d.rename(s, AnonymousName(t.Key))
		s.Anonymous = true
	} else if !s.Anonymous {
		n.Identity = Bound
	}
	head, _ := d.node(s.Head)
	if s.Rehoming.Placed && s.Placed != nil && s.Placed.Named == nil {
		placed := *s.Placed
		placed.Named = s.Asked
		s.Placed = &placed
	}
	s.Key, s.Asked = t.Key, t.Asked
	n.Storage, n.Node, n.Updated = s.Name, head.Base, t.Now
	d.putStorage(s)
	d.putName(n)
	return nil
}

// EndRehoming drops the intent of a re-homing: it is done, or the container is gone. An anonymous storage without a key
// then ends, as it would have with its key.
type EndRehoming struct {
	Storage string
	Now     time.Time
}

func (t EndRehoming) transform(d *draft) error {
	s, ok := d.storage(t.Storage)
	if !ok {
		return fmt.Errorf("storage %q: %w", t.Storage, errdefs.ErrNotFound)
	}
	s.Rehoming = nil
	d.putStorage(s)
	if s.Anonymous && s.Key == "" {
		d.end(s, "its container was removed", t.Now)
	}
	return nil
}

// Rehomings yields the names of the storages that are being re-homed.
func (g *Graph) Rehomings() iter.Seq[string] { return maps.Keys(g.rehoming) }

// Rehomed returns the storage that is being re-homed for a container.
func (g *Graph) Rehomed(namespace, container string) (s Storage, ok bool) {
	for name := range g.rehoming {
		if s := g.storages[name]; s.Rehoming.Namespace == namespace && s.Rehoming.Container == container {
			return s, true
		}
	}
	return s, false
}

// IsAsked reports whether a base is the one that the last container of a storage asked for. It reports false when none
// is on record.
func (g *Graph) IsAsked(s Storage, base NodeID) bool { return g.isBase(s.Asked, base) }

func (g *Graph) isBase(a *Asked, base NodeID) bool {
	n := g.nodes[base]
	return a != nil && (a.Layer == base || n.Origin != "" && a.Origin == n.Origin)
}

// AsksAgain reports whether a container that asks for a base asks for nothing else than the last one of the storage:
// for the same base, or by the name that led the storage to begin where it did.
func (g *Graph) AsksAgain(s Storage, base NodeID) bool {
	return g.IsAsked(s, base) || s.Placed != nil && g.IsAsked(s, s.Placed.To) && g.isBase(s.Placed.Named, base)
}

// AskedOf returns the base that a key asks for: the layer that it was prepared on, wherever its storage has moved
// since.
func (g *Graph) AskedOf(n Name) NodeID { return g.names[n.Parent].Node }

// Asking returns what is to be recorded of a base that is asked for.
func (g *Graph) Asking(base NodeID) *Asked {
	return &Asked{Layer: base, Origin: g.nodes[base].Origin}
}
