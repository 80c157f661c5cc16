// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// SettleFlags sets the inode flags of the files of a storage as they must be when it is mounted: overlayfs heeds
// those that it noted in an upper directory only. The caller holds the lock of the storage, so that its nodes stay
// the same.
func (s *State) SettleFlags(ctx context.Context, key string) error {
	var (
		st    dag.Storage
		ok    bool
		stack []dag.NodeID
	)
	defer s.Lease(func(g *dag.Graph) []dag.NodeID {
		n, _ := g.Name(key)
		if st, ok = g.Storage(n.Storage); ok {
			stack = g.Stack(st.Head)
		}
		return stack
	})()
	for _, id := range stack {
		settle := s.nodes.Flags().Show
		if id == st.Head {
			settle = s.nodes.Flags().Hide
		}
		// one that is damaged is refused with the reason
		if err := settle(ctx, id); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("what is immutable or append-only in storage %q cannot be shown so: %w", st.Name, err)
		}
	}
	return nil
}
