// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"errors"
	"fmt"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
)

// Fork begins a storage named target that has all that a storage has, which is free and whose lock the caller holds.
func (s *State) Fork(ctx context.Context, st dag.Storage, target string) (err error) {
	var (
		below    []dag.NodeID
		unusable error
	)
	draft := s.Begin(func(g *dag.Graph) []dag.NodeID {
		below = append(g.Stack(st.Head), g.Chain(g.Base(st))...)
		unusable = s.Usable(g, below)
		return below
	})
	defer func() { err = errors.Join(err, draft.Close()) }()
	if unusable != nil {
		return unusable
	}
	if err := s.Seal(ctx, st.Head); err != nil {
		return fmt.Errorf("storage %q cannot be forked: %w", st.Name, s.refused(err))
	}
	if err := draft.Freeze(ctx, st.Head); err != nil {
		return err
	}
	t := dag.Fork{Source: st.Name, Target: target, Head: st.Head, Now: clock.Now()}
	for _, open := range []*dag.NodeID{&t.SourceOpen, &t.TargetOpen} {
		if *open, err = draft.MakeOpen(s.nodes.Stack(below)); err != nil {
			return err
		}
		if err := draft.Publish(); err != nil {
			return err
		}
	}
	if err := draft.Sync(); err != nil {
		return err
	}
	return draft.Commit(t)
}
