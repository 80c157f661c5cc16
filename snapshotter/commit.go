// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/mounttable"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// unwritten refuses frozen nodes that a mount table shows as mounted to be written. No mount of ours is; one that was
// made by hand would write into what a merge makes of them, through hard links.
func (s *Snapshotter) unwritten(ids ...dag.NodeID) error {
	table, err := mounttable.Read(s.nodes.Published())
	if err != nil {
		return err
	}
	for _, id := range ids {
		if table.Upper(id) {
			return fmt.Errorf("%v is mounted to be written, though it is immutable: %w", id, errdefs.ErrFailedPrecondition)
		}
	}
	return nil
}

const (
	// passingUse bounds the wait for the end of a mount that is only being taken along.
	passingUse = 15 * time.Second
	// passingLook is how often that is looked for: the kernel announces the end of a mount to nobody.
	passingLook = 50 * time.Millisecond
)

// passing makes a claim again for a while as long as only a mount is in its way. Whoever starts a container makes a mount
// namespace, which has a copy of every mount of the machine until the container's root is in its place: what was unmounted
// a moment ago is still mounted there.
func passing(ctx context.Context, st dag.Storage, try func(context.Context, dag.Storage, bool) (claim, use.Use)) (c claim, u use.Use) {
	patience, cancel := context.WithTimeout(ctx, passingUse)
	defer cancel()
	for {
		c, u = try(ctx, st, false)
		if u.Code != use.Mounted && u.Code != use.Unseen || background.Sleep(patience, passingLook) != nil {
			return c, u
		}
	}
}

// claimCommit keeps the head of a key that becomes a layer from being mounted to be written, and returns what ends that
// after the commit. Whoever commits has used the mounts that were handed out, so the grace does not count.
//
// containerd unpacks an image layer, unmounts it, and commits it, all by itself and inside its write transaction:
// nobody is asked about that. Any other key may be that of a container, which is refused while it is in use.
func (s *Snapshotter) claimCommit(ctx context.Context, n dag.Name) (done func() error, err error) {
	st, known := s.storageNamed(n.Storage)
	if !known || n.Kind != dag.Active {
		return func() error { return nil }, nil // which the graph refuses
	}
	if keys.Parse(n.Key).Extraction() {
		s.uses.hold(st.Head)
		c := claim{s: s, head: st.Head}
		return c.Close, s.nodes.WithdrawWork(st.Head)
	}
	unlock, err := s.tryLock(ctx, st.Name)
	if err != nil {
		return nil, err
	}
	if st, known = s.storageNamed(n.Storage); !known {
		return func() error { unlock(); return nil }, nil
	}
	c, u := passing(ctx, st, s.claimNow)
	if !u.Free() {
		unlock()
		return nil, fmt.Errorf("%s: %w", s.named(ctx, u), errdefs.ErrFailedPrecondition)
	}
	return func() error { defer unlock(); return c.Close() }, nil
}
