// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package binding

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// Placer has a storage begin, at the start of its container, where it is to stand.
type Placer struct {
	state   *state.State
	tracker *use.Tracker
	updates *updates.Updates
	tasks   *background.Tasks
	host    Host // nil without a containerd
}

// Begin is what the start of a container does with its storage before what waits for it is carried out: a new one
// begins where the updates of its base lead, and one that stands on the old base of a standing update is to wait for
// that. The caller holds the lock of the storage. Until containerd has a record of the container, its key may be
// anything, and nothing happens.
//
// It reports whether the key waits to be prepared again where the storage begins now: then nothing is handed out by
// it, see [Snapshotter.mountsAtHome].
func (pl *Placer) Begin(ctx context.Context, key string) (rehomes bool, err error) {
	st, ok := pl.starting(key)
	if !ok {
		return false, nil
	}
	if st.Follows {
		if rehomes, err = pl.place(ctx, st); err != nil {
			return false, fmt.Errorf("storage %q cannot begin on the newest base: %w", st.Name, err)
		}
	}
	if err := pl.updates.Runner.Join(ctx, st.Name); err != nil {
		log.G(ctx).WithError(err).WithField("storage", st.Name).
			Error("a standing update failed to take in a storage, which starts where it stands; it is tried again")
	}
	return rehomes, nil
}

// starting returns the storage of a key that a container is known to have.
func (pl *Placer) starting(key string) (st dag.Storage, ok bool) {
	pl.state.Graph(func(g *dag.Graph) {
		n, _ := g.Name(key)
		if st, ok = g.Storage(n.Storage); ok {
			ok = st.Key == key && n.Identity != dag.Unknown
		}
	})
	return st, ok
}

// place has a new storage begin where the updates of its base lead, provided that nothing was written in it and
// nobody uses it. A storage that somebody uses goes on following, until its next start. It reports whether the key is
// to be prepared again.
func (pl *Placer) place(ctx context.Context, st dag.Storage) (rehomes bool, err error) {
	var (
		lead dag.Lead
		led  bool
	)
	pl.state.Graph(func(g *dag.Graph) {
		head, _ := g.Node(st.Head)
		fresh := head.Parent == 0 && len(st.Points)+len(st.Aside) == 0 && st.Pending == nil
		lead, led = g.Leads().From(head.Base)
		led = led && fresh && head.Base != 0 // what has no layers is a bind mount, which nothing keeps from coming late
	})
	stays := dag.Place{Storage: st.Name, Head: st.Head, Now: clock.Now()}
	if !led {
		return false, pl.state.Do(stays)
	}
	entry := log.G(ctx).WithFields(log.Fields{
		"storage": st.Name, "base": lead.To.String(), "update": lead.Update.String(),
	})
	c, u := pl.tracker.ClaimNow(ctx, st, false)
	if !u.Free() {
		entry.Warnf("the new storage starts on the base that its container names: %s", pl.tracker.Named(ctx, u))
		return false, nil
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	empty, err := pl.empty(st)
	if err != nil {
		return false, err
	}
	if !empty {
		entry.Warn("the new storage stays on the base that its container names: " +
			"something was written in it before the first start")
		return false, pl.state.Do(stays)
	}
	home, err := pl.homeOn(ctx, st, lead)
	if err != nil {
		entry.WithError(err).Warn("the record and the key of the container go on naming the base that it was made on")
	}
	if err := pl.placeOn(st, lead, home); err != nil {
		return false, err
	}
	entry.Info("the new storage begins where the updates of its base lead")
	return len(home) > 0, nil
}

// homeOn returns what has the record and the key of a container name the layer on which its storage is to begin,
// nothing where there is no containerd to ask.
func (pl *Placer) homeOn(ctx context.Context, st dag.Storage, lead dag.Lead) ([]dag.Transformation, error) {
	if pl.host == nil {
		return nil, nil
	}
	key := keys.Parse(st.Key)
	var layer dag.Node
	var u dag.Update
	pl.state.Graph(func(g *dag.Graph) {
		layer, _ = g.Node(lead.To)
		u, _ = g.Update(lead.Update)
	})
	chain, ok := strings.CutPrefix(layer.Origin, keys.Origin(key.Namespace, ""))
	if !ok {
		return nil, fmt.Errorf("%v is not the topmost layer of an image in namespace %q: %w",
			layer.ID, key.Namespace, errdefs.ErrNotFound)
	}
	ctx, cancel := context.WithTimeout(ctx, use.AskTimeout)
	defer cancel()
	home, err := pl.host.HomeOn(ctx, key.Namespace, key.Key, chain, u.ToRef)
	if err != nil {
		return nil, err
	}
	return []dag.Transformation{dag.BeginRehoming{
		Storage: st.Name, Namespace: home.Namespace, Container: home.Container, Record: home.Record, Placed: true,
	}}, nil
}

// placeOn moves a new, empty storage, which the caller has claimed, with what else is to change then.
func (pl *Placer) placeOn(st dag.Storage, lead dag.Lead, with []dag.Transformation) (err error) {
	var layers []dag.NodeID
	draft := pl.state.Begin(func(g *dag.Graph) []dag.NodeID {
		layers = g.Chain(lead.To)
		err = pl.state.Usable(g, layers)
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
	place := dag.Place{Storage: st.Name, Head: st.Head, Layer: lead.To, Open: open, Update: lead.Update,
		Now: clock.Now()}
	if err := draft.Commit(append([]dag.Transformation{place}, with...)...); err != nil {
		return err
	}
	pl.tasks.Kick()
	return nil
}

// empty reports whether nothing was written in a new storage.
func (pl *Placer) empty(st dag.Storage) (bool, error) {
	var layers []dag.NodeID
	defer pl.state.Lease(func(g *dag.Graph) []dag.NodeID {
		layers = g.Chain(g.Base(st))
		return layers
	})()
	return pl.state.Untouched(st.Head, layers, sameRoot)
}

// sameRoot reports whether two roots have the same owner, mode, flags and names of extended attributes.
func sameRoot(a, b tree.Meta) bool {
	names := func(m tree.Meta) []string { return slices.Sorted(maps.Keys(m.Xattrs)) }
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.Flags == b.Flags &&
		slices.Equal(names(a), names(b))
}
