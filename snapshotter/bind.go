// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// askTimeout bounds a question to containerd.
const askTimeout = 10 * time.Second

// identify returns the storage that a key is to be bound to, empty when it has none but its own. The answer of containerd
// is remembered: it is asked once, after the container was created, and when it cannot answer nothing is mounted.
func (s *Snapshotter) identify(ctx context.Context, n dag.Name) (string, error) {
	if n.Identity == dag.Bound {
		return n.Storage, nil
	}
	k := parseKey(n.Key)
	if n.Identity == dag.Plain || s.host == nil || k.namespace == "" || k.extraction() {
		return "", nil
	}
	ask, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	storage, err := s.host.Claim(ask, k.namespace, k.key)
	switch {
	case errdefs.IsNotFound(err):
		return "", nil // the container is still being created; it will ask for its mounts again when it starts
	case errdefs.IsInvalidArgument(err):
		return "", err
	case err != nil:
		return "", fmt.Errorf("ask containerd which storage container %q wants: %w: %w", k.key, errdefs.ErrUnavailable, err)
	case storage == "":
		return "", s.do(dag.Identify{Key: n.Key})
	}
	return storage, nil
}

// bind makes a storage the writable state of a key, on the base that the key was prepared on. The caller holds the locks of
// the storage and of the one that the key has.
func (s *Snapshotter) bind(ctx context.Context, key, storage string) error {
	var (
		n            dag.Name
		st           dag.Storage
		known        bool
		exists, same bool
	)
	s.store.View(func(g *dag.Graph) {
		n, known = g.Name(key)
		st, exists = g.Storage(storage)
		same = exists && g.SameBase(g.Base(st), n.Node)
	})
	if !known {
		return fmt.Errorf("snapshot %q: %w", key, errdefs.ErrNotFound)
	}
	if exists && st.Key == key && same {
		return nil
	}
	if exists && st.Key != key {
		if u := s.inUse(ctx, st); u.by != "" {
			return fmt.Errorf("storage %q belongs to container %q: %s: %w", storage, parseKey(st.Key).key, u.by, errdefs.ErrFailedPrecondition)
		}
	}
	b := dag.Bind{Key: key, Storage: storage, Holder: st.Key, Now: now()}
	if !exists || same {
		return s.do(b)
	}
	return s.bindElsewhere(ctx, st, n.Node, b)
}

// bindElsewhere moves a free storage to the base of the key that it is to be bound to: back, when it stood there before,
// and forward by an update otherwise.
func (s *Snapshotter) bindElsewhere(ctx context.Context, st dag.Storage, base dag.NodeID, b dag.Bind) error {
	if s.stoodOn(st, base) {
		return s.bindBack(ctx, st, base, b)
	}
	u, err := s.updateFor(st, base)
	if err != nil {
		return err
	}
	staged, err := s.stage(ctx, st, u)
	if err != nil {
		return s.giveUp(u.ID, st.Name, err)
	}
	if len(staged.holds) > 0 {
		why := fmt.Errorf("storage %q cannot be serviced for this base: %s: %w", st.Name, strings.Join(staged.holds, "; "), errdefs.ErrFailedPrecondition)
		return errors.Join(why, s.hold(staged, st.Name))
	}
	// Whoever held the storage stays on the base that its key was prepared on: nobody asked for that to change.
	if err := s.commitStaged(staged, dag.Release{Storage: st.Name}, staged.switched(st.Name), b); err != nil {
		return s.giveUp(u.ID, st.Name, err)
	}
	return nil
}

// stoodOn tells whether a rollback point of a storage stands on a base.
func (s *Snapshotter) stoodOn(st dag.Storage, base dag.NodeID) (found bool) {
	s.store.View(func(g *dag.Graph) {
		for _, p := range st.Points {
			n, _ := g.Node(p.Head)
			found = found || g.SameBase(n.Base, base)
		}
	})
	return found
}

// bindBack rolls a storage back, an update at a time, until it stands on a base from its history.
func (s *Snapshotter) bindBack(ctx context.Context, st dag.Storage, base dag.NodeID, b dag.Bind) error {
	if s.onReturn == Refuse {
		return fmt.Errorf("storage %q was updated from this base to another one; roll the update back, or allow it by the rollback policy: %w", st.Name, errdefs.ErrFailedPrecondition)
	}
	for {
		update := st.Points[len(st.Points)-1].Update
		staged, err := s.stageRollback(ctx, st, s.onReturn == CarryOver)
		if err != nil {
			return err
		}
		if len(staged.holds) > 0 {
			return errors.Join(staged.cannotCarry(st.Name), s.discard(staged))
		}
		if err := s.commitStaged(staged, dag.Release{Storage: st.Name}, staged.rolledBack(st.Name)); err != nil {
			return err
		}
		log.G(ctx).WithFields(log.Fields{"storage": st.Name, "update": update.String(), "key": b.Key}).Info("rolled back to the base of the container")
		var there bool
		s.store.View(func(g *dag.Graph) {
			st, _ = g.Storage(st.Name)
			there = g.SameBase(g.Base(st), base)
		})
		if there {
			return s.do(b)
		}
	}
}

// carryOut does what waits for the storage of a key, whose lock the caller holds, to be free. What cannot be done is
// recorded with the update, and does not keep the container from starting where it stands.
func (s *Snapshotter) carryOut(ctx context.Context, key string) {
	st, ok := s.storageOf(key)
	if !ok || st.Pending == nil || st.Key != key {
		return
	}
	// This very call is the start of the container, so only a mount or a task counts.
	if u := s.inUse(ctx, st); u.by != "" && !u.soon {
		return
	}
	entry := log.G(ctx).WithFields(log.Fields{"storage": st.Name, "update": st.Pending.Update.String()})
	var err error
	if st.Pending.Rollback {
		err = s.rollbackWaiting(ctx, st)
	} else {
		_, err = s.updateFree(ctx, st, st.Pending.Update)
	}
	if err != nil {
		entry.WithError(err).Error("failed to carry out what waited for the storage; the container starts where it stood")
		return
	}
	entry.Info("carried out what waited for the storage")
}

func (s *Snapshotter) storageOf(key string) (st dag.Storage, ok bool) {
	s.store.View(func(g *dag.Graph) {
		n, _ := g.Name(key)
		st, ok = g.Storage(n.Storage)
	})
	return st, ok
}
