// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag

import (
	"fmt"
	"maps"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/containerd/errdefs"
)

// anonymous begins the names of anonymous storages, and of no others.
const anonymous = "~"

// AnonymousName is the name of the storage that a key has as long as it is bound to no other.
func AnonymousName(key string) string { return anonymous + key }

// AnonymousKey returns the key of an anonymous storage of a name. It reports false for the name of any other storage.
func AnonymousKey(name string) (key string, is bool) { return strings.CutPrefix(name, anonymous) }

// IsAnonymous reports whether a name is that of an anonymous storage.
func IsAnonymous(name string) bool { return strings.HasPrefix(name, anonymous) }

// ValidName refuses names that no record can have; what says what is named.
func ValidName(what, name string) error {
	if name == "" {
		return fmt.Errorf("the name of a %s must not be empty: %w", what, errdefs.ErrInvalidArgument)
	}
	if !utf8.ValidString(name) {
		return fmt.Errorf("%s %q: the name is not valid UTF-8: %w", what, name, errdefs.ErrInvalidArgument)
	}
	return nil
}

// validStorage refuses names that no storage with a name of its own can have.
func validStorage(name string) error {
	if strings.HasPrefix(name, anonymous) {
		return fmt.Errorf("storage %q: names that begin with %q are those of anonymous storages: %w", name, anonymous,
			errdefs.ErrInvalidArgument)
	}
	return ValidName("storage", name)
}

// Prepare adds a name for something to be written (Active, with an anonymous storage of its own) or looked at (View).
type Prepare struct {
	Key    string
	Kind   NameKind
	Parent string // key of a committed name, or empty
	Labels map[string]string
	Open   NodeID // the new, empty node of an active name
	// Follows has the storage of an active name follow updates, see [Storage.Follows].
	Follows bool
	Now     time.Time
}

func (t Prepare) transform(d *draft) error {
	if err := ValidName("snapshot", t.Key); err != nil {
		return err
	}
	if _, ok := d.name(t.Key); ok {
		return fmt.Errorf("snapshot %q: %w", t.Key, errdefs.ErrAlreadyExists)
	}
	var base NodeID
	if t.Parent != "" {
		p, ok := d.name(t.Parent)
		if !ok {
			return fmt.Errorf("parent snapshot %q: %w", t.Parent, errdefs.ErrNotFound)
		}
		if p.Kind != Committed {
			return fmt.Errorf("parent snapshot %q is not committed: %w", t.Parent, errdefs.ErrInvalidArgument)
		}
		base = p.Node
	}
	n := Name{
		Key: t.Key, Kind: t.Kind, Parent: t.Parent, Node: base,
		Labels: maps.Clone(t.Labels), Created: t.Now, Updated: t.Now,
	}
	if t.Kind == Active {
		n.Storage = AnonymousName(t.Key)
		if _, ok := d.storage(n.Storage); ok {
			return fmt.Errorf("the storage of snapshot %q waits for another key of its container: %w", t.Key,
				errdefs.ErrAlreadyExists)
		}
		if err := d.add(Node{ID: t.Open, Kind: Persisted, Base: base, Created: t.Now}); err != nil {
			return err
		}
		d.putStorage(Storage{Name: n.Storage, Anonymous: true, Head: t.Open, Key: t.Key, Follows: t.Follows,
			Created: t.Now})
	}
	d.putName(n)
	return nil
}

// Commit turns what was written under an active key into a layer with a name of its own. It is refused for a key whose
// storage has a name or a history: the layer could not hold it.
type Commit struct {
	Key      string
	Name     string
	Labels   map[string]string
	Origin   string
	Unsynced string
	Size     int64
	Inodes   int64
	Now      time.Time
}

