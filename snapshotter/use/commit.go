// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package use

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
)

const (
	// passingUse bounds the wait for the end of a mount that is only being taken along.
	passingUse = 15 * time.Second
	// passingLook is how often that is looked for: the kernel announces the end of a mount to nobody.
	passingLook = 50 * time.Millisecond
)

// Passing makes a claim again for a while as long as only a mount is in its way. Whoever starts a container makes a
// mount namespace, which has a copy of every mount of the machine until the container's root is in its place: what
// was unmounted a moment ago is still mounted there.
func Passing(
	ctx context.Context, st dag.Storage, try func(context.Context, dag.Storage, bool) (Claim, Use),
) (c Claim, u Use) {
	patience, cancel := context.WithTimeout(ctx, passingUse)
	defer cancel()
	for {
		c, u = try(ctx, st, false)
		if u.Code != Mounted && u.Code != Unseen || background.Sleep(patience, passingLook) != nil {
			return c, u
		}
	}
}

// ClaimCommit keeps the head of a key that becomes a layer from being mounted to be written, and returns what ends that
// after the commit. Whoever commits has used the mounts that were handed out, so the grace does not count.
//
// containerd unpacks an image layer, unmounts it, and commits it, all by itself and inside its write transaction:
// nobody is asked about that. Any other key may be that of a container, which is refused while it is in use.
func (t *Tracker) ClaimCommit(ctx context.Context, n dag.Name) (done func() error, err error) {
	st, known := t.state.Storage(n.Storage)
	if !known || n.Kind != dag.Active {
		return func() error { return nil }, nil // which the graph refuses
	}
	if keys.Parse(n.Key).Extraction() {
		t.claims.Add(st.Head)
		c := Claim{tracker: t, head: st.Head}
		return c.Close, t.nodes.WorkDirs().Withdraw(st.Head)
	}
	unlock, err := t.state.TryLock(ctx, st.Name)
	if err != nil {
		return nil, err
	}
	if st, known = t.state.Storage(n.Storage); !known {
		return func() error { unlock(); return nil }, nil
	}
	c, u := Passing(ctx, st, t.ClaimNow)
	if !u.Free() {
		unlock()
		return nil, fmt.Errorf("%s: %w", t.Named(ctx, u), errdefs.ErrFailedPrecondition)
	}
	return func() error { defer unlock(); return c.Close() }, nil
}
