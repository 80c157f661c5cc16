// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/mounttable"
)

// use is how a storage is used at a moment.
type use struct {
	by string // a phrase that says what uses it; empty when it is free
	// soon: only because its mounts were handed out a moment ago. This ends by itself.
	soon bool
}

// inUse tells whether a storage must not be touched: a mount alone is use, and so is a task that has none yet. When the mount
// tables cannot be read it counts as in use, whatever containerd says. The caller holds the lock of the storage, so that no
// mounts are handed out meanwhile.
func (s *Snapshotter) inUse(ctx context.Context, st dag.Storage) use {
	handed := s.handed.recently(st.Key)
	table, err := mounttable.Read(s.nodes.Published())
	switch {
	case err != nil:
		return use{by: fmt.Sprintf("whether it is in use cannot be told (%v)", err)}
	case table.Written(st.Head):
		return use{by: "it is mounted" + holder(st)}
	}
	running, err := s.running(ctx, st.Key)
	if err != nil {
		log.G(ctx).WithError(err).WithField("storage", st.Name).Debug("only the mount tables could be asked whether the storage is in use")
	}
	switch {
	case running:
		return use{by: "container " + parseKey(st.Key).key + " is running"}
	case handed:
		return use{by: "it is about to be mounted" + holder(st), soon: true}
	}
	return use{}
}

func holder(st dag.Storage) string {
	if st.Key == "" {
		return ""
	}
	return " by container " + parseKey(st.Key).key
}

// running asks containerd whether a key has a live task. Without a host this cannot be told.
func (s *Snapshotter) running(ctx context.Context, key string) (bool, error) {
	k := parseKey(key)
	switch {
	case key == "" || k.extraction():
		return false, nil
	case s.host == nil || k.namespace == "":
		return false, fmt.Errorf("no containerd to ask about %q", key)
	}
	// containerd itself may be waiting, for a shim that hangs.
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return s.host.Running(ctx, k.namespace, k.key)
}

// whenFree calls fn with a storage, and its lock, as soon as the storage is free or known to be in use for longer than the
// grace time. The lock is not held while that is waited for: the start of the storage's container needs it.
func (s *Snapshotter) whenFree(ctx context.Context, name string, fn func(dag.Storage, use) error) error {
	for {
		var change <-chan struct{}
		err := s.locked(ctx, name, func(st dag.Storage) error {
			u := s.inUse(ctx, st)
			if u.soon {
				change = s.handed.change(st.Key)
				return nil
			}
			return fn(st, u)
		})
		if err != nil || change == nil {
			return err
		}
		if err := wait(ctx, change); err != nil {
			return fmt.Errorf("wait for storage %q to be free: %w", name, err)
		}
	}
}

// wait waits for a channel to be ready. It fails with errdefs.ErrUnavailable when the context ends first.
func wait(ctx context.Context, ready <-chan struct{}) error {
	select {
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errdefs.ErrUnavailable, context.Cause(ctx))
	case <-ready:
		return nil
	}
}

// TaskSeen tells the snapshotter that containerd had a task for a container at a time: whatever mounts were handed out for
// it before have been mounted by then, so that from now on the mount tables tell whether they are in use.
func (s *Snapshotter) TaskSeen(namespace, container string, at time.Time) {
	var keys []string
	s.store.View(func(g *dag.Graph) {
		for _, st := range g.Storages() {
			if k := parseKey(st.Key); k.namespace == namespace && k.key == container {
				keys = append(keys, st.Key)
			}
		}
	})
	for _, key := range keys {
		s.handed.released(key, at)
	}
}

// handed remembers when mounts were handed out, and of what: between that and the mount itself nothing shows that the nodes
// are in use.
type handed struct {
	grace time.Duration
	mu    sync.Mutex
	at    map[string]*handout
}

type handout struct {
	time     time.Time
	nodes    []dag.NodeID
	released chan struct{}
}

// keepFor is how many times the grace the directories of nodes are kept after they were handed out. Waiting longer before
// they are deleted holds nobody up, as waiting for a storage to be free does.
const keepFor = 6

func newHanded(grace time.Duration) *handed {
	return &handed{grace: grace, at: map[string]*handout{}}
}

func (h *handed) out(key string, nodes []dag.NodeID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := h.at[key]
	if o == nil {
		o = &handout{released: make(chan struct{})}
		h.at[key] = o
	}
	o.time, o.nodes = time.Now(), nodes
}

// kept returns the nodes that somebody may be about to mount.
func (h *handed) kept() map[dag.NodeID]bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	kept := map[dag.NodeID]bool{}
	for _, o := range h.at {
		if time.Since(o.time) >= keepFor*h.grace {
			continue
		}
		for _, id := range o.nodes {
			kept[id] = true
		}
	}
	return kept
}

// released ends the doubt about mounts that were handed out before a time.
func (h *handed) released(key string, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if o := h.at[key]; o != nil && o.time.Before(at) {
		close(o.released)
		delete(h.at, key)
	}
}

func (h *handed) recently(key string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := h.at[key]
	return o != nil && time.Since(o.time) < h.grace
}

// polls is how often a wait for a mount looks whether it has come.
const polls = 20

// change returns a channel that is ready when it is worth looking at the key again.
func (h *handed) change(key string) <-chan struct{} {
	h.mu.Lock()
	o := h.at[key]
	h.mu.Unlock()
	ready := make(chan struct{})
	go func() {
		defer close(ready)
		if o == nil {
			return
		}
		timer := time.NewTimer(h.grace/polls + time.Millisecond)
		defer timer.Stop()
		select {
		case <-o.released:
		case <-timer.C:
		}
	}()
	return ready
}