func (t Commit) transform(d *draft) error {
	if err := ValidName("snapshot", t.Name); err != nil {
		return err
	}
	if _, ok := d.name(t.Name); ok {
		return fmt.Errorf("snapshot %q: %w", t.Name, errdefs.ErrAlreadyExists)
	}
	n, ok := d.name(t.Key)
	if !ok {
		return fmt.Errorf("snapshot %q: %w", t.Key, errdefs.ErrNotFound)
	}
	if n.Kind != Active {
		return fmt.Errorf("snapshot %q is not active: %w", t.Key, errdefs.ErrFailedPrecondition)
	}
	s, ok := d.storage(n.Storage)
	if !ok {
		return fmt.Errorf("storage %q of snapshot %q: %w", n.Storage, t.Key, errdefs.ErrNotFound)
	}
	if err := committable(d, s); err != nil {
		return fmt.Errorf("cannot commit snapshot %q: %w", t.Key, err)
	}
	head, _ := d.node(s.Head)
	d.putNode(Node{
		ID: head.ID, Kind: Layer, Parent: head.Base, Frozen: true, Origin: t.Origin,
		Unsynced: t.Unsynced, Damage: head.Damage, Size: t.Size, Inodes: t.Inodes, Created: head.Created,
	})
	d.end(s, fmt.Sprintf("snapshot %q was committed", t.Key), t.Now)
	d.Names[t.Key] = nil
	d.putName(Name{
		Key: t.Name, Kind: Committed, Parent: n.Parent, Node: head.ID,
		Labels: maps.Clone(t.Labels), Created: t.Now, Updated: t.Now,
	})
	return nil
}

func committable(d *draft, s Storage) error {
	head, _ := d.node(s.Head)
	switch {
	case !s.Anonymous:
		return fmt.Errorf("storage %q has a name and would end; fork or diff it instead: %w", s.Name,
			errdefs.ErrFailedPrecondition)
	case head.Parent != 0 || len(s.Points) > 0:
		return fmt.Errorf("its storage has an update history that a layer cannot hold: %w",
			errdefs.ErrFailedPrecondition)
	}
	return nil
}

// Remove drops a name. A storage with a name of its own, or one that is being re-homed, only loses its holder; an
// anonymous one ends.
type Remove struct {
	Key string
	Now time.Time
}

func (t Remove) transform(d *draft) error {
	n, ok := d.name(t.Key)
	if !ok {
		return fmt.Errorf("snapshot %q: %w", t.Key, errdefs.ErrNotFound)
	}
	if d.children(t.Key) > 0 {
		return fmt.Errorf("cannot remove snapshot: %q has children: %w", t.Key, errdefs.ErrFailedPrecondition)
	}
	d.Names[t.Key] = nil
	s, ok := d.storage(n.Storage)
	if !ok || s.Key != t.Key {
		return nil
	}
	if s.Anonymous && s.Rehoming == nil {
		return RemoveStorage{Name: s.Name, Now: t.Now}.transform(d)
	}
	s.Key = ""
	d.putStorage(s)
	return nil
}

// children returns how many names have a key as parent.
func (d *draft) children(key string) int {
	n := d.g.children[key]
	for k, v := range d.Names {
		if old, ok := d.g.names[k]; ok && old.Parent == key {
			n--
		}
		if v != nil && v.Parent == key {
			n++
		}
	}
	return n
}

// Relabel replaces the labels of a name.
type Relabel struct {
	Key    string
	Labels map[string]string
	Now    time.Time
}

func (t Relabel) transform(d *draft) error {
	n, ok := d.name(t.Key)
	if !ok {
		return fmt.Errorf("snapshot %q: %w", t.Key, errdefs.ErrNotFound)
	}
	n.Labels, n.Updated = maps.Clone(t.Labels), t.Now
	d.putName(n)
	return nil
}

// Identify remembers that a key asks for no storage.
type Identify struct{ Key string }

func (t Identify) transform(d *draft) error {
	n, ok := d.name(t.Key)
	if !ok {
		return fmt.Errorf("snapshot %q: %w", t.Key, errdefs.ErrNotFound)
	}
	if n.Identity == Unknown {
		n.Identity = Plain
	}
	d.putName(n)
	return nil
}
