// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/failpoint"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// NewContainers says where the storage of a new container begins whose base has an update in effect.
type NewContainers string

// The policies for new containers.
const (
	// BeginAsNamed has the storage begin on the base that the container names.
	BeginAsNamed NewContainers = "as-named"
	// BeginOnNewest has the storage begin, at the first start of the container, where the updates of that base lead.
	BeginOnNewest NewContainers = "newest"
)

// begin is what the start of a container does with its storage before what waits for it is carried out: a new one begins where
// the updates of its base lead, and one that stands on the old base of a standing update is to wait for that. The caller holds
// the lock of the storage. Until containerd has a record of the container, its key may be anything, and nothing happens.
//
// It reports whether the key waits to be prepared again where the storage begins now: then nothing is handed out by it, see
// [Snapshotter.mountsAtHome].
func (s *Snapshotter) begin(ctx context.Context, key string) (rehomes bool, err error) {
	st, ok := s.starting(key)
	if !ok {
		return false, nil
	}
	if st.Follows {
		if rehomes, err = s.place(ctx, st); err != nil {
			return false, fmt.Errorf("storage %q cannot begin on the newest base: %w", st.Name, err)
		}
	}
	if err := s.updates.Runner.Join(ctx, st.Name); err != nil {
		log.G(ctx).WithError(err).WithField("storage", st.Name).
			Error("a standing update failed to take in a storage, which starts where it stands; it is tried again")
	}
	return rehomes, nil
}

// starting returns the storage of a key that a container is known to have.
func (s *Snapshotter) starting(key string) (st dag.Storage, ok bool) {
	s.state.Graph(func(g *dag.Graph) {
		n, _ := g.Name(key)
		if st, ok = g.Storage(n.Storage); ok {
			ok = st.Key == key && n.Identity != dag.Unknown
		}
	})
	return st, ok
}

// place has a new storage begin where the updates of its base lead, provided that nothing was written in it and nobody uses it.
// A storage that somebody uses goes on following, until its next start. It reports whether the key is to be prepared again.
func (s *Snapshotter) place(ctx context.Context, st dag.Storage) (rehomes bool, err error) {
	var (
		lead dag.Lead
		led  bool
	)
	s.state.Graph(func(g *dag.Graph) {
		head, _ := g.Node(st.Head)
		fresh := head.Parent == 0 && len(st.Points)+len(st.Aside) == 0 && st.Pending == nil
		lead, led = g.Leads().From(head.Base)
		led = led && fresh && head.Base != 0 // what has no layers is a bind mount, which nothing keeps from coming late
	})
	stays := dag.Place{Storage: st.Name, Head: st.Head, Now: clock.Now()}
	if !led {
		return false, s.state.Do(stays)
	}
	entry := log.G(ctx).WithFields(log.Fields{"storage": st.Name, "base": lead.To.String(), "update": lead.Update.String()})
	c, u := s.tracker.ClaimNow(ctx, st, false)
	if !u.Free() {
		entry.Warnf("the new storage starts on the base that its container names: %s", s.tracker.Named(ctx, u))
		return false, nil
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	empty, err := s.empty(st)
	if err != nil {
		return false, err
	}
	if !empty {
		entry.Warn("the new storage stays on the base that its container names: something was written in it before the first start")
		return false, s.state.Do(stays)
	}
	home, err := s.homeOn(ctx, st, lead)
	if err != nil {
		entry.WithError(err).Warn("the record and the key of the container go on naming the base that it was made on")
	}
	if err := s.placeOn(st, lead, home); err != nil {
		return false, err
	}
	entry.Info("the new storage begins where the updates of its base lead")
	return len(home) > 0, nil
}

// homeOn returns what has the record and the key of a container name the layer on which its storage is to begin, nothing where
// there is no containerd to ask.
func (s *Snapshotter) homeOn(ctx context.Context, st dag.Storage, lead dag.Lead) ([]dag.Transformation, error) {
	if s.host == nil {
		return nil, nil
	}
	key := keys.Parse(st.Key)
	var layer dag.Node
	var u dag.Update
	s.state.Graph(func(g *dag.Graph) {
		layer, _ = g.Node(lead.To)
		u, _ = g.Update(lead.Update)
	})
	chain, ok := strings.CutPrefix(layer.Origin, keys.Origin(key.Namespace, ""))
	if !ok {
		return nil, fmt.Errorf("%v is not the topmost layer of an image in namespace %q: %w", layer.ID, key.Namespace, errdefs.ErrNotFound)
	}
	ctx, cancel := context.WithTimeout(ctx, use.AskTimeout)
	defer cancel()
	home, err := s.host.HomeOn(ctx, key.Namespace, key.Key, chain, u.ToRef)
	if err != nil {
		return nil, err
	}
	return []dag.Transformation{dag.BeginRehoming{
		Storage: st.Name, Namespace: home.Namespace, Container: home.Container, Record: home.Record, Placed: true,
	}}, nil
}

// mountsAtHome prepares the key of a container again that is being started, and returns the mounts of that. containerd asks for
// the mounts before it makes a task, with nothing of its own locked, and reads the container's record after that. What cannot
// be finished now is tried again in the background.
func (s *Snapshotter) mountsAtHome(ctx context.Context, key keys.Key) ([]mount.Mount, error) {
	failpoint.RehomeBegun.Hit()
	if err := s.finishRehoming(ctx, key); err != nil {
		s.tasks.Go(s.resumeRehomings)
		return nil, fmt.Errorf("container %q begins on a newer base, on which its key cannot be prepared now; start it again: %w", key.Key, err)
	}
	for _, n := range s.keys()[key] {
		if n.Kind == dag.Active {
			return s.Mounts(ctx, n.Key)
		}
	}
	return nil, fmt.Errorf("container %q was removed while it was being started: %w", key.Key, errdefs.ErrNotFound)
}

// placeOn moves a new, empty storage, which the caller has claimed, with what else is to change then.
func (s *Snapshotter) placeOn(st dag.Storage, lead dag.Lead, with []dag.Transformation) (err error) {
	var layers []dag.NodeID
	draft := s.state.Begin(func(g *dag.Graph) []dag.NodeID {
		layers = g.Chain(lead.To)
		err = s.state.Usable(g, layers)
		return layers
	})
	defer func() { err = errors.Join(err, draft.Close()) }()
	if err != nil {
		return err
	}
	open, err := draft.OpenEmpty(layers)
	if err != nil {
		return err
	}
	place := dag.Place{Storage: st.Name, Head: st.Head, Layer: lead.To, Open: open, Update: lead.Update, Now: clock.Now()}
	if err := draft.Commit(append([]dag.Transformation{place}, with...)...); err != nil {
		return err
	}
	s.tasks.Kick()
	return nil
}

// empty reports whether nothing was written in a new storage.
func (s *Snapshotter) empty(st dag.Storage) (bool, error) {
	var layers []dag.NodeID
	defer s.state.Lease(func(g *dag.Graph) []dag.NodeID {
		layers = g.Chain(g.Base(st))
		return layers
	})()
	return s.state.Untouched(st.Head, layers, sameRoot)
}

// sameRoot reports whether two roots have the same owner, mode, flags and names of extended attributes.
func sameRoot(a, b tree.Meta) bool {
	names := func(m tree.Meta) []string { return slices.Sorted(maps.Keys(m.Xattrs)) }
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.Flags == b.Flags && slices.Equal(names(a), names(b))
}
